//! When to stop a trial: by the median of other trials, by its folds, or by its own curve.

use super::signed_rank::signed_rank;
use super::study::Goal;
use crate::error::{Result, range};

/// The metric of a trial at a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// The trial.
    pub trial: u64,
    /// Steps that it had made.
    pub step: u64,
    /// Its metric.
    pub metric: f64,
}

/// Stops a trial whose best metric is worse than the median of the running means of others (Vizier's rule, Golovin et al. 2017,
/// as Ray Tune has it).
///
/// At step t, other trials count if they have been scored at t or later. The running mean of each is over its scores from
/// `grace` to t. The trial stops if its best score so far is worse than their median. Running trials count like finished ones,
/// so that the rule works for trials that are trained in lock-step.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Goal, MedianStopping, Score};
///
/// let scores: Vec<Score> = [0.5, 0.6, 0.7, 0.9].iter().zip(0..).map(|(&metric, trial)| Score { trial, step: 10, metric }).collect();
/// let rule = MedianStopping::default();
/// assert!(rule.stops(Goal::Minimize, &scores, 3, 10));
/// assert!(!rule.stops(Goal::Minimize, &scores, 0, 10));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct MedianStopping {
    /// No trial is stopped before this step, and scores before it do not count; 1 by default.
    pub grace: u64,
    /// No trial is stopped while fewer others than this count; 3 by default.
    pub min_trials: usize,
}

impl Default for MedianStopping {
    fn default() -> Self {
        Self { grace: 1, min_trials: 3 }
    }
}

impl MedianStopping {
    /// Whether the trial stops at this step. It always stops if its newest metric is not finite.
    pub fn stops(&self, goal: Goal, scores: &[Score], trial: u64, step: u64) -> bool {
        let own = || scores.iter().filter(|score| score.trial == trial && score.step <= step);
        if own().max_by_key(|score| score.step).is_some_and(|score| !score.metric.is_finite()) {
            return true;
        }
        if step < self.grace {
            return false;
        }
        let mut others: Vec<u64> =
            scores.iter().filter(|score| score.trial != trial && score.step >= step).map(|score| score.trial).collect();
        others.sort_unstable();
        others.dedup();
        let mean = |other: &u64| {
            let counted = scores.iter().filter(|score| score.trial == *other && (self.grace..=step).contains(&score.step));
            let costs: Vec<f64> = counted.map(|score| goal.cost(score.metric)).collect();
            (!costs.is_empty()).then(|| costs.iter().sum::<f64>() / costs.len() as f64)
        };
        let means: Vec<f64> = others.iter().filter_map(mean).collect();
        if means.is_empty() || means.len() < self.min_trials {
            return false;
        }
        let best = own().map(|score| goal.cost(score.metric)).fold(f64::INFINITY, f64::min);
        best > median(means)
    }
}

/// The middle value, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    0.5 * (values[(n - 1) / 2] + values[n / 2])
}

/// Stops a trial between two of its folds if the best trial is better by Wilcoxon's signed-rank test, as Optuna 5's
/// `WilcoxonPruner` does.
///
/// [`signed_rank`] tests the differences to the best trial's metrics on the same folds. A trial whose mean is not worse than
/// the best trial's goes on whatever the test says.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{FoldStopping, Goal};
///
/// let best = [(0, 0.91), (1, 0.93), (2, 0.90), (3, 0.94), (4, 0.92)];
/// let rule = FoldStopping::default();
/// assert!(rule.stops(Goal::Maximize, &[(0, 0.81), (1, 0.85), (2, 0.79), (3, 0.88)], &best));
/// assert!(!rule.stops(Goal::Maximize, &[(0, 0.81), (1, 0.85)], &best));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct FoldStopping {
    /// Stops a trial if the test gives less than this probability, from 0 to 1; 0.1 by default.
    pub p: f64,
    /// No trial is stopped before it has this many folds in common with the best one; 2 by default, and fewer mean 2.
    pub min_folds: usize,
}

impl Default for FoldStopping {
    fn default() -> Self {
        Self { p: 0.1, min_folds: 2 }
    }
}

impl FoldStopping {
    /// Whether the settings are in their ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) for a `p` that is not from 0 to 1.
    pub fn check(&self) -> Result<()> {
        range::require((0.0..=1.0).contains(&self.p), "p", self.p, "from 0 to 1")
    }

    /// Whether a trial with these pairs of fold and metric stops; `best` has those of the best trial. It always stops if a
    /// metric is not finite.
    pub fn stops(&self, goal: Goal, own: &[(usize, f64)], best: &[(usize, f64)]) -> bool {
        if own.iter().any(|(_, metric)| !metric.is_finite()) {
            return true;
        }
        if own.is_empty() || best.is_empty() || best.iter().any(|(_, metric)| !metric.is_finite()) {
            return false;
        }
        let other = |fold: usize| best.iter().find(|(other, _)| *other == fold).map(|(_, metric)| *metric);
        let difference = |&(fold, metric): &(usize, f64)| other(fold).map(|best| goal.cost(metric) - goal.cost(best));
        let differences: Vec<f64> = own.iter().filter_map(difference).collect();
        let mean =
            |metrics: &[(usize, f64)]| metrics.iter().map(|(_, metric)| goal.cost(*metric)).sum::<f64>() / metrics.len() as f64;
        let worse = mean(own) > mean(best);
        differences.len() >= self.min_folds.max(2) && worse && signed_rank(&differences) < self.p
    }
}

/// Stops a trial whose metric has not improved for some time.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Goal, Patience};
///
/// let rule = Patience { patience: 2, min_delta: 0.01 };
/// assert!(!rule.stops(Goal::Minimize, &[1.0, 0.8, 0.795]));
/// assert!(rule.stops(Goal::Minimize, &[1.0, 0.8, 0.795, 0.792]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Patience {
    /// How many scores in a row may be no better than the best before them; 10 by default. With 0 the first such score stops
    /// the trial.
    pub patience: usize,
    /// A score is better if it beats the best before it by more than this, which is finite and at least 0; 0 by default.
    pub min_delta: f64,
}

impl Default for Patience {
    fn default() -> Self {
        Self { patience: 10, min_delta: 0.0 }
    }
}

impl Patience {
    /// Whether the settings are in their ranges.
    ///
    /// # Errors
    ///
    /// [`Error::Setting`](crate::Error::Setting) for a `min_delta` that is not finite or below 0.
    pub fn check(&self) -> Result<()> {
        let holds = self.min_delta.is_finite() && self.min_delta >= 0.0;
        range::require(holds, "min_delta", self.min_delta, "finite and at least 0")
    }

    /// Whether a trial with this curve of metrics stops. It always stops if the newest metric is not finite.
    ///
    /// A score is better if it beats the best before it by more than `min_delta`.
    pub fn stops(&self, goal: Goal, curve: &[f64]) -> bool {
        let (mut best, mut since) = (f64::INFINITY, 0);
        for &metric in curve {
            let cost = goal.cost(metric);
            if cost < best - self.min_delta || (best == f64::INFINITY && cost < best) {
                (best, since) = (cost, 0);
            } else {
                since += 1;
            }
        }
        let failed = curve.last().is_some_and(|metric| !metric.is_finite());
        failed || since > 0 && since >= self.patience.max(1)
    }
}
