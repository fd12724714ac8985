//! The folder of a run: metrics.csv, run.json and pictures.
//!
//! The files of an earlier run stay until this one has trained an epoch. A file is written under another name and then renamed,
//! so that it is whole whenever the program ends. Only one run at a time may use the folder.

use crate::curve;
use crate::report::{Epoch, note};
use crate::score::Measures;
use anyhow::{Context, Result, anyhow, bail};
use serde_json::Value;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the curves of a long run are drawn again.
const REDRAW: Duration = Duration::from_secs(10);
/// The most folders that `--new-dir` tries.
const MOST_FOLDERS: usize = 10_000;

/// The folder of a run, and the epochs that its files show.
pub struct Out {
    directory: PathBuf,
    measures: Measures,
    /// Held until the run ends.
    _lock: Option<File>,
    /// Whether this run made the folder.
    made: bool,
    table: File,
    /// The table's temporary file, until it replaces an earlier table.
    beside: Option<PathBuf>,
    epochs: Vec<Epoch>,
    /// Whether this run has added an epoch.
    begun: bool,
    drawn: Instant,
    /// The first failure to write.
    failure: Option<anyhow::Error>,
}

impl Out {
    /// Takes the folder, so that one that cannot be written stops the run before it starts.
    pub fn new(directory: &Path, measures: Measures) -> Result<Self> {
        let made = !directory.exists();
        fs::create_dir_all(directory).map_err(|error| no_folder(directory, error))?;
        let lock = lock(directory)?;
        let place = directory.join("metrics.csv");
        let (path, beside) = match is_special(&place) {
            true => (place, None),
            false => (beside(&place), Some(beside(&place))),
        };
        let mut table = File::create(&path).map_err(|error| no_folder(directory, error))?;
        let columns = measures.columns().join(",") + "\n";
        let header = table.write_all(columns.as_bytes()).map_err(|error| unwritten(&path, &error));
        let out = Self {
            directory: directory.into(),
            measures,
            _lock: lock,
            made,
            table,
            beside,
            epochs: Vec::new(),
            begun: false,
            drawn: Instant::now(),
            failure: None,
        };
        header.map(|()| out)
    }

    /// The folder, or the first of `DIR-2`, `DIR-3`, … that no run has used.
    pub fn free(directory: &Path) -> Result<PathBuf> {
        let is_free = |path: &Path| fs::read_dir(path).map_or(!path.exists(), |mut entries| entries.next().is_none());
        let numbered = |number: usize| {
            let mut name = directory.file_name().unwrap_or_default().to_os_string();
            name.push(format!("-{number}"));
            directory.with_file_name(name)
        };
        let mut folders = std::iter::once(directory.to_path_buf()).chain((2..MOST_FOLDERS).map(numbered));
        folders.find(|path| is_free(path)).with_context(|| format!("{}: all numbered folders are taken", directory.display()))
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Adds the earlier epochs of a resumed run: the table gets a line for each, whatever an interrupted run has left there.
    pub fn before(&mut self, epochs: &[Epoch]) {
        epochs.iter().for_each(|done| self.add(*done));
    }

    /// Adds a line to the table, in one write. A failure to write does not end the run: its result is worth more.
    fn add(&mut self, done: Epoch) {
        let cells: Vec<String> = done.row(self.measures.aim).iter().map(f64::to_string).collect();
        let line = cells.join(",") + "\n";
        let place = self.directory.join("metrics.csv");
        let written = self.table.write_all(line.as_bytes()).map_err(|error| unwritten(&place, &error));
        self.epochs.push(done);
        self.keep(written);
    }

    /// Adds an epoch to the files.
    pub fn epoch(&mut self, done: Epoch, title: &str, run: impl FnOnce() -> Value) {
        self.add(done);
        let place = self.directory.join("metrics.csv");
        let first = !std::mem::replace(&mut self.begun, true);
        if let Some(beside) = self.beside.take_if(|_| first) {
            let renamed = fs::rename(beside, &place).map_err(|error| unwritten(&place, &error));
            self.keep(renamed);
        }
        if first {
            self.describe(&run());
        }
        if first || self.drawn.elapsed() >= REDRAW {
            self.draw(title);
        }
    }

    /// Writes run.json.
    pub fn describe(&mut self, run: &Value) {
        let text = format!("{run:#}\n");
        let written = replace(&self.directory.join("run.json"), text.as_bytes());
        self.keep(written);
    }

    /// Writes a file beside the others.
    pub fn file(&mut self, name: &str, text: &str) {
        let written = replace(&self.directory.join(name), text.as_bytes());
        self.keep(written);
    }

    /// Draws the curves of the epochs so far.
    pub fn draw(&mut self, title: &str) {
        self.drawn = Instant::now();
        if self.epochs.is_empty() {
            return;
        }
        let picture = curve::draw(&self.epochs, self.measures, title).context("cannot draw the curves");
        let written = picture.and_then(|picture| replace(&self.directory.join("curve.svg"), picture.as_bytes()));
        self.keep(written);
    }

    /// Returns the first failure to write, if there was one.
    pub fn finish(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Keeps the first failure, and notes it on stderr.
    fn keep(&mut self, written: Result<()>) {
        if let (Err(error), None) = (written, &self.failure) {
            note(&format!("warning: {error:#}; the run goes on"));
            self.failure = Some(error);
        }
    }
}

/// A run that ended before its first epoch removes its files.
impl Drop for Out {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            let _ = fs::remove_file(beside);
            if self.made {
                let _ = fs::remove_dir(&self.directory);
            }
        }
    }
}

/// Locks the folder for this run. On a file system without locks, nothing is locked.
pub fn lock(directory: &Path) -> Result<Option<File>> {
    // On Unix a folder itself can be locked, which leaves no file behind.
    let opened = if cfg!(unix) { File::open(directory) } else { File::create(directory.join(".lock")) };
    let file = opened.map_err(|error| no_folder(directory, error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => bail!(
            "{}: another run is writing into this folder; give another --out, or --new-dir for a folder beside it",
            directory.display()
        ),
        Err(TryLockError::Error(error)) => {
            note(&format!("{}: cannot be locked against other runs: {error}", directory.display()));
            Ok(None)
        }
    }
}

/// Whether the path is something other than a file, such as a device: then it is written to, not replaced.
fn is_special(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| !metadata.is_file())
}

/// The temporary name of a file while it is written.
fn beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".new");
    path.with_file_name(name)
}

/// Writes a file under a temporary name and renames it. If the path is a link, the file that it points to is replaced.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let write = || {
        if is_special(path) {
            return fs::write(path, bytes);
        }
        let place = fs::canonicalize(path).unwrap_or_else(|_| path.into());
        let beside = beside(&place);
        fs::write(&beside, bytes).and_then(|()| fs::rename(&beside, &place)).inspect_err(|_| {
            let _ = fs::remove_file(&beside);
        })
    };
    write().map_err(|error| unwritten(path, &error))
}

pub fn unwritten(path: &Path, error: &io::Error) -> anyhow::Error {
    anyhow!("{}: cannot be written: {error}", path.display())
}

pub fn no_folder(directory: &Path, error: io::Error) -> anyhow::Error {
    let hint = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "",
        _ => "; --out takes a directory that can be written",
    };
    anyhow!("{}: {error}{hint}", directory.display())
}
