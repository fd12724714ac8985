//! Training a model on a data set, in two plans: the gradient of a batch, and the step along it.

mod batch;
mod blocks;
mod builder;
mod copies;
mod feed;
mod fit;
mod fitting;
mod lanes;
mod metrics;
#[cfg(feature = "checkpoint")]
mod model_file;
mod population;
mod predict;
mod probabilities;
mod probe;
mod ranks;
mod rate_test;
mod record;
#[cfg(feature = "checkpoint")]
mod saved;
mod start;
mod state;
mod stopping;
mod stream;
mod task;

pub use batch::Batch;
pub use builder::TrainerBuilder;
pub use fit::Epoch;
pub use metrics::{Confusion, Metric, Metrics};
pub use population::{Look, Population, Setup};
pub use probabilities::Probabilities;
pub use rate_test::{RateCurve, RateTest};
pub use stopping::{Best, EarlyStopping};
pub use task::Task;

use crate::error::{Error, Result, range};
use crate::optimizer::{Optimizer, Report};
use crate::plan::{Arena, BufferId, PlanId, Program};
use crate::rule::Real;
use copies::Copies;
use feed::Feed;
use lanes::Lane;
use predict::Predictor;
use ranks::OnRanks;
use std::ops::{ControlFlow, Range};

/// Trains any [`Model`](crate::nn::Model), in one lane or many: [`Trainer::builder`] makes one.
///
/// Every epoch shuffles a lane's training rows and takes them batch by batch, the last batch being smaller where the rows do
/// not fill it, as in PyTorch and Keras; see [`Batch`]. Start values, the order of an epoch and the random numbers of a step
/// are functions of the lane's seed and the number of the epoch or step, so a lane has the bits of a trainer of one lane with
/// that seed.
///
/// # Examples
///
/// ```
/// use thalweg::nn::{BatchNorm1d, Dropout, Linear, Nonlinearity, Sequential};
/// use thalweg::{AdamW, Recipe, Trainer, cpu::Cpu, data::Dataset};
///
/// // Is the first number the larger one?
/// let pairs: Vec<(f32, f32)> = (0..200).map(|i| ((i * 7 % 13) as f32 / 13.0, (i * 5 % 11) as f32 / 11.0)).collect();
/// let labels = pairs.iter().map(|(a, b)| u32::from(a > b)).collect();
/// let data = Dataset::new(pairs.into_iter().flat_map(|(a, b)| [a, b]).collect(), 2, labels)?;
///
/// let model = Sequential::new()
///     .then(Linear::new(2, 16))
///     .then(BatchNorm1d::new(16))
///     .then(Nonlinearity::Silu)
///     .then(Dropout { p: 0.1 })
///     .then(Linear::new(16, 2));
/// let recipe = Recipe::new(AdamW { lr: 0.01, ..Default::default() });
/// let mut trainer = Trainer::builder(&model, recipe).train(&data).validation(&data).batch(20).build(&Cpu::<f32>::default())?;
/// for _ in 0..60 {
///     trainer.whole_epoch()?;
/// }
/// assert!(trainer.evaluate()?[0].accuracy > Some(0.95));
/// assert_eq!(trainer.predict_classes(0, &[0.9, 0.1, 0.2, 0.7])?, [1, 0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
///
/// Regression, in four lanes that start from different weights and see the rows in different orders:
///
/// ```
/// use thalweg::nn::{Nonlinearity, Sequential};
/// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data::Dataset};
///
/// let x: Vec<f32> = (0..100).map(|i| i as f32 / 50.0 - 1.0).collect();
/// let data = Dataset::regression(x.clone(), 1, x.iter().map(|x| x * x).collect(), 1)?;
/// let model = Sequential::perceptron(1, &[16], 1, Nonlinearity::Tanh);
/// let recipe = Recipe::new(Adam { lr: 0.02, ..Default::default() });
/// let mut trainer = Trainer::builder(&model, recipe).train(&data).validation(&data).batch(10).seeds(&[1, 2, 3, 4]);
/// let mut trainer = trainer.build(&Cpu::<f32>::default())?;
/// for _ in 0..60 {
///     trainer.whole_epoch()?;
/// }
/// assert!(trainer.evaluate()?.iter().all(|lane| lane.r2 > Some(0.9)));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Trainer<P> {
    optimizer: Optimizer<P>,
    plans: Plans,
    lanes: Vec<Lane>,
    /// Parameters to evaluate with, where they are not those at which gradients are taken.
    evaluated: Option<BufferId>,
    train: Feed,
    validation: Option<Feed>,
    predictor: Predictor,
    statistics: Statistics,
    /// Rows in all batches of an epoch together.
    taken: usize,
    /// The parameters that lanes share, and where they lie.
    base: Option<(Arena, BufferId)>,
    /// Complete epochs, and steps made in the one after them.
    epoch: u64,
    step: usize,
    steps: usize,
    /// Batches that a step takes.
    micro: usize,
    /// Whether batches come from a stream.
    streams: bool,
    /// The plans of a step, and of the last one of an epoch.
    sequences: [Vec<PlanId>; 2],
    /// Early stopping, and the best of each lane.
    stopping: Option<EarlyStopping>,
    best: Vec<Best>,
    /// The running statistics with which steps go on, for each lane, while those of its best epoch are evaluated in their
    /// place. Any float is exact in `f64`.
    aside: Option<Vec<Vec<f64>>>,
    /// How lanes take over others, where they may.
    copies: Option<Copies>,
    /// What several machines need that share a step's micro-batches, where they may.
    on_ranks: Option<OnRanks>,
}

/// Plans of a trainer beside those of its optimizer.
#[derive(Debug, Clone, Copy)]
struct Plans {
    whole: Gradient,
    /// That of the last, smaller batch, where there is one.
    last: Option<Gradient>,
    /// Picks a block of the validation data; its loss and scores.
    evaluate: Option<PlanId>,
}

/// The plans of a batch's gradient.
#[derive(Debug, Clone, Copy)]
struct Gradient {
    /// Picks a batch; its loss and gradient.
    pick: PlanId,
    /// Changes running statistics, where that is not part of the above.
    moves: Option<PlanId>,
    /// Loss and gradient of the same batch once more, if the recipe ascends in between.
    again: Option<PlanId>,
}

/// What a lane has besides its optimizer's state.
#[derive(Debug)]
struct Statistics {
    /// Untrained buffers of the model.
    arena: Arena,
    id: BufferId,
    /// The keys of random numbers.
    keys: BufferId,
}

impl<P: Program> Trainer<P> {
    /// Accumulates the gradients of `batches` batches for each step. The last step of an epoch takes the batches that are left.
    /// If the recipe takes the mean, it is the mean over batches, in which a smaller last batch counts like the others. Default
    /// 1.
    ///
    /// # Errors
    /// `batches` is 0, or above 1 with a recipe that does not accumulate so many (see
    /// [`Recipe::accumulate`](crate::Recipe::accumulate)); or another number after an epoch has begun.
    pub fn micro_batches(&mut self, batches: usize) -> Result<()> {
        range::require(batches >= 1, "micro_batches", batches, "at least 1")?;
        let accumulates = self.optimizer.stepper().accumulate_plan().is_some();
        range::require(accumulates || batches == 1, "micro_batches", batches, "1 where the recipe does not accumulate")?;
        let fits = !accumulates || self.optimizer.stepper().accumulate_plan_of(batches - 1).is_some();
        range::require(fits, "micro_batches", batches, "at most as many as the recipe's tree of sums has")?;
        if self.step > 0 && batches != self.micro {
            return Err(Error::order("micro_batches", "it has to come before an epoch begins"));
        }
        self.micro = batches;
        self.sequence_all();
        Ok(())
    }

    /// The optimizer: samples, averages, freezing, state. Its program has the trainer's plans as well.
    pub fn optimizer(&self) -> &Optimizer<P> {
        &self.optimizer
    }

    /// The optimizer, to change it. Steps are made by [`Trainer::epoch`] and the like.
    ///
    /// # Examples
    ///
    /// The loss of each step, from samples that nothing waits for:
    ///
    /// ```
    /// use thalweg::nn::{Nonlinearity, Sequential};
    /// use thalweg::{Recipe, Sgd, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// let data = Dataset::new(vec![0.0, 0.5, 1.0, 1.5], 1, vec![0, 0, 1, 1])?;
    /// let model = Sequential::perceptron(1, &[4], 2, Nonlinearity::Relu);
    /// let recipe = Recipe::new(Sgd { lr: 0.1, ..Default::default() });
    /// let mut trainer = Trainer::builder(&model, recipe).train(&data).batch(2).build(&Cpu::<f32>::default())?;
    /// trainer.optimizer_mut().watch_loss();
    /// trainer.optimizer_mut().telemetry_every(1);
    /// let mean = trainer.whole_epoch()?[0].loss;
    /// let losses: Vec<f64> = trainer.optimizer_mut().poll()?.iter().filter_map(|sample| sample.loss).collect();
    /// assert!((mean - (losses[0] + losses[1]) / 2.0).abs() < 1e-6);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn optimizer_mut(&mut self) -> &mut Optimizer<P> {
        &mut self.optimizer
    }

    /// Lanes.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> usize {
        self.train.batches.div_ceil(self.micro)
    }

    /// Steps run so far.
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Epochs that are complete.
    pub fn epochs(&self) -> u64 {
        self.epoch
    }

    /// The rows in the order in which a lane takes them in an epoch, which is counted from 0: a function of the lane's seed and
    /// the number of the epoch alone.
    ///
    /// # Errors
    /// A lane that does not exist.
    pub fn order(&self, lane: usize, epoch: u64) -> Result<Vec<u32>> {
        let of = self.lane(lane)?;
        let mut order = vec![0; of.train.len()];
        lanes::put_order(of.seed, epoch, &of.train, &mut order);
        Ok(order)
    }

    fn lane(&self, lane: usize) -> Result<&Lane> {
        let lanes = self.lanes.len();
        self.lanes.get(lane).ok_or_else(|| Error::setting("lane", lane, &format!("below {lanes}")))
    }

    /// The plans that a step runs; the last step of an epoch may run others. On the GPU,
    /// [`GpuProgram::dispatches`](crate::gpu::GpuProgram::dispatches) says how many kernels each of them takes.
    pub fn step_plans(&self) -> &[PlanId] {
        &self.sequences[0]
    }

    /// Runs an epoch, or what is left of one that was broken off, and returns each lane's training loss and scores, measured in
    /// its steps. `progress` is called after each step with the number of steps made in the epoch, and may break it off; the
    /// next call goes on there.
    ///
    /// # Errors
    /// A lost device.
    pub fn epoch(&mut self, progress: impl FnMut(usize) -> ControlFlow<()>) -> Result<Vec<Metrics>> {
        self.epoch_by(1, progress)
    }

    /// [`Trainer::epoch`] without `progress`: a submission takes as many steps as suit the device.
    ///
    /// # Errors
    /// As for [`Trainer::epoch`]; [`Error::Partly`] says how many steps were made before.
    pub fn whole_epoch(&mut self) -> Result<Vec<Metrics>> {
        self.epoch_by(usize::MAX, |_| ControlFlow::Continue(()))
    }

    /// [`Trainer::epoch`] where `progress` is called after every `every` steps and at the end. A submission takes as many steps
    /// in between as suit the device. The bits are the same.
    ///
    /// # Errors
    /// As for [`Trainer::whole_epoch`]; `every` of 0.
    pub fn epoch_by(&mut self, every: usize, mut progress: impl FnMut(usize) -> ControlFlow<()>) -> Result<Vec<Metrics>> {
        range::require(every >= 1, "steps between two looks", every, "at least 1")?;
        let (epoch, steps) = (self.epoch, self.steps_per_epoch());
        while self.epoch == epoch {
            self.stretch(every - self.step % every)?;
            let done = if self.epoch == epoch { self.step } else { steps };
            let looks = done.is_multiple_of(every) || done == steps;
            if looks && progress(done).is_break() {
                break;
            }
        }
        self.metrics()
    }

    /// Makes `steps` steps, if need be over the ends of epochs. The bits are those of whole epochs.
    ///
    /// # Errors
    /// As for [`Trainer::whole_epoch`].
    pub fn advance(&mut self, steps: usize) -> Result<()> {
        let mut left = steps;
        while left > 0 {
            left -= self.stretch(left)?;
        }
        Ok(())
    }

    /// Each lane's training loss and scores, measured so far in the current epoch, or in the last complete one if no other has
    /// begun.
    ///
    /// # Errors
    /// A lost device.
    pub fn metrics(&mut self) -> Result<Vec<Metrics>> {
        let rows = self.rows_met();
        self.train.metrics(self.optimizer.program_mut(), |_| rows)
    }

    /// Rows of the epoch at hand that were met, or of the last one where none has begun.
    fn rows_met(&self) -> usize {
        let met = if self.step == 0 { self.taken } else { self.step * self.micro * self.train.batch };
        self.taken.min(met)
    }

    /// Makes up to `count` steps of the epoch at hand that are alike; returns how many.
    fn stretch(&mut self, count: usize) -> Result<usize> {
        if self.streams {
            return Err(Error::order("an epoch", "the batches of this trainer come from a stream: Trainer::stream takes them"));
        }
        self.take_back()?;
        if self.step == 0 {
            self.begin()?;
        }
        let [common, end] = &self.sequences;
        let left = self.steps_per_epoch() - self.step;
        // The last step of an epoch may run other plans.
        let alike = if common == end { left } else { left - 1 };
        let (plans, count) = if alike > 0 { (common, count.min(alike)) } else { (end, count.min(1)) };
        let run = self.optimizer.run(plans, count);
        let made = match &run {
            Ok(()) => count,
            Err(Error::Partly { made, .. }) => *made as usize,
            Err(_) => 0,
        };
        self.count(made);
        run.map(|()| made)
    }

    /// Counts steps of the epoch at hand.
    fn count(&mut self, made: usize) {
        self.steps += made;
        self.step += made;
        if self.step == self.steps_per_epoch() {
            (self.epoch, self.step) = (self.epoch + 1, 0);
        }
    }

    /// Shuffles the rows for the current epoch.
    fn begin(&mut self) -> Result<()> {
        self.write_order()?;
        self.train.reset(self.optimizer.program_mut())
    }

    /// Writes the order of rows in the epoch at hand.
    fn write_order(&mut self) -> Result<()> {
        let (lanes, epoch) = (&self.lanes, self.epoch);
        let order = |lane: usize, places: &mut [u32]| lanes::put_order(lanes[lane].seed, epoch, &lanes[lane].train, places);
        self.train.write_order(self.optimizer.program_mut(), order)
    }

    /// Decides which plans a step runs.
    fn sequence_all(&mut self) {
        let (steps, batches) = (self.steps_per_epoch(), self.train.batches);
        let common = self.sequence(0..self.micro.min(batches));
        let end = self.sequence(steps.saturating_sub(1) * self.micro..batches);
        self.sequences = [common, end];
    }

    /// The plans of a step over these batches of an epoch.
    fn sequence(&self, batches: Range<usize>) -> Vec<PlanId> {
        let (stepper, mut plans) = (self.optimizer.stepper(), Vec::new());
        for (number, batch) in batches.enumerate() {
            let gradient = self.gradient_of(batch);
            plans.push(gradient.pick);
            plans.extend(gradient.moves);
            plans.extend(stepper.accumulate_plan_of(number));
            plans.extend(stepper.ascend_plan());
            plans.extend(gradient.again);
        }
        plans.push(stepper.step_plan());
        plans
    }

    /// The plans of a batch of an epoch, by its number.
    fn gradient_of(&self, batch: usize) -> Gradient {
        let whole = (batch + 1) * self.train.batch <= self.taken;
        self.plans.last.filter(|_| !whole).unwrap_or(self.plans.whole)
    }

    /// Each lane's loss and scores on its validation rows, with the parameters that the rule is to be evaluated with:
    /// [`Rule::eval`](crate::Rule::eval). Rows are evaluated in blocks of a fixed size, so that the outputs for a row do not
    /// depend on other rows.
    ///
    /// # Errors
    /// No validation data ([`TrainerBuilder::validation`]), or a lost device.
    pub fn evaluate(&mut self) -> Result<Vec<Metrics>> {
        self.refresh()?;
        let feed = Self::run_validation(&self.validation, self.plans.evaluate, &mut self.optimizer)?;
        feed.metrics(self.optimizer.program_mut(), |lane| self.lanes[lane].validation.len())
    }

    /// Measures on the validation rows; what feeds them has the sums then.
    fn run_validation<'a>(feed: &'a Option<Feed>, plan: Option<PlanId>, optimizer: &mut Optimizer<P>) -> Result<&'a Feed> {
        let (feed, plan) = Self::held(feed, plan)?;
        let program = optimizer.program_mut();
        feed.reset(program)?;
        program.run(plan, feed.batches)?;
        Ok(feed)
    }

    /// What feeds the validation rows, and the plan that measures a block of them.
    fn held(feed: &Option<Feed>, plan: Option<PlanId>) -> Result<(&Feed, PlanId)> {
        feed.as_ref().zip(plan).ok_or_else(|| Error::missing("an evaluation", "data", ".validation(&data)"))
    }

    /// The outputs of a lane's model for rows of features, row after row: logits if it classifies.
    ///
    /// # Errors
    /// Features that do not fill rows, a lane that does not exist, or a lost device.
    pub fn predict(&mut self, lane: usize, features: &[f32]) -> Result<Vec<P::Float>> {
        self.lane(lane)?;
        self.refresh()?;
        Ok(self.predictor.predict(&mut self.optimizer, &[lane], features)?.swap_remove(0))
    }

    /// [`Trainer::predict`] for all lanes.
    ///
    /// # Errors
    /// As for [`Trainer::predict`].
    pub fn predict_all(&mut self, features: &[f32]) -> Result<Vec<Vec<P::Float>>> {
        self.refresh()?;
        let lanes: Vec<usize> = (0..self.lanes.len()).collect();
        self.predictor.predict(&mut self.optimizer, &lanes, features)
    }

    /// The class of the first largest output of each row, for [`Confusion::of`] and the like. NaN is larger than all numbers.
    ///
    /// # Errors
    /// As for [`Trainer::predict`].
    pub fn predict_classes(&mut self, lane: usize, features: &[f32]) -> Result<Vec<u32>> {
        let logits = self.predict(lane, features)?;
        Ok(self.classes(&logits))
    }

    /// The class of the first largest output of each row.
    fn classes(&self, logits: &[P::Float]) -> Vec<u32> {
        let largest = |row: &[P::Float]| {
            let mut best = 0;
            for (class, logit) in row.iter().map(|logit| logit.as_f64()).enumerate().skip(1) {
                let held = row[best].as_f64();
                if logit > held || logit.is_nan() && !held.is_nan() {
                    best = class;
                }
            }
            best as u32
        };
        logits.chunks_exact(self.predictor.outputs.max(1)).map(largest).collect()
    }

    /// A parameter that all lanes share ([`SharedBase`](crate::nn::SharedBase)). It starts from the first lane's seed and never
    /// changes; it is no part of states and weights.
    ///
    /// # Errors
    /// A name that no shared parameter has, or those of the engine.
    pub fn shared(&mut self, name: &str) -> Result<Vec<P::Float>> {
        let (id, range) = self.shared_place(name)?;
        self.optimizer.program_mut().read_range(id, 0, range)
    }

    /// Sets a parameter that all lanes share, such as to the weights of a model that was trained before.
    ///
    /// # Errors
    /// As for [`Trainer::shared`], and [`Error::Shape`] for another number of elements.
    pub fn set_shared(&mut self, name: &str, values: &[P::Float]) -> Result<()> {
        let (id, range) = self.shared_place(name)?;
        if values.len() != range.len() {
            return Err(Error::shape(format!("shared parameter '{name}'"), format!("{} elements", range.len()), values.len()));
        }
        self.optimizer.program_mut().write(id, 0, range.start, values)
    }

    fn shared_place(&self, name: &str) -> Result<(BufferId, std::ops::Range<usize>)> {
        let Some((arena, id)) = &self.base else { return Err(Error::unknown("shared parameter", name, &[])) };
        let tensor = arena.tensor(name)?;
        Ok((*id, tensor.offset..tensor.offset + tensor.len()))
    }

    /// Computes the parameters to evaluate with, where they are not those at which gradients are taken.
    fn refresh(&mut self) -> Result<()> {
        let Some(evaluated) = self.evaluated.filter(|_| self.aside.is_none()) else { return Ok(()) };
        let all = self.optimizer.all_eval_params()?;
        let program = self.optimizer.program_mut();
        all.iter().enumerate().try_for_each(|(lane, params)| program.write(evaluated, lane, 0, params))
    }

    /// Gives lanes back the running statistics with which steps go on, where those of their best epoch are in the place.
    fn take_back(&mut self) -> Result<()> {
        let (id, program) = (self.statistics.id, self.optimizer.program_mut());
        let mut aside = self.aside.take().into_iter().flatten().enumerate();
        aside.try_for_each(|(lane, values)| program.write(id, lane, 0, &stopping::floats(&values)))
    }

    /// Changes a number among the settings of a lane's rule, from the next step on, as
    /// [`Optimizer::set`](crate::Optimizer::set) does.
    ///
    /// # Errors
    /// As [`Optimizer::set`](crate::Optimizer::set).
    ///
    /// # Examples
    ///
    /// A learning rate that falls when the loss no longer does:
    ///
    /// ```
    /// use thalweg::nn::{Nonlinearity, Sequential};
    /// use thalweg::schedule::ReduceLrOnPlateau;
    /// use thalweg::{AdamW, Recipe, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// // Every row comes with either label, so the loss cannot fall below ln 2.
    /// let data = Dataset::new(vec![0.0, 0.0, 1.0, 1.0], 1, vec![0, 1, 0, 1])?;
    /// let model = Sequential::perceptron(1, &[4], 2, Nonlinearity::Relu);
    /// let recipe = Recipe::new(AdamW { lr: 0.1, ..Default::default() });
    /// let trainer = Trainer::builder(&model, recipe).train(&data).validation(&data).batch(4);
    /// let mut trainer = trainer.build(&Cpu::<f32>::default())?;
    /// let mut plateau = ReduceLrOnPlateau { patience: 3, ..ReduceLrOnPlateau::new(0.1) }.start()?;
    /// for _ in 0..100 {
    ///     trainer.whole_epoch()?;
    ///     let lr = plateau.step(trainer.evaluate()?[0].loss);
    ///     trainer.set(0, "default", "lr", lr)?;
    /// }
    /// assert!(plateau.value() < 0.1);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn set(&mut self, lane: usize, group: &str, setting: &str, value: f64) -> Result<()> {
        self.optimizer.lane(lane)?.set(group, setting, value)
    }

    /// A lane's parameters, at which gradients are taken, laid out as the model's arena ([`Optimizer::arena`]).
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn params(&mut self, lane: usize) -> Result<Vec<P::Float>> {
        let params = self.optimizer.params_buffer();
        self.optimizer.program_mut().read(params, lane)
    }

    /// A lane's parameters to evaluate with, laid out as the model's arena ([`Optimizer::arena`]).
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn eval_params(&mut self, lane: usize) -> Result<Vec<P::Float>> {
        if let Some(evaluated) = self.evaluated.filter(|_| self.aside.is_some()) {
            return self.optimizer.program_mut().read(evaluated, lane);
        }
        self.optimizer.lane(lane)?.eval_arena()
    }

    /// A lane's counters, norm and clip coefficient after the last step.
    ///
    /// # Errors
    /// A lane that does not exist, or a lost device.
    pub fn report(&mut self, lane: usize) -> Result<Report> {
        self.optimizer.lane(lane)?.report()
    }
}

// The last, since documentation has what a type does in the order of the source: first the calls, then their twins.
#[cfg(feature = "gpu")]
mod asynchronous;
