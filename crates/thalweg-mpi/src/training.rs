//! Any model of the library, trained by the library's trainer on the ranks of a job.

use crate::error::Result;
use crate::flight::Tag;
use crate::gathering::Gathering;
use crate::identity::Identity;
use crate::parallel::{Reduce, Sums, digest};
use crate::parts::Parts;
use crate::sharded::ShardedSums;
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
    trainer: Trainer<P>,
    steps: SharedSteps<'w, P::Float>,
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
        Ok(Self { steps: SharedSteps::new(world, &mut trainer, micro_batches, reduce, identity)?, trainer })
    }

    /// [`Training::new`] with [`Reduce::Exact`], where each rank has the optimizer's state of its part alone: see
    /// [`Sharded`](crate::Sharded). [`TrainerBuilder::part`](thalweg::train::TrainerBuilder::part) gives the trainer its part.
    ///
    /// # Errors
    /// As for [`Sharded::new`](crate::Sharded::new).
    pub fn sharded(world: &'w World, mut trainer: Trainer<P>, micro_batches: usize, identity: Identity) -> Result<Self> {
        Ok(Self { steps: SharedSteps::sharded(world, &mut trainer, micro_batches, identity)?, trainer })
    }

    /// The trainer.
    pub fn trainer(&self) -> &Trainer<P> {
        &self.trainer
    }

    /// The trainer, for changes that all ranks make alike. Steps are made by [`Training::step`] and [`Training::epoch`].
    pub fn trainer_mut(&mut self) -> &mut Trainer<P> {
        &mut self.trainer
    }

    /// Makes a step. All ranks take what the micro-batches leave, such as running statistics, in the order of their numbers.
    ///
    /// # Errors
    /// As for [`DataParallel::step`](crate::DataParallel::step).
    pub fn step(&mut self) -> Result<()> {
        self.steps.step(&mut self.trainer)
    }

    /// Makes the steps of an epoch, or what is left of it, as [`Trainer::epoch`] does. If `progress` breaks it off on one rank,
    /// it does so on all.
    ///
    /// # Errors
    /// As for [`Training::step`].
    pub fn epoch(&mut self, progress: impl FnMut(usize) -> ControlFlow<()>) -> Result<Vec<Metrics>> {
        self.steps.epoch(&mut self.trainer, progress)
    }

    /// [`Trainer::evaluate`], shared: each rank measures some blocks of rows, and all ranks join what was measured in the order
    /// of the blocks. On the CPU engine the bits are those of one trainer.
    ///
    /// # Errors
    /// As for [`Trainer::evaluate`], on all ranks.
    pub fn evaluate(&mut self) -> Result<Vec<Metrics>> {
        self.steps.evaluate(&mut self.trainer)
    }

    /// [`Trainer::predict`], shared: each rank computes the outputs of some rows, and all ranks get those of all.
    ///
    /// # Errors
    /// As for [`Trainer::predict`], on all ranks.
    pub fn predict(&mut self, lane: usize, features: &[f32]) -> Result<Vec<P::Float>> {
        self.steps.predict(&mut self.trainer, lane, features)
    }

    /// Sends all parts of the state to all ranks, where states are in parts: so the trainer has all of it, as for a checkpoint
    /// that rank 0 writes alone.
    ///
    /// # Errors
    /// [`Error::NoAnswer`](crate::Error::NoAnswer), or an error of the engine.
    pub fn join_state(&mut self) -> Result<()> {
        self.steps.join_state(&mut self.trainer)
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
        let tensors = self.trainer.tensors();
        let tensors = self.steps.world.agree("a checkpoint", tensors)?;
        parts.save(self.trainer.steps() as u64, &tensors, self.trainer.optimizer().arena())
    }

    /// Compares parameters and running statistics of all ranks, and returns their digest.
    ///
    /// # Errors
    /// As for [`DataParallel::check`](crate::DataParallel::check).
    pub fn check(&mut self) -> Result<[u8; 32]> {
        self.steps.check(&mut self.trainer)
    }
}

/// The steps of a trainer that somebody else holds; [`Training`] holds one itself.
#[derive(Debug)]
pub struct SharedSteps<'w, F> {
    world: &'w World,
    sums: State<'w, F>,
}

/// Who has the optimizer's state.
#[derive(Debug)]
enum State<'w, F> {
    /// Every rank has all of it.
    Whole(Sums<'w, F>),
    /// Every rank has a part.
    Parts(ShardedSums<'w, F>),
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
        let sums = Sums::new(world, trainer.optimizer_mut(), micro_batches, reduce, identity)?;
        Ok(Self { world, sums: State::Whole(sums) })
    }

    /// As [`Training::sharded`].
    ///
    /// # Errors
    /// As for [`Training::sharded`].
    pub fn sharded<P: Program<Float = F>>(
        world: &'w World,
        trainer: &mut Trainer<P>,
        micro_batches: usize,
        identity: Identity,
    ) -> Result<Self> {
        world.agree("micro-batches", trainer.micro_batches(micro_batches))?;
        let sums = ShardedSums::new(world, trainer.optimizer_mut(), micro_batches, identity)?;
        Ok(Self { world, sums: State::Parts(sums) })
    }

    /// As [`Training::step`].
    ///
    /// # Errors
    /// As for [`Training::step`].
    pub fn step<P: Program<Float = F>>(&mut self, trainer: &mut Trainer<P>) -> Result<()> {
        // All ranks are told with its gradients if this one cannot begin.
        let begun = trainer.begin_step().map(drop);
        let mut step = Step::of(self.world, trainer);
        let count = step.count;
        let gradient = |trainer: &mut Trainer<P>, number: usize| step.micro_batch(trainer, number);
        let stepped = match &mut self.sums {
            State::Whole(sums) => sums.step(trainer, count, begun, gradient),
            State::Parts(sums) => sums.step(trainer, count, begun, gradient),
        };
        let all = step.all();
        stepped?;
        // An engine may fail on one rank: the others find out in the next exchange.
        Ok(trainer.end_step(&all?)?)
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

    /// As [`Training::evaluate`].
    ///
    /// # Errors
    /// As for [`Training::evaluate`].
    pub fn evaluate<P: Program<Float = F>>(&mut self, trainer: &mut Trainer<P>) -> Result<Vec<Metrics>> {
        self.join_averages(trainer)?;
        let (blocks, len) = (trainer.evaluation_blocks(), trainer.block_sums());
        let measured = trainer.measure_blocks(share(blocks, self.world.ranks(), self.world.rank()));
        let all = self.gather_shares("an evaluation", measured, blocks, len)?;
        Ok(trainer.evaluation_of(&all)?)
    }

    /// As [`Training::predict`].
    ///
    /// # Errors
    /// As for [`Training::predict`].
    pub fn predict<P: Program<Float = F>>(
        &mut self,
        trainer: &mut Trainer<P>,
        lane: usize,
        features: &[f32],
    ) -> Result<Vec<F>> {
        self.join_averages(trainer)?;
        let (width, outputs) = (trainer.features(), trainer.outputs());
        let rows = features.len() / width;
        let own = share(rows, self.world.ranks(), self.world.rank());
        // What fills no row is wrong on all ranks.
        let end = if own.end == rows { features.len() } else { own.end * width };
        let found = trainer.predict(lane, &features[own.start * width..end]);
        self.gather_shares("predictions", found, rows, outputs)
    }

    /// What all ranks have computed of so many things, which they share out by [`share`]; each of `len` floats.
    fn gather_shares(&self, what: &'static str, own: thalweg::Result<Vec<F>>, things: usize, len: usize) -> Result<Vec<F>> {
        let mut own = self.world.agree(what, own)?;
        let ranks = self.world.ranks();
        let counts: Vec<usize> = (0..ranks).map(|rank| share(things, ranks, rank).len() * len).collect();
        let mut all = vec![F::of(0.0); things * len];
        if !all.is_empty() {
            self.world.gather_all(what, &mut own, &mut all, &counts)?;
        }
        Ok(all)
    }

    /// Sends all parts of the state to all ranks if parameters to evaluate with follow from it.
    fn join_averages<P: Program<Float = F>>(&mut self, trainer: &mut Trainer<P>) -> Result<()> {
        if trainer.optimizer().stepper().averages() { self.join_state(trainer) } else { Ok(()) }
    }

    /// As [`Training::join_state`].
    ///
    /// # Errors
    /// As for [`Training::join_state`].
    pub fn join_state<P: Program<Float = F>>(&mut self, trainer: &mut Trainer<P>) -> Result<()> {
        match &mut self.sums {
            State::Whole(_) => Ok(()),
            State::Parts(sums) => sums.join_state(trainer.optimizer_mut()),
        }
    }

    /// As [`Training::check`].
    ///
    /// # Errors
    /// As for [`Training::check`].
    pub fn check<P: Program<Float = F>>(&self, trainer: &mut Trainer<P>) -> Result<[u8; 32]> {
        let sums = match &self.sums {
            State::Whole(sums) => sums,
            State::Parts(sums) => &sums.sums,
        };
        sums.compare(of_all(trainer))
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
struct Step<'w, F> {
    world: &'w World,
    /// Its micro-batches, and how many floats each leaves.
    count: usize,
    len: usize,
    /// What this rank's micro-batches have left.
    marks: Vec<F>,
    /// What all leave: it travels once this rank has all its micro-batches, beside their gradients.
    all: Option<Result<Gathering<'w, F>>>,
}

impl<'w, F: Datum + Real> Step<'w, F> {
    fn of<P: Program<Float = F>>(world: &'w World, trainer: &Trainer<P>) -> Self {
        Self { world, count: trainer.micro_batches_ahead(), len: trainer.marks(), marks: Vec::new(), all: None }
    }

    /// The gradient of a micro-batch.
    fn micro_batch<P: Program<Float = F>>(&mut self, trainer: &mut Trainer<P>, number: usize) -> thalweg::Result<()> {
        self.marks.extend(trainer.micro_batch(number)?);
        if number + 1 == share(self.count, self.world.ranks(), self.world.rank()).end {
            self.send();
        }
        Ok(())
    }

    /// Sends what this rank's micro-batches have left; anything in place of what a rank lacks that has failed.
    fn send(&mut self) {
        let ranks = self.world.ranks();
        let counts: Vec<usize> = (0..ranks).map(|rank| share(self.count, ranks, rank).len() * self.len).collect();
        let mut own = std::mem::take(&mut self.marks);
        own.resize(counts[self.world.rank()], F::of(0.0));
        self.all = Some(Gathering::start(self.world, Tag::Marks, own, &counts));
    }

    /// What the micro-batches of all ranks have left. Each rank waits for it, whatever became of the step, so that nothing of
    /// this step is under way in the next one.
    fn all(&mut self) -> Result<Vec<F>> {
        if self.all.is_none() {
            self.send();
        }
        self.all.take().map_or(Ok(Vec::new()), |all| all?.wait(self.world, "what micro-batches leave"))
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
