//! Writing checkpoints in the background.

use super::file::write;
use super::folder::Folder;
use super::tensors::Tensors;
use crate::error::{Error, Result};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Writes checkpoints on a thread of its own, one after the other. Training pays for the copy in memory, not for the disk.
///
/// Two can be under way: one that is written and one that waits. [`Saver::save`] waits only for a third one, so memory holds at
/// most three copies, and one where each file is written before the next is due. Once a file is written, its tensors come back
/// ([`Saver::spare`]): their memory is for the next one.
///
/// # Examples
///
/// ```
/// use thalweg::checkpoint::{Saver, Tensors, read};
///
/// let file = std::env::temp_dir().join(format!("saved-{}.safetensors", std::process::id()));
/// let mut saver = Saver::start()?;
/// let mut tensors = saver.spare();
/// tensors.put("w", &[2], &[1.0f32, 2.0])?; // of a trainer: `trainer.tensors_into(&mut tensors)?`
/// saver.save(file.clone(), tensors)?;
/// saver.finish()?;
/// assert_eq!(read(&file)?.get::<f32>("w")?, [1.0, 2.0]);
/// # std::fs::remove_file(file).unwrap();
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Saver {
    jobs: Option<SyncSender<Job>>,
    results: Receiver<(Result<()>, Tensors)>,
    /// The first error that was not told.
    failed: Result<()>,
    /// Tensors that are written.
    spare: Vec<Tensors>,
    thread: Option<JoinHandle<()>>,
}

/// What to write, and where.
#[derive(Debug)]
enum Job {
    File(PathBuf, Tensors),
    /// The checkpoint of a step in the folder.
    Step(u64, Tensors),
    /// The best checkpoint of the folder.
    Best(Tensors),
}

impl Job {
    /// Writes it. The tensors come back.
    fn run(self, folder: Option<&mut Folder>) -> (Result<()>, Tensors) {
        let none = || Error::order("a checkpoint in a folder", "the thread has to be started with one: Saver::over");
        match self {
            Self::File(path, tensors) => (write(&path, &tensors), tensors),
            Self::Step(step, tensors) => {
                (folder.ok_or_else(none).and_then(|folder| folder.save(step, &tensors).map(drop)), tensors)
            }
            Self::Best(tensors) => (folder.ok_or_else(none).and_then(|folder| folder.save_best(&tensors).map(drop)), tensors),
        }
    }
}

impl Saver {
    /// Starts the thread, for files of any name.
    ///
    /// # Errors
    /// [`Error::Device`] if the system has no thread left.
    pub fn start() -> Result<Self> {
        Self::with(None)
    }

    /// Starts the thread, for the checkpoints of a folder as well. The folder stays locked until the saver ends.
    ///
    /// # Errors
    /// As for [`Saver::start`].
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::checkpoint::{Folder, Saver, Tensors};
    ///
    /// let path = std::env::temp_dir().join(format!("kept-{}", std::process::id()));
    /// let mut saver = Saver::over(Folder::open(&path)?.keep(2))?;
    /// for step in [500, 1000, 1500] {
    ///     saver.save_step(step, Tensors::default())?; // of a trainer: `trainer.tensors()?`
    /// }
    /// saver.finish()?;
    /// assert_eq!(Folder::steps(&path)?, [1000, 1500]);
    /// # std::fs::remove_dir_all(path).unwrap();
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn over(folder: Folder) -> Result<Self> {
        Self::with(Some(folder))
    }

    fn with(mut folder: Option<Folder>) -> Result<Self> {
        let (jobs, queue) = sync_channel::<Job>(1);
        let (tell, results) = std::sync::mpsc::channel();
        let work = move || {
            for job in queue {
                if tell.send(job.run(folder.as_mut())).is_err() {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("checkpoints".into()).spawn(work);
        let thread = thread.map_err(|error| Error::Device { what: "starting a thread".into(), reason: error.to_string() })?;
        Ok(Self { jobs: Some(jobs), results, failed: Ok(()), spare: Vec::new(), thread: Some(thread) })
    }

    /// Lets the thread write a file, as [`write()`] does.
    ///
    /// # Errors
    /// The error of an earlier file that could not be written; this one is written all the same.
    pub fn save(&mut self, path: PathBuf, tensors: Tensors) -> Result<()> {
        self.send(Job::File(path, tensors))
    }

    /// Lets the thread write the checkpoint of a step, as [`Folder::save`] does.
    ///
    /// # Errors
    /// As for [`Saver::save`].
    pub fn save_step(&mut self, step: u64, tensors: Tensors) -> Result<()> {
        self.send(Job::Step(step, tensors))
    }

    /// Lets the thread write the best checkpoint, as [`Folder::save_best`] does.
    ///
    /// # Errors
    /// As for [`Saver::save`].
    pub fn save_best(&mut self, tensors: Tensors) -> Result<()> {
        self.send(Job::Best(tensors))
    }

    fn send(&mut self, job: Job) -> Result<()> {
        let earlier = self.look();
        let gone = || Error::Device { what: "writing a checkpoint".into(), reason: "its thread has ended".into() };
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(job).map_err(|_| gone())?;
        earlier
    }

    /// Returns the first error among the files that were written meanwhile.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn look(&mut self) -> Result<()> {
        self.collect();
        std::mem::replace(&mut self.failed, Ok(()))
    }

    /// Tensors that are written and no longer needed, or none. What is saved next is best put into them, as
    /// [`Optimizer::tensors_into`](crate::Optimizer::tensors_into) and [`Trainer::tensors_into`](crate::Trainer::tensors_into)
    /// do: their memory is used again.
    pub fn spare(&mut self) -> Tensors {
        self.collect();
        self.spare.pop().unwrap_or_default()
    }

    /// Takes what the thread has done.
    fn collect(&mut self) {
        for (result, tensors) in self.results.try_iter() {
            self.failed = std::mem::replace(&mut self.failed, Ok(())).and(result);
            // More than can be under way at a time would never be used.
            if self.spare.len() < 3 {
                self.spare.push(tensors);
            }
        }
    }

    /// Waits until everything is written.
    ///
    /// # Errors
    /// The first error that was not returned before.
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
    /// Everything that was asked for is written, even without [`Saver::finish`].
    fn drop(&mut self) {
        self.end();
    }
}
