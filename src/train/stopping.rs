//! Early stopping, and the best epoch of a lane.

use super::metrics::{Metric, Metrics};
use crate::error::{Result, range};
use crate::rule::Real;

/// Ends [`Trainer::fit`](super::Trainer::fit) when a metric on the validation data no longer becomes better, lane by lane: what
/// happens to a lane after its own stop does not count, and training ends when all lanes have stopped.
///
/// # Examples
///
/// ```
/// use thalweg::nn::{Nonlinearity, Sequential};
/// use thalweg::train::{EarlyStopping, Metric};
/// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data::Dataset};
/// use std::ops::ControlFlow;
///
/// let x: Vec<f32> = (0..60).map(|i| i as f32 / 30.0 - 1.0).collect();
/// let data = Dataset::regression(x.clone(), 1, x.iter().map(|x| x.sin()).collect(), 1)?;
/// let model = Sequential::perceptron(1, &[8], 1, Nonlinearity::Tanh);
/// let stopping = EarlyStopping { metric: Metric::Mae, patience: 5, ..Default::default() };
/// let trainer = Trainer::builder(&model, Recipe::new(Adam { lr: 0.03, ..Default::default() }));
/// let trainer = trainer.train(&data).validation(&data).early_stopping(stopping);
/// let mut trainer = trainer.build(&Cpu::<f32>::default())?;
/// let mut best = f64::INFINITY;
/// trainer.fit(300, |_, epoch| {
///     best = best.min(epoch.validation[0].mae.unwrap());
///     Ok(ControlFlow::Continue(()))
/// })?;
/// assert_eq!(trainer.evaluate()?[0].mae, Some(best));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EarlyStopping {
    /// The metric that has to become better. Default: the loss.
    pub metric: Metric,
    /// A lane stops after so many epochs in a row that were no better than its best, at least 1. Default 10.
    pub patience: u64,
    /// A metric is better if it beats the best by more than this, which is finite and at least 0. Default 0.
    pub min_delta: f64,
    /// Whether the lanes get back their best parameters and running statistics in the end. Default: yes. With a rule that
    /// evaluates other parameters than it trains ([`ScheduleFree`](crate::ScheduleFree)), the best is evaluated, and further
    /// steps go on from where they ended.
    pub keep_best: bool,
}

impl Default for EarlyStopping {
    fn default() -> Self {
        Self { metric: Metric::Loss, patience: 10, min_delta: 0.0, keep_best: true }
    }
}

impl EarlyStopping {
    pub(super) fn check(&self) -> Result<()> {
        range::require(self.patience >= 1, "patience", self.patience, "at least 1")?;
        range::not_negative("min_delta", self.min_delta)
    }
}

/// Floats of an engine in double precision, where each is exact.
pub(super) fn doubles<F: Real>(values: &[F]) -> Vec<f64> {
    values.iter().map(|x| x.as_f64()).collect()
}

/// The reverse of [`doubles`].
pub(super) fn floats<F: Real>(values: &[f64]) -> Vec<F> {
    values.iter().map(|&x| F::of(x)).collect()
}

/// The best epoch of a lane on the validation data.
#[derive(Debug, Clone, PartialEq)]
pub struct Best {
    /// The epoch, counted from 1; 0 before there was a finite metric.
    pub epoch: u64,
    /// The metric after it; 0 before there was one.
    pub metric: f64,
    /// Epochs since then.
    pub waited: u64,
    /// Whether the lane has stopped.
    pub stopped: bool,
    /// The parameters to evaluate with, laid out as the arena; any float is exact in `f64`.
    pub(super) params: Vec<f64>,
    /// The untrained buffers, laid out as they are.
    pub(super) buffers: Vec<f64>,
}

impl Best {
    pub(super) fn new(params: usize, buffers: usize) -> Self {
        let (params, buffers) = (vec![0.0; params], vec![0.0; buffers]);
        Self { epoch: 0, metric: 0.0, waited: 0, stopped: false, params, buffers }
    }

    /// Takes the metrics after an epoch, and says whether they are the best so far. A metric that is not finite is worse than
    /// all others.
    pub(super) fn observe(&mut self, settings: &EarlyStopping, epoch: u64, metrics: &Metrics) -> Result<bool> {
        if self.stopped {
            return Ok(false);
        }
        let metric = settings.metric.of(metrics)?;
        let gain = if settings.metric.is_gain() { metric - self.metric } else { self.metric - metric };
        if metric.is_finite() && (self.epoch == 0 || gain > settings.min_delta) {
            (self.epoch, self.metric, self.waited) = (epoch, metric, 0);
            return Ok(true);
        }
        self.waited += 1;
        self.stopped = self.waited >= settings.patience;
        Ok(false)
    }
}
