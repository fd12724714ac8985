//! One file: its bytes, its hash, and how it replaces an older one.

use super::bytes::Bytes;
use super::fill::{PIECE, Problem, Rooms, Seen, Target, fill, read_exactly};
use super::tensors::{Dtype, StoredTensor, Tensors};
use crate::error::{Error, Result};
use blake3::Hasher;
use safetensors::tensor::{Metadata, TensorInfo};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The version of the files that Thalweg writes, and the key under which a file has its version.
const VERSION: u64 = 1;
const VERSION_KEY: &str = "thalweg";
/// The key of the hash among a file's texts.
const HASH_KEY: &str = "blake3";
/// Characters of a hash.
const HASH_LEN: usize = 2 * blake3::OUT_LEN;
/// Bytes that say how long the header is.
const PREFIX: usize = 8;

/// Writes tensors into a file, with the hash of what is in it. The file is complete or does not exist.
///
/// The bytes go to another file in the same folder, which is synced to the disk and then renamed. So whatever happens
/// meanwhile, a crash or a full disk, the file of that name is whole: it is the new one, or still the old one.
///
/// # Errors
/// [`Error::File`] with the reason of the system.
pub fn write(path: impl AsRef<Path>, tensors: &Tensors) -> Result<()> {
    let path = path.as_ref();
    let (header, order) = header(tensors);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = beside(folder, path);
    let failed = |error: std::io::Error| Error::File { path: path.into(), reason: error.to_string() };
    let written =
        write_whole(&beside, &header, &order).and_then(|()| fs::rename(&beside, path)).and_then(|()| sync_folder(folder));
    if written.is_err() {
        // If this fails too, the next one who opens the folder removes the file.
        let _ = fs::remove_file(&beside);
    }
    written.map_err(failed)
}

/// How the names of incomplete files begin.
pub(super) const INCOMPLETE: &str = ".incomplete-";

/// A name in the same folder that nobody else uses.
fn beside(folder: &Path, path: &Path) -> PathBuf {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    folder.join(format!("{INCOMPLETE}{}-{count}-{name}", std::process::id()))
}

/// The hash is known at the end, and put into its place in the header.
fn write_whole(path: &Path, header: &[u8], order: &[&StoredTensor]) -> std::io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let mut out = BufWriter::with_capacity(PIECE, &file);
    let mut hasher = Hasher::new();
    for piece in std::iter::once(header).chain(order.iter().flat_map(|tensor| tensor.bytes.chunks(PIECE))) {
        hasher.update(piece);
        out.write_all(piece)?;
    }
    // Texts of the caller may come before or after it, but none of them has its key.
    if let Some(at) = hash_place(header) {
        out.seek(SeekFrom::Start(at as u64))?;
        out.write_all(hasher.finalize().to_hex().as_bytes())?;
    }
    out.flush()?;
    drop(out);
    file.sync_all()
}

/// A rename is on the disk once its folder is.
fn sync_folder(folder: &Path) -> std::io::Result<()> {
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// Everything before the data, with zeros in the place of the hash, and the tensors in the order of their data. Those with the
/// largest elements come first, so that all are aligned.
fn header(tensors: &Tensors) -> (Vec<u8>, Vec<&StoredTensor>) {
    let mut order: Vec<(&str, &StoredTensor)> = tensors.iter().collect();
    order.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype.size()));
    let mut texts: Map<String, Value> = tensors.texts.iter().map(|(key, text)| (key.clone(), json!(text))).collect();
    texts.insert(VERSION_KEY.into(), json!(VERSION.to_string()));
    texts.insert(HASH_KEY.into(), json!("0".repeat(HASH_LEN)));
    let mut entries = Map::new();
    entries.insert("__metadata__".into(), Value::Object(texts));
    let mut at = 0;
    for (name, tensor) in &order {
        let end = at + tensor.bytes.len();
        entries
            .insert((*name).into(), json!({ "dtype": tensor.dtype.name(), "shape": tensor.shape, "data_offsets": [at, end] }));
        at = end;
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(PREFIX), b' ');
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text);
    (bytes, order.into_iter().map(|(_, tensor)| tensor).collect())
}

/// Where the hash is in a header. The search is for the key in quotes, as the writer writes it. Quotes within names and texts
/// are escaped, so this text occurs only where it is a key.
fn hash_place(header: &[u8]) -> Option<usize> {
    let key = format!("\"{HASH_KEY}\":\"");
    let start = header.windows(key.len()).position(|window| window == key.as_bytes())? + key.len();
    let text = header.get(start..start + HASH_LEN)?;
    text.iter().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')).then_some(start)
}

/// Reads a file that [`write()`] has written. The tensors take no more memory than the file has bytes, rounded up to a cache
/// line each, whatever its header says; the header needs a few times its own size while it is read.
///
/// # Errors
/// [`Error::File`] if it cannot be read; [`Error::Damaged`] if it is not such a file, is of a newer version, was cut off, or
/// was changed.
pub fn read(path: impl AsRef<Path>) -> Result<Tensors> {
    read_into(path.as_ref(), Rooms::default()).map(|(tensors, _)| tensors)
}

/// [`read`] that puts tensors into rooms that fit them, and all others into memory of their own. It also names those that have a
/// room, and says of each whether all its elements are finite. After an error the rooms may have anything in them.
pub(crate) fn read_into(path: &Path, rooms: Rooms) -> Result<(Tensors, BTreeMap<String, bool>)> {
    let mut found = open(path, rooms)?;
    let placed = std::mem::take(&mut found.placed);
    checked(path, found).map(|tensors| (tensors, placed))
}

/// Checks that a file is as it was written.
fn checked(path: &Path, Found { mut tensors, hash, expected, .. }: Found) -> Result<Tensors> {
    let damaged = |reason: &str| Error::Damaged { path: path.into(), reason: reason.into() };
    let hash = hash.ok_or_else(|| damaged("it has no hash: Thalweg did not write it, or it was changed"))?;
    if hash != expected {
        return Err(damaged("its hash is not that of its content: it was changed"));
    }
    tensors.texts.remove(HASH_KEY);
    let version = tensors.texts.remove(VERSION_KEY).ok_or_else(|| damaged("it does not say which version it is of"))?;
    match version.parse::<u64>() {
        Ok(1..=VERSION) => Ok(tensors),
        _ => Err(damaged(&format!(
            "it is of version {version}, and this program knows versions up to {VERSION}: use a newer one"
        ))),
    }
}

/// Which program has written a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// Thalweg; its hash is right.
    Thalweg,
    /// Another program; there is no hash.
    Other,
}

/// Reads a file of either kind: as [`read`] if it has a hash or a version, else as [`read_foreign`].
///
/// # Errors
/// As for these.
pub fn read_any(path: impl AsRef<Path>) -> Result<(Tensors, Writer)> {
    let path = path.as_ref();
    let found = open(path, Rooms::default())?;
    if found.hash.is_none() && !found.tensors.texts.contains_key(VERSION_KEY) {
        return Ok((found.tensors, Writer::Other));
    }
    checked(path, found).map(|tensors| (tensors, Writer::Thalweg))
}

/// Reads a safetensors file of another program, for example weights that PyTorch has saved: as [`read`], but without a hash.
///
/// # Errors
/// [`Error::File`] if it cannot be read; [`Error::Damaged`] if it is not a safetensors file or has a type that is not
/// supported.
pub fn read_foreign(path: impl AsRef<Path>) -> Result<Tensors> {
    open(path.as_ref(), Rooms::default()).map(|found| found.tensors)
}

/// What a file holds, the hash that it has, and the one that it should have.
struct Found {
    tensors: Tensors,
    /// Tensors that were read into rooms, and whether they are finite.
    placed: BTreeMap<String, bool>,
    hash: Option<String>,
    expected: String,
}

fn open(path: &Path, rooms: Rooms) -> Result<Found> {
    let failed = |error: std::io::Error| Error::File { path: path.into(), reason: error.to_string() };
    let file = File::open(path).map_err(failed)?;
    let about = file.metadata().map_err(failed)?;
    if !about.is_file() {
        return Err(Error::File { path: path.into(), reason: "it is no file".into() });
    }
    parse(file, about.len(), rooms).map_err(|problem| match problem {
        Problem::Read(error) => failed(error),
        Problem::Damaged(reason) => Error::Damaged { path: path.into(), reason },
        Problem::Memory(bytes) => Error::OutOfMemory { what: format!("the tensors of {}", path.display()), bytes },
    })
}

/// The next `len` bytes of a source, which has at least as many.
fn bytes(source: &mut impl Read, len: u64) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::new();
    bytes.try_reserve_exact(usize::try_from(len).unwrap_or(usize::MAX)).map_err(|_| Problem::Memory(len))?;
    bytes.resize(len as usize, 0);
    read_exactly(source, &mut bytes)?;
    Ok(bytes)
}

fn parse(mut source: impl Read, len: u64, mut rooms: Rooms) -> Result<Found, Problem> {
    let too_short =
        || format!("it has {len} bytes, too few for a safetensors file: it is another kind of file, or it was cut off");
    let rest = len.checked_sub(PREFIX as u64).ok_or_else(too_short)?;
    let mut header = bytes(&mut source, PREFIX as u64)?;
    let header_len = u64::from_le_bytes(*header.first_chunk().ok_or_else(too_short)?);
    // Where a text begins, its letters are taken for the length of a header.
    let other = || match std::str::from_utf8(&header[..PREFIX]) {
        Ok(text) if !text.contains(char::is_control) => format!("it is no safetensors file: it begins with the text {text:?}"),
        _ => too_short(),
    };
    let data_len = rest.checked_sub(header_len).ok_or_else(other)?;
    header.extend(bytes(&mut source, header_len)?);
    let metadata: Metadata =
        serde_json::from_slice(&header[PREFIX..]).map_err(|error| format!("its header is wrong: {error}"))?;
    if metadata.data_len() as u64 != data_len {
        let (expected, short) = (metadata.data_len(), data_len < metadata.data_len() as u64);
        let why = if short { "it was cut off" } else { "it is too long" };
        return Err(format!("its tensors have {expected} bytes, and {data_len} are there: {why}").into());
    }
    let hash = hash_place(&header).map(|at| {
        let hash = String::from_utf8_lossy(&header[at..at + HASH_LEN]).into_owned();
        header[at..at + HASH_LEN].fill(b'0');
        hash
    });
    let mut seen = Seen::default();
    seen.hasher.update(&header);
    let mut targets = Vec::new();
    for name in metadata.offset_keys() {
        let Some(TensorInfo { dtype, shape, data_offsets: (start, end) }) = metadata.info(&name) else { continue };
        let known = Dtype::by_name(&dtype.to_string());
        let dtype = known.ok_or_else(|| format!("tensor '{name}' is of type {dtype}, which is not known here"))?;
        let target = match rooms.remove(&name).filter(|room| room.fits(dtype, shape, end - start)) {
            Some(room) => Target::Room(room),
            None => Target::Own(own(&name, dtype, shape, end - start)?),
        };
        targets.push((name, target));
    }
    let seen = fill(&mut source, &mut targets, seen)?;
    let (mut tensors, placed) = filled(targets, &seen.not_finite)?;
    tensors.texts = metadata.metadata().clone().unwrap_or_default().into_iter().collect();
    Ok(Found { tensors, placed, hash, expected: seen.hasher.finalize().to_hex().to_string() })
}

/// A tensor with memory of its own, to be filled.
fn own(name: &str, dtype: Dtype, shape: &[usize], len: usize) -> Result<StoredTensor, Problem> {
    let bytes = Bytes::zeros(name, len).map_err(|_| Problem::Memory(len as u64))?;
    StoredTensor::new(name, dtype, shape, bytes).map_err(|error| Problem::Damaged(error.to_string()))
}

/// Tensors that were read into memory of their own, and the names of the others, each with whether it is finite.
fn filled(targets: Vec<(String, Target)>, not_finite: &BTreeSet<usize>) -> Result<(Tensors, BTreeMap<String, bool>), Problem> {
    let (mut tensors, mut placed) = (Tensors::default(), BTreeMap::new());
    for (at, (name, target)) in targets.into_iter().enumerate() {
        let finite = !not_finite.contains(&at);
        match target {
            Target::Room(_) => {
                placed.insert(name, finite);
            }
            Target::Own(mut tensor) => {
                if finite {
                    tensor.bytes.set_finite(tensor.dtype);
                }
                tensors.insert(&name, tensor).map_err(|error| error.to_string())?;
            }
        }
    }
    Ok((tensors, placed))
}
