//! Training a model on a data set, in two plans: the gradient of a batch, and the step along it.

mod batch;
mod blocks;
mod builder;
mod copies;
mod epochs;
mod evaluate;
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
mod shared;
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

use crate::error::{Error, Result};
use crate::optimizer::{Optimizer, Report};
use crate::plan::{Arena, BufferId, PlanId, Program};
use copies::Copies;
use feed::Feed;
use lanes::Lane;
use predict::Predictor;
use ranks::OnRanks;

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

    fn lane(&self, lane: usize) -> Result<&Lane> {
        let lanes = self.lanes.len();
        self.lanes.get(lane).ok_or_else(|| Error::setting("lane", lane, &format!("below {lanes}")))
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
