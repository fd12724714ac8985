//! A sweep: its settings, and what trains its jobs.

use super::halving::{Halving, Hyperband};
use super::point::Point;
use super::population::PopulationBased;
use super::stopping::{FoldStopping, MedianStopping, Patience};
use super::study::Study;
use crate::error::{Error, Result, range};

/// One training that a sweep wants: a trial on a fold, from a seed.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The trial.
    pub trial: u64,
    /// The fold to validate on, if the sweep has folds.
    pub fold: Option<u64>,
    /// The seed to start from, if the sweep has seeds.
    pub seed: Option<u64>,
    /// The values of its parameters. A population changes them between calls.
    pub point: Point,
}

/// What trains the jobs of a sweep: one after the other, or as lanes of a population.
///
/// A closure that takes jobs and steps implements it.
pub trait Train {
    /// Trains each job on until it has made `steps` steps in all, and returns the metric of each.
    ///
    /// A job of an earlier call, with the same trial, fold and seed, goes on where it was; different jobs may be at different
    /// steps. One that the trainer does not know starts from the beginning, also where a sweep is resumed. The result of a job
    /// must not depend on the other jobs of the call.
    ///
    /// # Errors
    ///
    /// An error ends the sweep. For a job that went wrong by itself, return a metric that is not finite instead.
    fn train(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>>;

    /// The most jobs of a call, at least 1: as many as there is memory for. If there are more, they are trained in waves, which
    /// changes no result.
    fn capacity(&self) -> usize {
        usize::MAX
    }

    /// All jobs of trial `to` take over the parameters and the state of those of trial `from`, fold by fold and seed by seed.
    ///
    /// # Errors
    ///
    /// By default, that this trainer cannot copy. Only population-based training copies.
    fn copy(&mut self, from: u64, to: u64) -> Result<()> {
        Err(Error::setting(
            "strategy",
            "population",
            &format!("one without copies of lanes ({from} → {to}): this trainer has none"),
        ))
    }

    /// These trials are not trained any further, so what is kept for them may be dropped.
    fn forget(&mut self, trials: &[u64]) {
        let _ = trials;
    }
}

impl<F: FnMut(&[Job], u64) -> Result<Vec<f64>>> Train for F {
    fn train(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>> {
        self(jobs, steps)
    }
}

/// As [`Train`], for programs that must not wait for the device, as those in a browser: what waits there is awaited.
#[expect(async_fn_in_trait, reason = "a browser has one thread, so futures need not be sent to others")]
pub trait TrainAsync {
    /// [`Train::train`].
    ///
    /// # Errors
    /// As there.
    async fn train_async(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>>;

    /// [`Train::capacity`].
    fn capacity(&self) -> usize;

    /// [`Train::copy`].
    ///
    /// # Errors
    /// As there.
    async fn copy_async(&mut self, from: u64, to: u64) -> Result<()>;

    /// [`Train::forget`].
    fn forget(&mut self, trials: &[u64]);
}

/// Which trials are stopped early.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Stopping {
    /// Those that are worse than the median of others.
    Median(MedianStopping),
    /// Those that have not improved for some time.
    Patience(Patience),
}

/// How a sweep spends its steps.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Strategy {
    /// Every trial is trained to the end.
    Plain {
        /// Steps of a trial.
        steps: u64,
    },
    /// Trials are scored at regular steps, and some are stopped.
    Stopping {
        /// Steps of a trial that is not stopped.
        steps: u64,
        /// Steps between scores, at least 1.
        every: u64,
        /// Which are stopped.
        rule: Stopping,
    },
    /// Folds are trained one after the other, and after each fold those trials are stopped that are clearly worse than the
    /// best.
    ///
    /// The best is the best of the trials that have all their folds. Before there is one, it is the trial of the batch with the
    /// best mean so far.
    Folds {
        /// Steps of a trial on each fold.
        steps: u64,
        /// Which are stopped.
        rule: FoldStopping,
    },
    /// One bracket of successive halving.
    Halving(Halving),
    /// All brackets of Hyperband side by side.
    Hyperband(Hyperband),
    /// Population-based training: all trials are members.
    Population {
        /// Steps of each member.
        steps: u64,
        /// Steps between rounds, at least 1.
        every: u64,
        /// Which members take over which.
        rule: PopulationBased,
    },
}

/// A sweep over the trials of a [`Study`].
///
/// # Examples
///
/// Successive halving over learning rates on the loss x², whose gradient is 2 x:
///
/// ```
/// use std::collections::HashMap;
/// use thalweg::sweep::{Goal, Halving, Job, Random, SearchSpace, Status, Strategy, Study, Sweep, Table};
///
/// let space: SearchSpace = "lr=log:1e-3:10".parse()?;
/// let mut study = Study::new(space.clone(), Goal::Minimize, Random { seed: 1 });
/// let mut table = Table::new(space, Goal::Minimize);
/// let mut models: HashMap<u64, (f64, u64)> = HashMap::new();
/// let mut train = |jobs: &[Job], steps: u64| {
///     let loss = |job: &Job| {
///         let lr = job.point.get("lr").and_then(|lr| lr.as_f64()).unwrap();
///         let (x, made) = models.entry(job.trial).or_insert((1.0, 0));
///         (*made..steps).for_each(|_| *x -= lr * 2.0 * *x);
///         *made = steps;
///         *x * *x
///     };
///     Ok(jobs.iter().map(loss).collect())
/// };
/// let sweep = Sweep { trials: 27, ..Sweep::new(Strategy::Halving(Halving { min_steps: 3, max_steps: 81, eta: 3 })) };
/// sweep.run(&mut study, &mut table, &mut train, |_| Ok(()))?;
/// let complete = table.summaries().iter().filter(|summary| summary.status == Status::Complete).count();
/// assert_eq!((table.summaries().len(), complete), (27, 1));
/// assert!(table.best().unwrap().mean < 1e-9);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Sweep {
    /// How steps are spent.
    pub strategy: Strategy,
    /// Trials in all, at least 1; 64 unless set.
    #[cfg_attr(feature = "serde", serde(default = "trials"))]
    pub trials: usize,
    /// How many trials the sampler is asked for at a time, before it knows their results; at least 1, 32 by default. Halving,
    /// Hyperband and populations ask for all at once.
    #[cfg_attr(feature = "serde", serde(default = "batch"))]
    pub batch: usize,
    /// Each trial is trained once for every fold; 0, for no folds, unless set.
    #[cfg_attr(feature = "serde", serde(default))]
    pub folds: u64,
    /// Each trial is trained once from every seed; once, if there are no seeds, which is the default.
    #[cfg_attr(feature = "serde", serde(default))]
    pub seeds: Vec<u64>,
}

/// Trials of a sweep unless set.
fn trials() -> usize {
    64
}

/// Trials that are asked for at a time unless set.
fn batch() -> usize {
    32
}

/// A fold and a seed.
pub(super) type Place = (Option<u64>, Option<u64>);

impl Sweep {
    /// A sweep with 64 trials in batches of 32, without folds and seeds.
    pub fn new(strategy: Strategy) -> Self {
        Self { strategy, trials: trials(), batch: batch(), folds: 0, seeds: Vec::new() }
    }

    /// Checks the settings against each other and against the space of the study.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for settings out of their ranges, [`Error::Duplicate`] for a seed that is given twice, and those of
    /// the strategy.
    pub fn check(&self, study: &Study) -> Result<()> {
        range::require(self.trials > 0, "trials", self.trials, "at least 1")?;
        range::require(self.batch > 0, "batch", self.batch, "at least 1")?;
        for (i, seed) in self.seeds.iter().enumerate() {
            if self.seeds[..i].contains(seed) {
                return Err(Error::Duplicate { kind: "seed".into(), name: seed.to_string() });
            }
        }
        let spaced = |steps: u64, every: u64| {
            range::require(every > 0, "every", every, "at least 1")?;
            range::require(
                steps > 0 && steps.is_multiple_of(every),
                "steps",
                steps,
                &format!("a multiple of every = {every}, above 0"),
            )
        };
        match &self.strategy {
            Strategy::Plain { steps } => range::require(*steps > 0, "steps", steps, "at least 1"),
            Strategy::Stopping { steps, every, rule } => {
                spaced(*steps, *every)?;
                if let Stopping::Patience(patience) = rule { patience.check() } else { Ok(()) }
            }
            Strategy::Folds { steps, rule } => {
                range::require(*steps > 0, "steps", steps, "at least 1")?;
                range::require(self.folds >= 2, "folds", self.folds, "at least 2, as they are compared")?;
                rule.check()
            }
            Strategy::Halving(halving) => halving.bracket(self.trials).map(|_| ()),
            Strategy::Hyperband(hyperband) => hyperband.brackets_of(self.trials).map(|_| ()),
            Strategy::Population { steps, every, rule } => spaced(*steps, *every).and_then(|()| rule.check(study.space())),
        }
    }

    /// Folds and seeds of a trial.
    pub(super) fn places(&self) -> Vec<Place> {
        let folds = if self.folds == 0 { vec![None] } else { (0..self.folds).map(Some).collect() };
        folds.into_iter().flat_map(|fold| self.places_of(fold)).collect()
    }

    /// The seeds of a fold.
    pub(super) fn places_of(&self, fold: Option<u64>) -> Vec<Place> {
        let seeds = self.seeds.iter().map(|&seed| (fold, Some(seed)));
        if self.seeds.is_empty() { vec![(fold, None)] } else { seeds.collect() }
    }
}
