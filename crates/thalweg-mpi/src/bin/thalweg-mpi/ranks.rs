//! The ranks of the job as the machines of the command line.

use anyhow::{Result, anyhow};
use std::cell::RefCell;
use std::ops::ControlFlow;
use thalweg::plan::Program;
use thalweg::sweep::{Job, Train};
use thalweg::train::TrainerBuilder;
use thalweg::{Accumulation, Batch, Metrics, Recipe, SumOrder, Trainer};
use thalweg_cli::{ADAPTER, Machines};
use thalweg_mpi::{Identity, Reduce, SharedSteps, Spread, World};

/// The job's ranks, and how they share steps.
pub struct Ranks<'w> {
    pub world: &'w World,
    pub micro_batches: usize,
    pub reduce: Reduce,
    /// From the first step on.
    pub steps: RefCell<Option<SharedSteps<'w, f32>>>,
}

impl Machines for Ranks<'_> {
    fn number(&self) -> usize {
        self.world.rank()
    }

    fn is_alone(&self) -> bool {
        false
    }

    fn agree<T>(&self, what: &'static str, result: Result<T>) -> Result<T> {
        let result = result.map_err(|error| format!("{error:#}"));
        Ok(self.world.agree(what, result)?)
    }

    fn most(&self, number: u64) -> Result<u64> {
        let all = self.world.texts("the largest number", &number.to_string())?;
        Ok(all.iter().filter_map(|text| text.parse().ok()).max().unwrap_or(number))
    }

    fn texts(&self, own: String) -> Result<Vec<String>> {
        Ok(self.world.texts("what ranks tell", &own)?)
    }

    fn recipe(&self, recipe: Recipe) -> Recipe {
        let order = SumOrder::Tree { micro_batches: self.micro_batches };
        recipe.accumulate(Accumulation { order, ..Default::default() })
    }

    fn batch(&self, batch: Batch) -> Result<Batch> {
        let Self { micro_batches, .. } = self;
        if batch.drop_last {
            return Err(anyhow!(
                "--drop-last: a step on ranks may have fewer micro-batches at the end of an epoch; leave it out"
            ));
        }
        if !batch.rows.is_multiple_of(*micro_batches) {
            return Err(anyhow!("a batch of {} rows is no multiple of --micro-batches {micro_batches}", batch.rows));
        }
        Ok(Batch { rows: batch.rows / micro_batches, ..batch })
    }

    fn builder<'a>(&self, builder: TrainerBuilder<'a>) -> TrainerBuilder<'a> {
        builder.on_ranks()
    }

    fn prepare<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>) -> Result<()> {
        let set = trainer.micro_batches(self.micro_batches);
        Ok(self.world.agree("micro-batches", set)?)
    }

    fn begin<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>, about: &[(&str, String)]) -> Result<()> {
        let matters = |what: &str| what != ADAPTER || self.reduce == Reduce::Exact;
        let add = |identity: Identity, (what, text): &(&str, String)| match text.len() {
            0..=200 => identity.with(what, text.clone()),
            _ => identity.with_digest(what, text.as_bytes()),
        };
        let identity = about.iter().filter(|(what, _)| matters(what)).fold(Identity::default(), add);
        let steps = SharedSteps::new(self.world, trainer, self.micro_batches, self.reduce, identity)?;
        *self.steps.borrow_mut() = Some(steps);
        Ok(())
    }

    fn epoch<P: Program<Float = f32>>(
        &self,
        trainer: &mut Trainer<P>,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Metrics>> {
        let mut steps = self.steps.borrow_mut();
        let steps = steps.as_mut().ok_or_else(|| anyhow!("a step before the ranks were compared"))?;
        let metrics = steps.epoch(trainer, progress)?;
        steps.check(trainer)?;
        Ok(metrics)
    }

    fn spread<'a>(&'a self, train: Box<dyn Train + 'a>) -> Result<Box<dyn Train + 'a>> {
        Ok(Box::new(Spread::new(self.world, Boxed(train))?))
    }
}

/// What trains the jobs of a rank.
struct Boxed<'a>(Box<dyn Train + 'a>);

impl Train for Boxed<'_> {
    fn train(&mut self, jobs: &[Job], steps: u64) -> thalweg::Result<Vec<f64>> {
        self.0.train(jobs, steps)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn copy(&mut self, from: u64, to: u64) -> thalweg::Result<()> {
        self.0.copy(from, to)
    }

    fn forget(&mut self, trials: &[u64]) {
        self.0.forget(trials);
    }
}
