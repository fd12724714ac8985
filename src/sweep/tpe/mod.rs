//! The tree-structured Parzen estimator.

mod mixture;
mod normal;

pub use mixture::{Kernels, Mixture};

use super::domain::Domain;
use super::point::{Coordinate, Point};
use super::random::{Random, keyed};
use super::space::{Parameter, SearchSpace};
use super::study::{History, Outcome, Sampler, Trial};
use crate::error::{Result, range};

/// The most trials that count as good.
const MOST_GOOD: usize = 25;

/// How many of n finished trials count as good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Gamma {
    /// ⌈n / 10⌉, at most 25, as in Optuna.
    #[default]
    Tenth,
    /// ⌈√n / 4⌉, at most 25, as in hyperopt.
    Root,
}

/// The tree-structured Parzen estimator (Bergstra, Bardenet, Bengio & Kégl 2011) as Optuna 5.0 has it.
///
/// Of n finished trials γ(n) count as good. A [`Mixture`] of kernels around the good ones has the density l, one around the
/// others g. Of [`candidates`](Self::candidates) points drawn from l, the one with the largest l / g is tried.
///
/// All parameters that every finished trial had are searched jointly (`multivariate`). The others, which have a condition, are
/// searched one by one, each from the trials that had it, or, with [`group`](Self::group), jointly with those that the same
/// trials had. Trials that run count among the bad ones (`constant_liar`), so that a batch that is asked at once spreads out.
/// Trials that were stopped early are good only if too few were trained to the end: first those with the most steps, then those
/// with the better metric.
///
/// Kernels, weights and densities are Optuna's. Two things differ. The random numbers are our own, keyed by seed and
/// suggestion. And failed trials, which Optuna forgets, count as bad ones, whose neighbourhood is avoided; they are never good.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Goal, Study, Tpe};
///
/// let mut study = Study::new("x=uniform:-5:5; y=log:1e-3:1e3".parse()?, Goal::Minimize, Tpe::default());
/// for _ in 0..60 {
///     let trial = study.ask(1)?.remove(0);
///     let value = |name: &str| trial.point.get(name).and_then(|value| value.as_f64()).unwrap();
///     study.tell(trial.id, (value("x") - 2.0).powi(2) + value("y").ln().powi(2))?;
/// }
/// assert!(study.best().is_some_and(|best| (best.point.get("x").unwrap().as_f64().unwrap() - 2.0).abs() < 0.5));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Tpe {
    /// Points are drawn at random until this many trials have finished; 10 by default.
    pub startup: usize,
    /// Points that are drawn from the good mixture, at least 1; 24 by default.
    pub candidates: usize,
    /// How many trials count as good.
    pub gamma: Gamma,
    /// Whether running trials count as bad ones; true by default.
    pub constant_liar: bool,
    /// Whether parameters with a condition are searched jointly too: those together of which each trial had all or none. False
    /// by default. See [`Tpe::parts`].
    pub group: bool,
    /// The seed; 0 by default.
    pub seed: u64,
}

impl Default for Tpe {
    fn default() -> Self {
        Self { startup: 10, candidates: 24, gamma: Gamma::Tenth, constant_liar: true, group: false, seed: 0 }
    }
}

impl Tpe {
    /// The settings of hyperopt: 20 trials at random, and fewer good ones.
    pub fn hyperopt() -> Self {
        Self { startup: 20, gamma: Gamma::Root, ..Self::default() }
    }

    /// The mixtures of good and of other trials over parameters of those names.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`](crate::Error::Unknown) for a name that is not in the space.
    pub fn mixtures(&self, space: &SearchSpace, history: &History<'_>, names: &[&str]) -> Result<[Mixture; 2]> {
        let parameters: Vec<&Parameter> = names.iter().map(|name| space.parameter(name)).collect::<Result<_>>()?;
        Ok(self.estimate(history, &parameters))
    }

    /// The parts of the space that are searched jointly: parameters with more than one value, of which each finished trial had
    /// all or none where [`group`](Self::group) is set, or else those that every finished trial had. Others are searched one by
    /// one.
    pub fn parts<'a>(&self, space: &'a SearchSpace, history: &History<'_>) -> Vec<Vec<&'a Parameter>> {
        let finished: Vec<&Trial> = history.trials.iter().filter(|trial| trial.outcome != Outcome::Running).collect();
        let had = |trial: &Trial, parameter: &Parameter| trial.point.get(&parameter.name).is_some();
        let free: Vec<&Parameter> = space.parameters().iter().filter(|parameter| parameter.domain.count() != Some(1)).collect();
        if !self.group {
            let shared = free.into_iter().filter(|parameter| finished.iter().all(|trial| had(trial, parameter))).collect();
            return vec![shared];
        }
        // Which trials had a parameter; those of the same trials are one part.
        let mut parts: Vec<(Vec<bool>, Vec<&Parameter>)> = Vec::new();
        for parameter in free {
            let trials: Vec<bool> = finished.iter().map(|trial| had(trial, parameter)).collect();
            match parts.iter_mut().find(|(own, _)| *own == trials) {
                Some((_, part)) => part.push(parameter),
                None => parts.push((trials, vec![parameter])),
            }
        }
        parts.into_iter().filter(|(trials, _)| trials.contains(&true)).map(|(_, part)| part).collect()
    }

    fn estimate(&self, history: &History<'_>, parameters: &[&Parameter]) -> [Mixture; 2] {
        let domains: Vec<Domain> = parameters.iter().map(|parameter| parameter.domain.clone()).collect();
        self.split(history).map(|trials| {
            let values =
                |trial: &&Trial| parameters.iter().map(|parameter| trial.point.get(&parameter.name).cloned()).collect();
            let observations: Vec<Vec<Coordinate>> = trials.iter().filter_map(values).collect();
            Mixture::new(&domains, &observations)
        })
    }

    /// Good trials and others, each in their order.
    fn split<'a>(&self, history: &History<'a>) -> [Vec<&'a Trial>; 2] {
        let counted = |trial: &&Trial| self.constant_liar || trial.outcome != Outcome::Running;
        let trials: Vec<&Trial> = history.trials.iter().filter(counted).collect();
        let finished = trials.iter().filter(|trial| trial.outcome != Outcome::Running).count();
        let good = match self.gamma {
            Gamma::Tenth => finished.div_ceil(10),
            Gamma::Root => (0.25 * (finished as f64).sqrt()).ceil() as usize,
        };
        // Complete trials by their cost; then stopped ones, those that went farthest first. Failed and running trials are never
        // good.
        let mut ranked: Vec<(u64, f64, usize)> = Vec::new();
        for (i, trial) in trials.iter().enumerate() {
            match trial.outcome {
                Outcome::Complete(metric) => ranked.push((0, history.goal.cost(metric), i)),
                Outcome::Stopped { step, metric } => ranked.push((u64::MAX - step, history.goal.cost(metric), i)),
                Outcome::Failed | Outcome::Running => {}
            }
        }
        ranked.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2)));
        let mut is_good = vec![false; trials.len()];
        ranked.iter().take(good.min(MOST_GOOD)).for_each(|&(_, _, i)| is_good[i] = true);
        [true, false]
            .map(|wanted| trials.iter().zip(&is_good).filter(|(_, good)| **good == wanted).map(|(trial, _)| *trial).collect())
    }

    /// Values of these parameters: the candidate from the good mixture with the largest ratio of the two densities.
    fn best_candidate(&self, history: &History<'_>, parameters: &[&Parameter], random: &mut fastrand::Rng) -> Vec<Coordinate> {
        let [good, other] = self.estimate(history, parameters);
        let mut best: Option<(f64, Vec<Coordinate>)> = None;
        for _ in 0..self.candidates {
            let values = good.sample(random);
            let gain = good.log_density(&values) - other.log_density(&values);
            if best.as_ref().is_none_or(|(most, _)| gain > *most) {
                best = Some((gain, values));
            }
        }
        best.map_or_else(Vec::new, |(_, values)| values)
    }
}

impl Sampler for Tpe {
    fn suggest(&mut self, space: &SearchSpace, history: &History<'_>, number: u64) -> Result<Option<Point>> {
        range::require(self.candidates > 0, "candidates", self.candidates, "at least 1")?;
        let finished = history.trials.iter().filter(|trial| trial.outcome != Outcome::Running).count();
        if finished < self.startup {
            return Ok(Some(Random { seed: self.seed }.point(space, number)));
        }
        let parts = self.parts(space, history);
        // A key of its own, since `Random` uses the same seed.
        let mut random = keyed(self.seed, &[number, u64::MAX]);
        let mut found: Vec<(&str, Coordinate)> = Vec::new();
        for part in parts.iter().filter(|part| !part.is_empty()) {
            let values = self.best_candidate(history, part, &mut random);
            found.extend(part.iter().map(|parameter| &*parameter.name).zip(values));
        }
        Ok(Some(space.point(|_, parameter| match found.iter().find(|(name, _)| *name == parameter.name) {
            Some((_, value)) => value.clone(),
            None if parameter.domain.count() == Some(1) => parameter.domain.at(0.0),
            None => self.best_candidate(history, &[parameter], &mut random).remove(0),
        })))
    }
}
