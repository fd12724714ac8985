//! The ranks of the job as the machines of the command line.

use anyhow::{Result, anyhow};
use std::cell::{RefCell, RefMut};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use thalweg::checkpoint::{Tensors, read};
use thalweg::plan::{Arena, Program};
use thalweg::sweep::{Job, Train};
use thalweg::train::TrainerBuilder;
use thalweg::{Accumulation, Batch, Metrics, Recipe, SumOrder, Trainer};
use thalweg_cli::{ADAPTER, Machines};
use thalweg_mpi::{Identity, Parts, Reduce, SharedSteps, Spread, World, joined, part, read_parts};

/// What each rank has or writes of its own part alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InParts {
    Nothing,
    Checkpoints,
    /// The optimizer's state, and checkpoints.
    State,
}

impl FromStr for InParts {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "nothing" => Ok(Self::Nothing),
            "checkpoints" => Ok(Self::Checkpoints),
            "state" => Ok(Self::State),
            other => Err(format!("what is in parts is {other}, expected nothing, checkpoints or state")),
        }
    }
}

/// The job's ranks, and how they share steps.
pub struct Ranks<'w> {
    pub world: &'w World,
    pub micro_batches: usize,
    pub reduce: Reduce,
    pub in_parts: InParts,
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

    fn builder<'a>(&self, builder: TrainerBuilder<'a>) -> Result<TrainerBuilder<'a>> {
        let builder = builder.on_ranks();
        Ok(if self.in_parts == InParts::State { builder.part(|arena| part(self.world, arena))? } else { builder })
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
        let identity = identity.with("parts", format!("{:?}", self.in_parts));
        let steps = match self.in_parts {
            InParts::State => SharedSteps::sharded(self.world, trainer, self.micro_batches, identity)?,
            _ => SharedSteps::new(self.world, trainer, self.micro_batches, self.reduce, identity)?,
        };
        *self.steps.borrow_mut() = Some(steps);
        Ok(())
    }

    fn epoch<P: Program<Float = f32>>(
        &self,
        trainer: &mut Trainer<P>,
        progress: &mut dyn FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Metrics>> {
        let mut steps = self.steps()?;
        let metrics = steps.epoch(trainer, progress)?;
        steps.check(trainer)?;
        Ok(metrics)
    }

    fn evaluate<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>) -> Result<Vec<Metrics>> {
        Ok(self.steps()?.evaluate(trainer)?)
    }

    fn predict<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>, features: &[f32]) -> Result<Vec<f32>> {
        Ok(self.steps()?.predict(trainer, 0, features)?)
    }

    fn tensors<P: Program<Float = f32>>(&self, trainer: &mut Trainer<P>, mut spare: Tensors) -> Result<Option<Tensors>> {
        let is_first = self.world.rank() == 0;
        if self.in_parts == InParts::State {
            let own = self.world.agree("what is saved", trainer.tensors())?;
            let whole = joined(self.world, &own, trainer.optimizer().arena())?;
            return Ok(is_first.then_some(whole));
        }
        if is_first {
            trainer.tensors_into(&mut spare)?;
        }
        Ok(is_first.then_some(spare))
    }

    fn parts(&self, folder: Option<&Path>) -> Result<Option<PathBuf>> {
        if self.in_parts == InParts::Nothing {
            return Ok(None);
        }
        let own = folder.map_or_else(String::new, |folder| folder.to_string_lossy().into_owned());
        let of_first = self.texts(own)?.swap_remove(0);
        Ok((!of_first.is_empty()).then(|| of_first.into()))
    }

    fn write_part(&self, folder: &Path, keep: usize, step: u64, tensors: &Tensors, arena: &Arena) -> Result<()> {
        Ok(Parts::new(self.world, folder)?.keep(keep).save(step, tensors, arena)?)
    }

    fn newest_in_parts(&self, folder: &Path, latest: Option<u64>) -> Result<Option<(u64, PathBuf)>> {
        let steps = Parts::steps(folder)?;
        let newest = steps.into_iter().rev().find(|&step| latest.is_none_or(|latest| step <= latest));
        Ok(newest.map(|step| (step, Parts::file(folder, step))))
    }

    fn read(&self, file: &Path) -> Result<Tensors> {
        if Parts::step_of(file).is_some() { Ok(read_parts(file)?) } else { Ok(read(file)?) }
    }

    fn spread<'a>(&'a self, train: Box<dyn Train + 'a>) -> Result<Box<dyn Train + 'a>> {
        Ok(Box::new(Spread::new(self.world, Boxed(train))?))
    }
}

impl<'w> Ranks<'w> {
    fn steps(&self) -> Result<RefMut<'_, SharedSteps<'w, f32>>> {
        let steps = RefMut::filter_map(self.steps.borrow_mut(), Option::as_mut);
        steps.map_err(|_| anyhow!("a step before the ranks were compared"))
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
