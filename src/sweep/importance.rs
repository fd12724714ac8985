//! Which parameters matter: functional analysis of variance over a forest.

use super::random::keyed;
use super::space::{Parameter, SearchSpace};
use super::study::{Goal, Outcome, Trial};
use crate::error::{Result, range};

/// Trees of the forest.
const TREES: u64 = 64;
/// The fewest trials of a leaf.
const LEAF: usize = 2;

/// How much of the variance of the metric each parameter explains by itself: functional analysis of variance (fANOVA; Hutter,
/// Hoos & Leyton-Brown 2014).
///
/// A forest of 64 regression trees is grown on the trials that were trained to the end, each on a sample with replacement and
/// with leaves of at least 2 trials. A tree is constant in boxes of the space, so its variance over the whole space, and that
/// of its mean over all other parameters, are sums. The importance of a parameter is its share of the variance, averaged over
/// the trees: it is 0 for one that changes nothing. What the sum of all lacks to 1 is due to parameters that act together.
///
/// Values enter as their shares of the domain, so that logarithmic parameters are compared in their logarithm. A parameter that
/// does not exist in a trial gets a random value there, which explains nothing. Importances are in the order of the space's
/// parameters; all are 0 where the metrics of all trials are the same.
///
/// # Errors
///
/// [`Error::Setting`](crate::Error::Setting) for fewer than 4 trials that were trained to the end.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Goal, Random, Study, importance};
///
/// let mut study = Study::new("lr=log:1e-4:1; batch=choice:32,64".parse()?, Goal::Minimize, Random::default());
/// for trial in study.ask(64)? {
///     study.tell(trial.id, trial.point.get("lr").and_then(|lr| lr.as_f64()).unwrap().ln().abs())?;
/// }
/// let found = importance(study.space(), study.goal(), study.trials(), 0)?;
/// assert!(found[0] > 0.9 && found[1] < 0.05);
/// # Ok::<(), thalweg::Error>(())
/// ```
pub fn importance(space: &SearchSpace, goal: Goal, trials: &[Trial], seed: u64) -> Result<Vec<f64>> {
    let (mut shares, mut costs) = (Vec::new(), Vec::new());
    for trial in trials {
        if let Outcome::Complete(metric) = trial.outcome {
            let share = |(i, parameter): (usize, &Parameter)| match trial.point.get(&parameter.name) {
                Some(value) => parameter.domain.share(value),
                None => keyed(seed, &[trial.id, i as u64, u64::MAX]).f64(),
            };
            shares.push(space.parameters().iter().enumerate().map(share).collect::<Vec<f64>>());
            costs.push(goal.cost(metric));
        }
    }
    range::require(costs.len() >= 4, "trials that were trained to the end", costs.len(), "at least 4")?;
    let data = Data { shares: &shares, costs: &costs };
    let dimensions = space.parameters().len();
    let mut importances = vec![0.0; dimensions];
    for tree in 0..TREES {
        let mut random = keyed(seed, &[tree]);
        let sample: Vec<usize> = costs.iter().map(|_| random.usize(..costs.len())).collect();
        let mut leaves = Vec::new();
        data.grow(&sample, vec![(0.0, 1.0); dimensions], &mut leaves);
        add_variances(&leaves, &mut importances);
    }
    Ok(importances.into_iter().map(|sum| sum / TREES as f64).collect())
}

struct Data<'a> {
    /// By trial, then by parameter.
    shares: &'a [Vec<f64>],
    costs: &'a [f64],
}

/// A box of the space, with an interval of each parameter, where a tree is constant.
struct Leaf {
    bounds: Vec<(f64, f64)>,
    value: f64,
}

impl Data<'_> {
    /// The leaves of a tree over these trials.
    fn grow(&self, rows: &[usize], bounds: Vec<(f64, f64)>, leaves: &mut Vec<Leaf>) {
        let Some((dimension, at)) = self.cut(rows, &bounds) else {
            let value = rows.iter().map(|&row| self.costs[row]).sum::<f64>() / rows.len() as f64;
            leaves.push(Leaf { bounds, value });
            return;
        };
        let (left, right): (Vec<usize>, Vec<usize>) = rows.iter().partition(|&&row| self.shares[row][dimension] <= at);
        let (from, to) = bounds[dimension];
        for (rows, interval) in [(left, (from, at)), (right, (at, to))] {
            let mut bounds = bounds.clone();
            bounds[dimension] = interval;
            self.grow(&rows, bounds, leaves);
        }
    }

    /// The cut that leaves the least squared error: a parameter and a place between two trials. `None` where no cut makes it
    /// less.
    fn cut(&self, rows: &[usize], bounds: &[(f64, f64)]) -> Option<(usize, f64)> {
        let sum: f64 = rows.iter().map(|&row| self.costs[row]).sum();
        // The squared error falls by as much as this gain rises.
        let whole = sum * sum / rows.len() as f64;
        let mut best: Option<(f64, usize, f64)> = None;
        for dimension in 0..bounds.len() {
            let mut order = rows.to_vec();
            order.sort_by(|&a, &b| self.shares[a][dimension].total_cmp(&self.shares[b][dimension]));
            let mut left = 0.0;
            for (i, pair) in order.windows(2).enumerate() {
                left += self.costs[pair[0]];
                let (here, next) = (self.shares[pair[0]][dimension], self.shares[pair[1]][dimension]);
                let (n, m) = (i + 1, order.len() - i - 1);
                if here == next || n < LEAF || m < LEAF {
                    continue;
                }
                let gain = left * left / n as f64 + (sum - left) * (sum - left) / m as f64;
                let better = best.is_none_or(|(most, ..)| gain > most);
                if better && gain > whole + 1e-12 * whole.abs().max(f64::MIN_POSITIVE) {
                    best = Some((gain, dimension, 0.5 * (here + next)));
                }
            }
        }
        best.map(|(_, dimension, at)| (dimension, at))
    }
}

/// Adds the share of a tree's variance that each parameter explains.
fn add_variances(leaves: &[Leaf], importances: &mut [f64]) {
    let length = |(from, to): (f64, f64)| to - from;
    let volume = |leaf: &Leaf| leaf.bounds.iter().map(|&bounds| length(bounds)).product::<f64>();
    let mean: f64 = leaves.iter().map(|leaf| volume(leaf) * leaf.value).sum();
    let total: f64 = leaves.iter().map(|leaf| volume(leaf) * (leaf.value - mean).powi(2)).sum();
    if !(total > 0.0) {
        return;
    }
    for (dimension, importance) in importances.iter_mut().enumerate() {
        let mut places: Vec<f64> =
            leaves.iter().flat_map(|leaf| [leaf.bounds[dimension].0, leaf.bounds[dimension].1]).collect();
        places.sort_by(f64::total_cmp);
        places.dedup();
        let variance: f64 = places
            .windows(2)
            .map(|place| {
                // The tree's mean over all other parameters, at this interval.
                let here =
                    leaves.iter().filter(|leaf| leaf.bounds[dimension].0 <= place[0] && place[1] <= leaf.bounds[dimension].1);
                let marginal: f64 = here.map(|leaf| volume(leaf) / length(leaf.bounds[dimension]) * (leaf.value - mean)).sum();
                (place[1] - place[0]) * marginal * marginal
            })
            .sum();
        *importance += variance / total;
    }
}
