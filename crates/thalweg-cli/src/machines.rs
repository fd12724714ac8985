//! What the machines of a job do together, where a command runs on several of them.

use crate::Usage;
use anyhow::{Result, bail};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use thalweg::checkpoint::{MANIFEST, Tensors, read};
use thalweg::plan::{Arena, Program};
use thalweg::sweep::Train;
use thalweg::train::TrainerBuilder;
use thalweg::{Batch, Metrics, Recipe, Trainer};

/// What adapters are called among what has to be the same on all machines: where bits do not matter, they may differ.
pub const ADAPTER: &str = "adapter";

/// The machines of a job, as one of them sees them. All run the same command with the same options; files and texts are those
/// of the first one.
pub trait Machines {
    /// The number of this machine, from 0 on.
    fn number(&self) -> usize;

    /// Whether there is one machine, with steps as everywhere else.
    fn is_alone(&self) -> bool;

    /// The result, or on all machines the error of the first one that has one.
    fn agree<T>(&self, what: &'static str, result: Result<T>) -> Result<T>;

    /// The largest number of all machines.
    fn most(&self, number: u64) -> Result<u64>;

    /// The texts of all machines.
    fn texts(&self, own: String) -> Result<Vec<String>>;

    /// The recipe with what it needs for steps that machines share.
    fn recipe(&self, recipe: Recipe) -> Recipe;

    /// The rows of a step as those that a machine takes at a time.
    fn batch(&self, batch: Batch) -> Result<Batch>;

    /// A trainer for steps that machines share.
    fn builder<'a>(&self, builder: TrainerBuilder<'a>) -> Result<TrainerBuilder<'a>>;

    /// Prepares a trainer that was built, before it is loaded with anything.
    fn prepare<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>) -> Result<()>;

    /// Compares all machines before the first step: `about` names what has to be the same, besides start values and settings.
    fn begin<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>, about: &[(&str, String)]) -> Result<()>;

    /// An epoch, as [`Trainer::epoch`]. If `progress` breaks it off on one machine, it does so on all.
    fn epoch<P: Program<Float = f32>>(
        &self,
        trainer: &mut Trainer<P>,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Metrics>>;

    /// [`Trainer::evaluate`], each machine some of the rows.
    fn evaluate<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>) -> Result<Vec<Metrics>>;

    /// [`Trainer::predict`] of the first lane, each machine some of the rows.
    fn predict<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>, features: &[f32]) -> Result<Vec<f32>>;

    /// All that a trainer has to save, in the memory of `spare`: for the first machine, which alone writes it. All machines ask
    /// for it together.
    fn tensors<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>, spare: Tensors) -> Result<Option<Tensors>>;

    /// Where checkpoints are that all machines write together, each its part; `folder` is that of the first machine. Nothing
    /// where the first machine writes them alone.
    fn parts(&self, folder: Option<&Path>) -> Result<Option<PathBuf>>;

    /// Writes the checkpoint of a step to such a folder, of which the last `keep` are kept. Only the machine's own part of
    /// `tensors` has to be up to date.
    fn write_part(&self, folder: &Path, keep: usize, step: u64, tensors: &Tensors, arena: &Arena) -> Result<()>;

    /// The newest checkpoint in parts of a folder, at or before the step `latest`.
    fn newest_in_parts(&self, folder: &Path, latest: Option<u64>) -> Result<Option<(u64, PathBuf)>>;

    /// Reads a checkpoint, be it one file or in parts.
    fn read(&self, file: &Path) -> Result<Tensors>;

    /// Lets all machines train the jobs of a sweep, each its own.
    fn spread<'a>(&'a self, train: Box<dyn Train + 'a>) -> Result<Box<dyn Train + 'a>>;
}

/// One machine.
pub struct Alone;

impl Machines for Alone {
    fn number(&self) -> usize {
        0
    }

    fn is_alone(&self) -> bool {
        true
    }

    fn agree<T>(&self, _: &'static str, result: Result<T>) -> Result<T> {
        result
    }

    fn most(&self, number: u64) -> Result<u64> {
        Ok(number)
    }

    fn texts(&self, own: String) -> Result<Vec<String>> {
        Ok(vec![own])
    }

    fn recipe(&self, recipe: Recipe) -> Recipe {
        recipe
    }

    fn batch(&self, batch: Batch) -> Result<Batch> {
        Ok(batch)
    }

    fn builder<'a>(&self, builder: TrainerBuilder<'a>) -> Result<TrainerBuilder<'a>> {
        Ok(builder)
    }

    fn prepare<P: Program<Float = f32>>(&self, _: &mut Trainer<P>) -> Result<()> {
        Ok(())
    }

    fn begin<P: Program<Float = f32>>(&self, _: &mut Trainer<P>, _: &[(&str, String)]) -> Result<()> {
        Ok(())
    }

    fn epoch<P: Program<Float = f32>>(
        &self,
        trainer: &mut Trainer<P>,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Metrics>> {
        Ok(trainer.epoch(progress)?)
    }

    fn evaluate<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>) -> Result<Vec<Metrics>> {
        Ok(trainer.evaluate()?)
    }

    fn predict<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>, features: &[f32]) -> Result<Vec<f32>> {
        Ok(trainer.predict(0, features)?)
    }

    fn tensors<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>, mut spare: Tensors) -> Result<Option<Tensors>> {
        trainer.tensors_into(&mut spare)?;
        Ok(Some(spare))
    }

    fn parts(&self, _: Option<&Path>) -> Result<Option<PathBuf>> {
        Ok(None)
    }

    fn write_part(&self, folder: &Path, _: usize, _: u64, _: &Tensors, _: &Arena) -> Result<()> {
        bail!("{}: one machine writes no parts", folder.display())
    }

    fn newest_in_parts(&self, folder: &Path, _: Option<u64>) -> Result<Option<(u64, PathBuf)>> {
        let mut files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        files.find(|file| is_in_parts(file)).map_or(Ok(None), |file| Err(in_parts(&file)))
    }

    fn read(&self, file: &Path) -> Result<Tensors> {
        if is_in_parts(file) { Err(in_parts(file)) } else { Ok(read(file)?) }
    }

    fn spread<'a>(&'a self, train: Box<dyn Train + 'a>) -> Result<Box<dyn Train + 'a>> {
        Ok(train)
    }
}

/// Whether a file is the manifest of a checkpoint in parts, by its name.
fn is_in_parts(file: &Path) -> bool {
    file.to_string_lossy().ends_with(MANIFEST)
}

fn in_parts(file: &Path) -> anyhow::Error {
    let file = file.display();
    Usage(format!(
        "{file}: several machines wrote this checkpoint, each its part; thalweg-mpi train --resume goes on with it, also on one"
    ))
    .into()
}
