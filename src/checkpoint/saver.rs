//! Writing while training goes on.

use super::file::write;
use super::tensors::Tensors;
use crate::error::{Error, Result};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Writes checkpoints on a thread of its own, one after the other. Training pays for the copy in memory, not for the disk.
///
/// Two can be under way: one that is written and one that waits. [`Saver::save`] waits only where a third comes, so memory holds at most
/// three copies.
///
/// # Examples
///
/// ```
/// use thalweg::checkpoint::{Saver, Tensors, read};
///
/// let file = std::env::temp_dir().join(format!("saved-{}.safetensors", std::process::id()));
/// let mut saver = Saver::start()?;
/// saver.save(file.clone(), Tensors::default())?;
/// saver.finish()?;
/// assert!(read(&file)?.is_empty());
/// # std::fs::remove_file(file).unwrap();
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Saver {
    jobs: Option<SyncSender<(PathBuf, Tensors)>>,
    results: Receiver<Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Saver {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Device`] if the system has no thread left.
    pub fn start() -> Result<Self> {
        let (jobs, queue) = sync_channel::<(PathBuf, Tensors)>(1);
        let (tell, results) = std::sync::mpsc::channel();
        let work = move || {
            for (path, tensors) in queue {
                if tell.send(write(&path, &tensors)).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("checkpoints".into()).spawn(work);
        let thread = thread.map_err(|error| Error::Device { what: "starting a thread".into(), reason: error.to_string() })?;
        Ok(Self { jobs: Some(jobs), results, thread: Some(thread) })
    }

    /// Has a file written as [`write()`] does.
    ///
    /// # Errors
    /// An error of an earlier file, which was not written; this one is written all the same.
    pub fn save(&mut self, path: PathBuf, tensors: Tensors) -> Result<()> {
        let earlier = self.look();
        let gone = || Error::Device { what: "writing a checkpoint".into(), reason: "its thread has ended".into() };
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send((path, tensors)).map_err(|_| gone())?;
        earlier
    }

    /// An error among the files that were written meanwhile; the first one.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn look(&mut self) -> Result<()> {
        let mut first = Ok(());
        self.results.try_iter().for_each(|result| first = std::mem::replace(&mut first, Ok(())).and(result));
        first
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// The first error that nobody has looked at yet.
    pub fn finish(mut self) -> Result<()> {
        self.end();
        self.look()
    }

    fn end(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Saver {
    /// What was asked for is written, also where nobody waits for it.
    fn drop(&mut self) {
        self.end();
    }
}
