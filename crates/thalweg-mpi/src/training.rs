//! Any model of the library, trained by the library's trainer on the ranks of a job.

use crate::error::Result;
use crate::identity::Identity;
use crate::parallel::{Reduce, Sums, digest};
use crate::parts::Parts;
use crate::sharded::Sharded;
use crate::world::{Datum, World};
use std::ops::{ControlFlow, RangeInclusive};
use thalweg::checkpoint::Element;
use thalweg::plan::Program;
use thalweg::tree::share;
use thalweg::{Metrics, Real, Trainer};

/// A [`Trainer`] whose steps the ranks of a job share: any model of [`thalweg::nn`], its task, its lanes.
///
/// A step has as many micro-batches as it is told, each a batch of the trainer; the last step of an epoch may have fewer. Bits
/// of parameters, of running statistics and of what is measured are those of one trainer with [`Trainer::micro_batches`] on the
/// CPU engine, and the same on any number of ranks.
///
/// # Examples
///
/// ```no_run
/// use thalweg::nn::{BatchNorm1d, Linear, Nonlinearity, Sequential};
/// use thalweg::{Accumulation, AdamW, Recipe, SumOrder, Trainer, cpu::Cpu, data::digits};
/// use thalweg_mpi::{Identity, Reduce, Training, World};
///
/// let world = World::start()?;
/// let (train, test) = digits().split(0.2, 0)?;
/// let model = Sequential::new()
///     .then(Linear::new(64, 32))
///     .then(BatchNorm1d::new(32))
///     .then(Nonlinearity::Relu)
///     .then(Linear::new(32, 10));
/// let tree = Accumulation { order: SumOrder::Tree { micro_batches: 8 }, ..Default::default() };
/// let recipe = Recipe::new(AdamW::default()).accumulate(tree);
/// let trainer = Trainer::builder(&model, recipe).train(&train).validation(&test).batch(32).on_ranks();
/// let trainer = trainer.build(&Cpu::<f32>::default())?;
/// let data = Identity::default().with_digest("data", bytemuck::cast_slice(&train.features));
/// let mut training = Training::new(&world, trainer, 8, Reduce::Exact, data)?;
/// for _ in 0..10 {
///     training.epoch(|_| std::ops::ControlFlow::Continue(()))?;
/// }
/// println!("{:?}", training.evaluate()?[0].accuracy);
/// # Ok::<(), thalweg_mpi::Error>(())
/// ```
#[derive(Debug)]
pub struct Training<'w, P: Program<Float: Datum>> {
    world: &'w World,
    steps: Steps<'w, P>,
}

/// Who has the optimizer's state.
#[derive(Debug)]
enum Steps<'w, P: Program<Float: Datum>> {
    /// Every rank has all of it.
    Whole(Trainer<P>, SharedSteps<'w, P::Float>),
    /// Every rank has a part.
    Parts(Sharded<'w, Trainer<P>>),
}

impl<'w, P: Program<Float: Datum>> Training<'w, P> {
    /// Shares the steps of a trainer that was built for it
    /// ([`TrainerBuilder::on_ranks`](thalweg::train::TrainerBuilder::on_ranks)). A step takes `micro_batches` of its batches.
    ///
    /// # Errors
    /// As for [`DataParallel::new`](crate::DataParallel::new), or those of [`Trainer::micro_batches`] on all ranks.
    pub fn new(
        world: &'w World,
        mut trainer: Trainer<P>,
        micro_batches: usize,
        reduce: Reduce,
        identity: Identity,
    ) -> Result<Self> {
        let steps = SharedSteps::new(world, &mut trainer, micro_batches, reduce, identity)?;
        Ok(Self { world, steps: Steps::Whole(trainer, steps) })
    }

    /// [`Training::new`] with [`Reduce::Exact`], where each rank has the optimizer's state of its part alone: see [`Sharded`].
    ///
    /// # Errors
    /// As for [`Sharded::new`].
    pub fn sharded(world: &'w World, mut trainer: Trainer<P>, micro_batches: usize, identity: Identity) -> Result<Self> {
        world.agree("micro-batches", trainer.micro_batches(micro_batches))?;
        Ok(Self { world, steps: Steps::Parts(Sharded::new(world, trainer, micro_batches, identity)?) })
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer<P> {
        match &self.steps {
            Steps::Whole(trainer, _) => trainer,
            Steps::Parts(steps) => steps.of(),
        }
    }

    /// The trainer, for changes that all ranks make alike. Steps are made by [`Training::step`] and [`Training::epoch`].
    pub fn trainer_mut(&mut self) -> &mut Trainer<P> {
        match &mut self.steps {
            Steps::Whole(trainer, _) => trainer,
            Steps::Parts(steps) => steps.of_mut(),
        }
    }

    /// Makes a step. All ranks take what the micro-batches leave, such as running statistics, in the order of their numbers.
    ///
    /// # Errors
    /// As for [`DataParallel::step`](crate::DataParallel::step).
    pub fn step(&mut self) -> Result<()> {
        match &mut self.steps {
            Steps::Whole(trainer, steps) => steps.step(trainer),
            Steps::Parts(steps) => {
                let mut step = Step::begin(steps.of_mut());
                steps.step_of(step.count, |trainer, number| step.micro_batch(trainer, number))?;
                step.end(self.world, steps.of_mut())
            }
        }
    }

    /// Makes the steps of an epoch, or what is left of it, as [`Trainer::epoch`] does. If `progress` breaks it off on one rank,
    /// it does so on all.
    ///
    /// # Errors
    /// As for [`Training::step`].
    pub fn epoch(&mut self, mut progress: impl FnMut(usize) -> ControlFlow<()>) -> Result<Vec<Metrics>> {
        for done in left(self.trainer()) {
            self.step()?;
            if breaks(self.world, progress(done))? {
                break;
            }
        }
        let metrics = self.trainer_mut().metrics();
        self.world.agree("what was measured", metrics)
    }

    /// [`Trainer::evaluate`], on every rank. Where states are in parts, they go to all ranks first, for the recipe may have
    /// averages.
    ///
    /// # Errors
    /// As for [`Trainer::evaluate`], on all ranks.
    pub fn evaluate(&mut self) -> Result<Vec<Metrics>> {
        self.join_state()?;
        let found = self.trainer_mut().evaluate();
        self.world.agree("an evaluation", found)
    }

    /// Sends all parts of the state to all ranks, where states are in parts: so the trainer has all of it, as for a checkpoint
    /// that rank 0 writes alone.
    ///
    /// # Errors
    /// [`Error::NoAnswer`](crate::Error::NoAnswer), or an error of the engine.
    pub fn join_state(&mut self) -> Result<()> {
        if let Steps::Parts(steps) = &mut self.steps { steps.join_state() } else { Ok(()) }
    }

    /// Lets all ranks write a checkpoint together. Any number of ranks, or one program, goes on from it: call
    /// [`Trainer::load_tensors`] with what [`Parts::newest`] gives, before the trainer is shared.
    ///
    /// # Errors
    /// As for [`Parts::save`].
    pub fn save(&mut self, parts: &Parts) -> Result<()>
    where
        P::Float: Element,
    {
        let tensors = self.trainer_mut().tensors();
        let tensors = self.world.agree("a checkpoint", tensors)?;
        parts.save(self.trainer().steps() as u64, &tensors, self.trainer().optimizer().arena())
    }

    /// Compares parameters and running statistics of all ranks, and returns their digest.
    ///
    /// # Errors
    /// As for [`DataParallel::check`](crate::DataParallel::check).
    pub fn check(&mut self) -> Result<[u8; 32]> {
        match &mut self.steps {
            Steps::Whole(trainer, steps) => steps.check(trainer),
            Steps::Parts(steps) => {
                let own = of_all(steps.of_mut());
                steps.compare(own)
            }
        }
    }
}

/// The steps of a trainer that somebody else holds; [`Training`] holds one itself.
#[derive(Debug)]
pub struct SharedSteps<'w, F> {
    world: &'w World,
    sums: Sums<'w, F>,
}

impl<'w, F: Datum + Real> SharedSteps<'w, F> {
    /// As [`Training::new`].
    ///
    /// # Errors
    /// As for [`Training::new`].
    pub fn new<P: Program<Float = F>>(
        world: &'w World,
        trainer: &mut Trainer<P>,
        micro_batches: usize,
        reduce: Reduce,
        identity: Identity,
    ) -> Result<Self> {
        world.agree("micro-batches", trainer.micro_batches(micro_batches))?;
        Ok(Self { world, sums: Sums::new(world, trainer.optimizer_mut(), micro_batches, reduce, identity)? })
    }

    /// As [`Training::step`].
    ///
    /// # Errors
    /// As for [`Training::step`].
    pub fn step<P: Program<Float = F>>(&mut self, trainer: &mut Trainer<P>) -> Result<()> {
        let mut step = Step::begin(trainer);
        self.sums.step(trainer, step.count, |trainer, number| step.micro_batch(trainer, number))?;
        step.end(self.world, trainer)
    }

    /// As [`Training::epoch`].
    ///
    /// # Errors
    /// As for [`Training::step`].
    pub fn epoch<P: Program<Float = F>>(
        &mut self,
        trainer: &mut Trainer<P>,
        mut progress: impl FnMut(usize) -> ControlFlow<()>,
    ) -> Result<Vec<Metrics>> {
        for done in left(trainer) {
            self.step(trainer)?;
            if breaks(self.world, progress(done))? {
                break;
            }
        }
        self.world.agree("what was measured", trainer.metrics())
    }

    /// As [`Training::check`].
    ///
    /// # Errors
    /// As for [`Training::check`].
    pub fn check<P: Program<Float = F>>(&self, trainer: &mut Trainer<P>) -> Result<[u8; 32]> {
        self.sums.compare(of_all(trainer))
    }
}

/// The numbers of an epoch's steps that are still to be made, from 1 on.
fn left<P: Program>(trainer: &Trainer<P>) -> RangeInclusive<usize> {
    let steps = trainer.steps_per_epoch();
    trainer.steps() % steps + 1..=steps
}

/// Whether any rank breaks off.
fn breaks(world: &World, own: ControlFlow<()>) -> Result<bool> {
    Ok(world.gather("whether to go on", &[u32::from(own.is_break())])?.contains(&1))
}

/// A step that is being made.
struct Step<F> {
    /// Its micro-batches.
    count: usize,
    /// Why it could not begin. All ranks are told with its gradients.
    begun: thalweg::Result<()>,
    /// What this rank's micro-batches have left.
    marks: Vec<F>,
}

impl<F: Datum + Real> Step<F> {
    fn begin<P: Program<Float = F>>(trainer: &mut Trainer<P>) -> Self {
        let begun = trainer.begin_step().map(drop);
        Self { count: trainer.micro_batches_ahead(), begun, marks: Vec::new() }
    }

    /// The gradient of a micro-batch.
    fn micro_batch<P: Program<Float = F>>(&mut self, trainer: &mut Trainer<P>, number: usize) -> thalweg::Result<()> {
        self.begun.clone()?;
        self.marks.extend(trainer.micro_batch(number)?);
        Ok(())
    }

    /// Ends the step with what the micro-batches of all ranks have left. An engine may fail on one rank: the others find out in
    /// the next exchange.
    fn end<P: Program<Float = F>>(mut self, world: &World, trainer: &mut Trainer<P>) -> Result<()> {
        let len = trainer.marks();
        let of = |rank: usize| share(self.count, world.ranks(), rank).len() * len;
        let counts: Vec<usize> = (0..world.ranks()).map(of).collect();
        let mut all = vec![F::of(0.0); self.count * len];
        world.gather_all("what micro-batches leave", &mut self.marks, &mut all, &counts)?;
        self.begun.and_then(|()| trainer.end_step(&all)).map_err(crate::Error::from)
    }
}

/// A digest of parameters and running statistics.
fn of_all<P: Program<Float: Datum>>(trainer: &mut Trainer<P>) -> thalweg::Result<[u8; 32]> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&digest(trainer.optimizer_mut())?);
    for lane in 0..trainer.lanes() {
        hasher.update(bytemuck::cast_slice(&trainer.statistics(lane)?));
    }
    Ok(hasher.finalize().into())
}
