//! Checkpoints that all ranks write together, each its own ranges, and that any number of ranks can read.

use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::exchange::ranges;
use crate::world::World;
use serde_json::{Value, json};
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};
use thalweg::checkpoint::{MANIFEST, StoredTensor, Tensors, read, write};
use thalweg::plan::Arena;

/// Texts of a manifest, and of a part.
const SAVE: &str = "parts.save";
const RANGES: &str = "parts.ranges";
const TENSORS: &str = "parts.tensors";

/// A folder of checkpoints in parts. Each rank writes what it owns of parameters and state, and rank 0 all else, such as
/// counters; then rank 0 writes a manifest. So a checkpoint is complete or has no manifest, and no rank has to collect the
/// state of all.
///
/// Any number of ranks reads it, also one program: what it gives are the tensors of a file that rank 0 would have written
/// alone. All ranks have to see the folder.
///
/// A checkpoint of step 120 by 4 ranks consists of `step-000000000120-part-0-of-4.safetensors` and so on, and
/// `step-000000000120-parts.safetensors`.
#[derive(Debug)]
pub struct Parts<'w> {
    world: &'w World,
    folder: PathBuf,
    keep: usize,
}

impl<'w> Parts<'w> {
    /// A folder, which is made if it does not exist. The last 3 checkpoints are kept.
    ///
    /// # Errors
    /// [`Error::Rank`] on all ranks if it cannot be made.
    pub fn new(world: &'w World, folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        let made = fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()));
        world.agree("a folder", made)?;
        Ok(Self { world, folder, keep: 3 })
    }

    /// How many of the last checkpoints are kept, at least 1.
    pub fn keep(mut self, checkpoints: usize) -> Self {
        self.keep = checkpoints.max(1);
        self
    }

    /// The steps whose checkpoints a folder has in parts, in rising order.
    ///
    /// # Errors
    /// [`thalweg::Error::File`] if it cannot be read.
    pub fn steps(folder: impl AsRef<Path>) -> Result<Vec<u64>> {
        let folder = folder.as_ref();
        let failed = |error: std::io::Error| thalweg::Error::File { path: folder.into(), reason: error.to_string() };
        let entries = fs::read_dir(folder).map_err(failed)?;
        let mut steps: Vec<u64> = entries.flatten().filter_map(|entry| Self::step_of(entry.path())).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The manifest of a step's checkpoint, whether or not it is there.
    pub fn file(folder: impl AsRef<Path>, step: u64) -> PathBuf {
        folder.as_ref().join(format!("step-{step:012}{MANIFEST}"))
    }

    /// The step of a manifest, by its name; nothing for any other file.
    pub fn step_of(file: impl AsRef<Path>) -> Option<u64> {
        file.as_ref().file_name()?.to_str()?.strip_prefix("step-")?.strip_suffix(MANIFEST)?.parse().ok()
    }

    /// Writes a checkpoint. `tensors` are those of the optimizer or trainer on each rank, laid out by `arena`; only the rank's
    /// own range of them has to be up to date. Then checkpoints that are too many are removed.
    ///
    /// # Errors
    /// [`Error::Rank`] on all ranks if a rank cannot write.
    pub fn save(&self, step: u64, tensors: &Tensors, arena: &Arena) -> Result<()> {
        let (world, ranks) = (self.world, self.world.ranks());
        let ranges = ranges(arena, ranks);
        // Parts of two saves of one step are not mixed.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos());
        let save = world.texts("the name of a save", &now.to_string())?.swap_remove(0);
        let part = part_of(tensors, arena, &ranges[world.rank()], world.rank() == 0);
        let written = part.and_then(|mut part| {
            part.texts.insert(SAVE.into(), save.clone());
            write(part_file(&self.folder, step, world.rank(), ranks), &part)
        });
        world.agree("the parts of a checkpoint", written)?;
        let manifest = match world.rank() {
            0 => write(Self::file(&self.folder, step), &manifest(tensors, arena, &ranges, &save)),
            _ => Ok(()),
        };
        world.agree("the manifest of a checkpoint", manifest)?;
        let removed = if world.rank() == 0 { self.remove_old(step) } else { Ok(()) };
        world.agree("old checkpoints", removed)
    }

    /// Removes the oldest checkpoints that are too many. Those of later steps stay: they are from a run that was resumed
    /// before.
    fn remove_old(&self, step: u64) -> std::result::Result<(), String> {
        let failed = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
        for old in Self::steps(&self.folder)
            .map_err(|error| error.to_string())?
            .into_iter()
            .filter(|&old| old <= step)
            .rev()
            .skip(self.keep)
        {
            // Without a manifest it is no checkpoint.
            let manifest = Self::file(&self.folder, old);
            fs::remove_file(&manifest).map_err(|error| failed(&manifest, error))?;
            let begin = format!("step-{old:012}-part-");
            for entry in fs::read_dir(&self.folder).map_err(|error| failed(&self.folder, error))?.flatten() {
                if entry.file_name().to_string_lossy().starts_with(&begin) {
                    fs::remove_file(entry.path()).map_err(|error| failed(&entry.path(), error))?;
                }
            }
        }
        Ok(())
    }

    /// The newest checkpoint of the folder and its step, on every rank.
    ///
    /// # Errors
    /// [`Error::MissingRanges`] on all ranks if a rank lacks a part; [`Error::Rank`] if there is no checkpoint.
    pub fn newest(&self) -> Result<(u64, Tensors)> {
        let none = || thalweg::Error::File { path: self.folder.clone(), reason: "there is no checkpoint in parts".into() };
        let newest = Self::steps(&self.folder).and_then(|steps| Ok(steps.last().copied().ok_or_else(none)?));
        // Rank 0's view of the folder decides.
        let of_rank = self.world.agree("the newest checkpoint", newest)?.to_string();
        let step = self.world.texts("the newest checkpoint", &of_rank)?.swap_remove(0).parse().unwrap_or(0);
        Ok((step, self.read(step)?))
    }

    /// The checkpoint of a step, on every rank.
    ///
    /// # Errors
    /// [`Error::MissingRanges`] on all ranks if a rank lacks a part.
    pub fn read(&self, step: u64) -> Result<Tensors> {
        let file = Self::file(&self.folder, step);
        let found = read_parts(&file);
        let missing = match &found {
            Err(Error::MissingRanges { file, ranges, reason }) => {
                format!("{}\n{ranges}\n{}", file.display(), reason.replace('\n', " "))
            }
            _ => String::new(),
        };
        let all = self.world.texts("the parts of a checkpoint", &missing)?;
        if let Some((file, rest)) = all.iter().find_map(|text| text.split_once('\n')) {
            let (ranges, reason) = rest.split_once('\n').unwrap_or((rest, ""));
            return Err(Error::MissingRanges { file: file.into(), ranges: ranges.into(), reason: reason.into() });
        }
        self.world.agree("a checkpoint", found)
    }
}

/// Reads the checkpoint of a manifest, on one machine alone.
///
/// # Errors
/// [`Error::MissingRanges`] if a part is missing, damaged or of another save; [`Error::Thalweg`] for the manifest.
pub fn read_parts(manifest: &Path) -> Result<Tensors> {
    let own = read(manifest)?;
    let wrong =
        || thalweg::Error::Damaged { path: manifest.into(), reason: "it is no manifest of a checkpoint in parts".into() };
    let text = |name: &str| own.texts.get(name).ok_or_else(wrong);
    let json = |name: &str| serde_json::from_str::<Value>(text(name)?).map_err(|_| wrong());
    let ranges = ranges_of(&json(RANGES)?).ok_or_else(wrong)?;
    let entries: Vec<Entry> = list(&json(TENSORS)?, Entry::of).ok_or_else(wrong)?;
    let mut whole = Tensors::default();
    whole.texts.clone_from(&own.texts);
    [SAVE, RANGES, TENSORS].iter().for_each(|name| drop(whole.texts.remove(*name)));
    let mut bytes: Vec<Vec<u8>> = entries.iter().map(|entry| vec![0; entry.bytes()]).collect();
    let (folder, step) = (manifest.parent().unwrap_or(Path::new(".")), Parts::step_of(manifest).ok_or_else(wrong)?);
    let end = entries.iter().filter_map(Entry::end).max().unwrap_or(0);
    let covered = ranges.iter().try_fold(0, |at, range| (range.start == at).then_some(range.end));
    if covered.is_none_or(|covered| covered < end) {
        let (ranges, reason) = (format!("some of 0..{end}"), "no part has them".into());
        return Err(Error::MissingRanges { file: manifest.into(), ranges, reason });
    }
    for (rank, range) in ranges.iter().enumerate() {
        let file = part_file(folder, step, rank, ranges.len());
        let missing = |reason: String| Error::MissingRanges { file: file.clone(), ranges: format!("{range:?}"), reason };
        let part = read(&file).map_err(|error| missing(error.to_string()))?;
        if part.texts.get(SAVE) != own.texts.get(SAVE) {
            return Err(missing("it is of another save".into()));
        }
        for (entry, bytes) in entries.iter().zip(&mut bytes) {
            take(entry, &part, range, rank, bytes).map_err(missing)?;
        }
    }
    for (Entry { name, dtype, shape, .. }, bytes) in entries.iter().zip(bytes) {
        whole.insert(name, StoredTensor::new(name, *dtype, shape, bytes)?)?;
    }
    Ok(whole)
}

/// Takes from a part what it has of a tensor.
fn take(entry: &Entry, part: &Tensors, range: &Range<usize>, rank: usize, bytes: &mut [u8]) -> std::result::Result<(), String> {
    let len = if entry.place.is_some() { entry.bytes_in(range) } else { entry.bytes() };
    if len == 0 || entry.place.is_none() && rank > 0 {
        return Ok(());
    }
    let lacks = || format!("it lacks '{}'", entry.name);
    let found = part.find(&entry.name).filter(|found| found.bytes.len() == len).ok_or_else(lacks)?;
    match entry.place {
        Some(_) => entry.paste(range, &found.bytes, bytes),
        None => bytes.copy_from_slice(&found.bytes),
    }
    Ok(())
}

/// What a rank writes.
fn part_of(tensors: &Tensors, arena: &Arena, range: &Range<usize>, all_else: bool) -> thalweg::Result<Tensors> {
    let mut part = Tensors::default();
    for (name, tensor) in tensors.iter() {
        let entry = Entry::new(name, tensor, arena);
        if entry.place.is_none() && all_else {
            part.insert(name, tensor.clone())?;
        }
        let bytes = entry.cut(range, &tensor.bytes);
        if !bytes.is_empty() {
            let len = bytes.len() / tensor.dtype.size();
            part.insert(name, StoredTensor::new(name, tensor.dtype, &[len], bytes)?)?;
        }
    }
    Ok(part)
}

fn manifest(tensors: &Tensors, arena: &Arena, ranges: &[Range<usize>], save: &str) -> Tensors {
    let mut manifest = Tensors::default();
    manifest.texts.clone_from(&tensors.texts);
    let entries: Vec<Value> = tensors.iter().map(|(name, tensor)| Entry::new(name, tensor, arena).json()).collect();
    let ranges: Vec<[usize; 2]> = ranges.iter().map(|range| [range.start, range.end]).collect();
    manifest.texts.insert(SAVE.into(), save.into());
    manifest.texts.insert(RANGES.into(), json!(ranges).to_string());
    manifest.texts.insert(TENSORS.into(), Value::from(entries).to_string());
    manifest
}

fn ranges_of(value: &Value) -> Option<Vec<Range<usize>>> {
    list(value, |range| Some(range[0].as_u64()? as usize..range[1].as_u64()? as usize))
}

fn list<T>(value: &Value, of: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().map(of).collect()
}

fn part_file(folder: &Path, step: u64, rank: usize, ranks: usize) -> PathBuf {
    folder.join(format!("step-{step:012}-part-{rank}-of-{ranks}.safetensors"))
}
