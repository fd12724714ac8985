//! Schedules made of schedules.

use crate::error::{Error, Result, range};
use crate::schedule::stair::increasing;
use crate::schedule::{Curve, Schedule, between, fraction, not_negative};

/// One schedule after the other.
///
/// ```text
/// value = parts[i](t − milestones[i − 1])      i = number of milestones m ≤ t
/// ```
///
/// Each part starts from its own step 0 at its milestone, as in `torch.optim.lr_scheduler.SequentialLR` and optax's
/// `join_schedules`.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{Exponential, Schedule, Sequence};
///
/// let falling = Exponential::new(1.0, 0.5);
/// let schedule = Schedule::from(Sequence { parts: vec![0.1.into(), falling.into()], milestones: vec![20] });
/// assert_eq!([schedule.value(19), schedule.value(20), schedule.value(21)], [0.1, 1.0, 0.5]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Sequence {
    /// The schedules, at least one.
    pub parts: Vec<Schedule>,
    /// The first step of every part but the first, increasing, one fewer than parts.
    pub milestones: Vec<u64>,
}

impl Curve for Sequence {
    fn check(&self) -> Result<()> {
        not_empty(&self.parts)?;
        if self.milestones.len() + 1 != self.parts.len() {
            return Err(Error::shape("milestones", self.parts.len() - 1, self.milestones.len()));
        }
        increasing("milestones", &self.milestones)?;
        parts(&self.parts)
    }

    fn value(&self, t: u64) -> f64 {
        let i = self.milestones.partition_point(|&milestone| milestone <= t);
        let start = if i == 0 { 0 } else { self.milestones[i - 1] };
        self.parts.get(i).map_or(f64::NAN, |part| part.value(t - start))
    }

    fn bound(&self) -> f64 {
        self.parts.iter().map(Schedule::bound).fold(0.0, f64::max)
    }
}

/// The product of schedules that all step together.
///
/// ```text
/// value = parts[0](t) · parts[1](t) · …
/// ```
///
/// What `torch.optim.lr_scheduler.ChainedScheduler` does with schedulers that multiply: one part has the learning rate, the
/// others are factors that begin or end at 1.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{LinearRamp, Schedule, Step};
///
/// let warmup = LinearRamp { start_factor: 0.0, ..LinearRamp::new(1.0, 4) };
/// let schedule = Schedule::from(Step { from: 0.5, steps: 10, gamma: 0.5 }).times(warmup);
/// assert_eq!([schedule.value(2), schedule.value(4), schedule.value(10)], [0.25, 0.5, 0.25]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Product(
    /// The factors, at least one.
    pub Vec<Schedule>,
);

impl Curve for Product {
    fn check(&self) -> Result<()> {
        not_empty(&self.0)?;
        parts(&self.0)
    }

    fn value(&self, t: u64) -> f64 {
        self.0.iter().map(|part| part.value(t)).product()
    }

    fn bound(&self) -> f64 {
        self.0.iter().map(Schedule::bound).product()
    }
}

/// A straight line from `start` to the first value of another schedule, which then starts from its own step 0.
///
/// ```text
/// value = start + (then(0) − start) · t / steps      for t < steps
///         then(t − steps)                            after
/// ```
///
/// As optax's `warmup_*` schedules (whose `decay_steps` *includes* the warm-up in `warmup_cosine_decay_schedule`) and Keras's
/// `CosineDecay` (whose `decay_steps` does not). Torch users multiply instead, so that the other schedule starts at once:
/// that is a [`Product`] with [`crate::schedule::LinearRamp`].
///
/// # Examples
///
/// See [`Schedule::warmup`].
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Warmup {
    /// Value at step 0, finite and at least 0.
    pub start: f64,
    /// Length of the line; with 0 there is none.
    pub steps: u64,
    /// What follows.
    pub then: Box<Schedule>,
}

impl Curve for Warmup {
    fn check(&self) -> Result<()> {
        not_negative("start", self.start)?;
        within("then", self.then.check())
    }

    fn value(&self, t: u64) -> f64 {
        match t.checked_sub(self.steps) {
            Some(t) => self.then.value(t),
            None => between(self.start, self.then.value(0), 1.0 - fraction(t, self.steps)),
        }
    }

    fn bound(&self) -> f64 {
        self.start.max(self.then.bound())
    }
}

/// A schedule times a factor.
///
/// ```text
/// value = factor · of(t)
/// ```
///
/// # Examples
///
/// See [`Schedule::scale`].
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Scale {
    /// The factor, finite and at least 0.
    pub factor: f64,
    /// What is scaled.
    pub of: Box<Schedule>,
}

impl Curve for Scale {
    fn check(&self) -> Result<()> {
        not_negative("factor", self.factor)?;
        within("of", self.of.check())
    }

    fn value(&self, t: u64) -> f64 {
        self.factor * self.of.value(t)
    }

    fn bound(&self) -> f64 {
        self.factor * self.of.bound()
    }
}

/// A schedule brought between two bounds.
///
/// ```text
/// value = min(max(of(t), min), max)
/// ```
///
/// # Examples
///
/// See [`Schedule::clamp`].
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Clamp {
    /// Least value, finite and at least 0.
    pub min: f64,
    /// Greatest value, finite and at least `min`.
    pub max: f64,
    /// What is clamped.
    pub of: Box<Schedule>,
}

impl Curve for Clamp {
    fn check(&self) -> Result<()> {
        not_negative("min", self.min)?;
        let fits = self.max.is_finite() && self.max >= self.min;
        range::require(fits, "max", self.max, &format!("finite and at least min, {}", self.min))?;
        within("of", self.of.check())
    }

    fn value(&self, t: u64) -> f64 {
        self.of.value(t).max(self.min).min(self.max)
    }

    fn bound(&self) -> f64 {
        self.of.bound().max(self.min).min(self.max)
    }
}

fn not_empty(parts: &[Schedule]) -> Result<()> {
    if parts.is_empty() { Err(Error::Empty { what: "parts".into() }) } else { Ok(()) }
}

fn parts(parts: &[Schedule]) -> Result<()> {
    parts.iter().enumerate().try_for_each(|(i, part)| within(&format!("parts[{i}]"), part.check()))
}

/// Puts the path to an inner schedule in front of the setting that its error names.
fn within(path: &str, result: Result<()>) -> Result<()> {
    result.map_err(|error| match error {
        Error::Setting { field, value, allowed } => Error::Setting { field: format!("{path}.{field}"), value, allowed },
        Error::Shape { what, expected, found } => Error::Shape { what: format!("{path}.{what}"), expected, found },
        Error::Empty { what } => Error::Empty { what: format!("{path}.{what}") },
        other => other,
    })
}
