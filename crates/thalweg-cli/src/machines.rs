//! What the machines of a job do together, where a command runs on several of them.

use anyhow::Result;
use std::ops::ControlFlow;
use thalweg::plan::Program;
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
    fn builder<'a>(&self, builder: TrainerBuilder<'a>) -> TrainerBuilder<'a>;

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

    fn builder<'a>(&self, builder: TrainerBuilder<'a>) -> TrainerBuilder<'a> {
        builder
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

    fn spread<'a>(&'a self, train: Box<dyn Train + 'a>) -> Result<Box<dyn Train + 'a>> {
        Ok(train)
    }
}
