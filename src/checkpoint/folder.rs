//! A folder of checkpoints: the last ones of a run and the best one.

use super::file::{INCOMPLETE, read, write};
use super::tensors::Tensors;
use crate::error::{Error, Result};
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

/// Where a run keeps its checkpoints. While it is open nobody else writes there.
///
/// Files are called `step-000000001200.safetensors`, by the number of steps made, and `best.safetensors`.
///
/// # Examples
///
/// ```
/// use thalweg::checkpoint::{Folder, Tensors};
///
/// let path = std::env::temp_dir().join(format!("run-{}", std::process::id()));
/// let mut folder = Folder::open(&path)?.keep(2);
/// for step in [100, 200, 300] {
///     folder.save(step, &Tensors::default())?;
/// }
/// assert_eq!(Folder::steps(&path)?, [200, 300]);
/// assert_eq!(Folder::newest(&path)?.0, 300);
/// # drop(folder);
/// # std::fs::remove_dir_all(path).unwrap();
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    keep: usize,
    /// Locked as long as the file is open.
    _lock: File,
}

/// The end of the name of a manifest: the file `step-000000000120-parts.safetensors` lists the parts of a checkpoint that several
/// machines wrote, each its own. The crate `thalweg-mpi` writes and reads them.
pub const MANIFEST: &str = "-parts.safetensors";
const LOCK: &str = ".lock";
const BEST: &str = "best.safetensors";

impl Folder {
    /// Opens a folder for writing, and makes it if it does not exist. Incomplete files, which a crash may have left, are
    /// removed.
    ///
    /// # Errors
    /// [`Error::File`]: another run writes there, or what the system says.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        fs::create_dir_all(&path).map_err(|error| failed(&path, error))?;
        let at = path.join(LOCK);
        let lock = File::options().create(true).truncate(false).write(true).open(&at).map_err(|error| failed(&at, error))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                Error::File { path: path.clone(), reason: "another run keeps its checkpoints here".into() }
            }
            TryLockError::Error(error) => failed(&at, error),
        })?;
        for left in names(&path)?.iter().filter(|name| name.starts_with(INCOMPLETE)) {
            let left = path.join(left);
            fs::remove_file(&left).map_err(|error| failed(&left, error))?;
        }
        Ok(Self { path, keep: 3, _lock: lock })
    }

    /// How many of the last checkpoints are kept, at least 1. Default 3. The best one is kept besides.
    pub fn keep(mut self, files: usize) -> Self {
        self.keep = files.max(1);
        self
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes a checkpoint, then removes the oldest ones that are too many. Returns its file.
    ///
    /// # Errors
    /// [`Error::File`]; all older files are still there.
    pub fn save(&mut self, step: u64, tensors: &Tensors) -> Result<PathBuf> {
        let file = Self::file(&self.path, step);
        write(&file, tensors)?;
        let steps = Self::steps(&self.path)?;
        // Files of later steps are from a run that was resumed before those steps; they stay.
        for &old in steps.iter().filter(|&&old| old <= step).rev().skip(self.keep) {
            let old = Self::file(&self.path, old);
            fs::remove_file(&old).map_err(|error| failed(&old, error))?;
        }
        Ok(file)
    }

    /// Writes the best checkpoint, in the place of the one before. Returns its file.
    ///
    /// # Errors
    /// [`Error::File`]; the older file is still there.
    pub fn save_best(&mut self, tensors: &Tensors) -> Result<PathBuf> {
        let file = self.path.join(BEST);
        write(&file, tensors)?;
        Ok(file)
    }

    /// The steps whose checkpoints a folder has, in rising order.
    ///
    /// # Errors
    /// [`Error::File`] if it cannot be read.
    pub fn steps(path: impl AsRef<Path>) -> Result<Vec<u64>> {
        let step = |name: &String| name.strip_prefix("step-")?.strip_suffix(".safetensors")?.parse().ok();
        let mut steps: Vec<u64> = names(path.as_ref())?.iter().filter_map(step).collect();
        steps.sort_unstable();
        Ok(steps)
    }

    /// The file of a step's checkpoint, whether or not it is there.
    pub fn file(path: impl AsRef<Path>, step: u64) -> PathBuf {
        path.as_ref().join(format!("step-{step:012}.safetensors"))
    }

    /// The newest checkpoint of a folder that is whole, with its step. A damaged one is passed over, with a warning by the
    /// crate `log`.
    ///
    /// # Errors
    /// [`Error::File`] if there is none or the folder cannot be read; [`Error::Damaged`] for the newest if all are damaged.
    pub fn newest(path: impl AsRef<Path>) -> Result<(u64, Tensors)> {
        let (path, mut first) = (path.as_ref(), None);
        for step in Self::steps(path)?.into_iter().rev() {
            match read(Self::file(path, step)) {
                Ok(tensors) => return Ok((step, tensors)),
                Err(error) => {
                    log::warn!("{error}; an older checkpoint is looked for");
                    first.get_or_insert(error);
                }
            }
        }
        let none = || Error::File { path: path.into(), reason: "there is no checkpoint in this folder".into() };
        Err(first.unwrap_or_else(none))
    }

    /// The best checkpoint of a folder.
    ///
    /// # Errors
    /// As for [`read`].
    pub fn best(path: impl AsRef<Path>) -> Result<Tensors> {
        read(path.as_ref().join(BEST))
    }
}

fn failed(path: &Path, error: std::io::Error) -> Error {
    Error::File { path: path.into(), reason: error.to_string() }
}

/// The names of the files in a folder.
fn names(path: &Path) -> Result<Vec<String>> {
    let entries = fs::read_dir(path).map_err(|error| failed(path, error))?;
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, _>>()
        .map_err(|error| failed(path, error))
}
