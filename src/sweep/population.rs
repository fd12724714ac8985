//! Population-based training: losers take over a winner and its settings, changed a little.

use super::domain::Domain;
use super::point::{Coordinate, Point};
use super::random::keyed;
use super::space::SearchSpace;
use super::study::Goal;
use crate::error::{Error, Result, range};

/// A lane that takes over another one.
#[derive(Debug, Clone, PartialEq)]
pub struct Exploit {
    /// The lane that is copied: parameters, planes and counters.
    pub from: usize,
    /// The lane that takes them over.
    pub to: usize,
    /// Its settings from now on.
    pub point: Point,
}

/// Population-based training (Jaderberg et al. 2017): at regular steps the worst lanes become copies of good ones, whose
/// settings are then changed a little.
///
/// Of n lanes the losers are the worst ⌈quantile · n⌉, at most half of them, and all whose metric is not finite. Each takes
/// over one of the ⌈quantile · n⌉ best, drawn with equal odds. A lane whose metric is not finite is never copied; if there is
/// no other, nothing happens. Of equal lanes the one with the lower number is better.
///
/// Then each parameter in `explore` is drawn anew with the probability `resample`, or else moves up or down with equal odds, in
/// its own scale and within its domain: logarithmic ones by the factor 1 + `step` or 1 − `step` (Ray's 1.2 and 0.8), others by
/// `step` / 2 of their range, whole numbers and steps by at least one, choices to a neighbour in their list. All other
/// parameters are the winner's, such as sizes that a copy cannot change.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Goal, Point, PopulationBased, SearchSpace};
///
/// let space: SearchSpace = "lr=log:1e-4:1; hidden=choice:32,64".parse()?;
/// let points: Vec<Point> = [1e-3, 1e-2, 1e-1, 1.0].map(|lr| Point::new().with("lr", lr).with("hidden", 64)).to_vec();
/// let rule = PopulationBased::exploring(["lr"]);
/// let exploits = rule.exploits(&space, Goal::Minimize, 0, &points, &[0.5, 0.2, 0.4, f64::NAN])?;
/// assert_eq!((exploits.len(), exploits[0].from, exploits[0].to), (1, 1, 3));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct PopulationBased {
    /// The parameters that are explored.
    pub explore: Vec<String>,
    /// The share of lanes that lose, and of those that win, above 0 and at most 0.5; 0.25 by default.
    pub quantile: f64,
    /// The probability that a parameter is drawn anew, from 0 to 1; 0.25 by default.
    pub resample: f64,
    /// How far a parameter moves, above 0 and below 1; 0.2 by default.
    pub step: f64,
    /// The seed; 0 by default.
    pub seed: u64,
}

impl Default for PopulationBased {
    fn default() -> Self {
        Self { explore: Vec::new(), quantile: 0.25, resample: 0.25, step: 0.2, seed: 0 }
    }
}

impl PopulationBased {
    /// The default settings, exploring parameters of these names.
    pub fn exploring<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self { explore: names.into_iter().map(Into::into).collect(), ..Self::default() }
    }

    /// Whether the settings are in their ranges and the names in the space.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] if nothing is explored, [`Error::Unknown`] for a name that is not in the space, [`Error::Setting`] for
    /// others.
    pub fn check(&self, space: &SearchSpace) -> Result<()> {
        range::require(self.quantile > 0.0 && self.quantile <= 0.5, "quantile", self.quantile, "above 0 and at most 0.5")?;
        range::require((0.0..=1.0).contains(&self.resample), "resample", self.resample, "from 0 to 1")?;
        range::open_fraction("step", self.step)?;
        if self.explore.is_empty() {
            return Err(Error::Empty { what: "the list of parameters to explore".into() });
        }
        self.explore.iter().try_for_each(|name| space.parameter(name).map(|_| ()))
    }

    /// Which lanes take over which in round number `round`; by the lane that takes over.
    ///
    /// # Errors
    ///
    /// Those of [`PopulationBased::check`] and of [`SearchSpace::check`], and [`Error::Shape`] unless there is a metric for
    /// each point.
    pub fn exploits(
        &self,
        space: &SearchSpace,
        goal: Goal,
        round: u64,
        points: &[Point],
        metrics: &[f64],
    ) -> Result<Vec<Exploit>> {
        self.check(space)?;
        if points.len() != metrics.len() {
            return Err(Error::shape("metrics", format!("{} of so many points", points.len()), metrics.len()));
        }
        points.iter().try_for_each(|point| space.check(point))?;
        let n = metrics.len();
        let ranking = goal.ranking(metrics.iter().copied());
        let share = ((self.quantile * n as f64).ceil() as usize).min(n / 2);
        let live = metrics.iter().filter(|metric| metric.is_finite()).count();
        let winners = &ranking[..share.min(live)];
        if winners.is_empty() {
            return Ok(Vec::new());
        }
        let mut losers = ranking[(n - share).min(live)..].to_vec();
        losers.sort_unstable();
        let exploit = |to: usize| {
            let mut random = keyed(self.seed, &[round, to as u64]);
            let from = winners[random.usize(..winners.len())];
            Exploit { from, to, point: self.explored(space, &points[from], &mut random) }
        };
        Ok(losers.into_iter().map(exploit).collect())
    }

    /// The point with its explored parameters changed. Parameters that did not exist before are drawn.
    fn explored(&self, space: &SearchSpace, point: &Point, random: &mut fastrand::Rng) -> Point {
        space.point(|_, parameter| {
            let explored = self.explore.contains(&parameter.name);
            match point.get(&parameter.name) {
                Some(value) if !explored => value.clone(),
                Some(value) if random.f64() >= self.resample => moved(&parameter.domain, value, random.bool(), self.step),
                _ => parameter.domain.at(random.f64()),
            }
        })
    }
}

/// A value moved up or down in its own scale, within its domain.
fn moved(domain: &Domain, value: &Coordinate, up: bool, step: f64) -> Coordinate {
    let sign = if up { 1.0 } else { -1.0 };
    let toward = |i: u64, distance: u64| if up { i.saturating_add(distance) } else { i.saturating_sub(distance) };
    let (x, count) = (value.as_f64().unwrap_or(0.0), domain.count().unwrap_or(0));
    // The part of the range by which values of linear scales move.
    let part = step / 2.0;
    match (domain, domain.index(value)) {
        (Domain::Uniform { low, high }, _) => Coordinate::Float((x + sign * part * (high - low)).clamp(*low, *high)),
        (Domain::LogUniform { low, high }, _) => Coordinate::Float((x * (1.0 + sign * step)).clamp(*low, *high)),
        (Domain::LogInteger { .. }, Some(i)) => domain.nth(toward(i, ((x * step).round() as u64).max(1))),
        (Domain::Integer { .. } | Domain::Stepped { .. }, Some(i)) => {
            domain.nth(toward(i, ((part * (count - 1) as f64).round() as u64).max(1)))
        }
        (Domain::Choice(_), Some(i)) => domain.nth(toward(i, 1)),
        _ => value.clone(),
    }
}
