//! Schedules that go from one value to another.

use crate::error::{Error, Result, range};
#[cfg(feature = "serde")]
use crate::schedule::UNSET;
use crate::schedule::{Curve, between, fraction, not_negative, some_steps};

/// Stands for a number of steps that was not given, where 0 is a valid number.
const NOT_GIVEN: u64 = u64::MAX;

fn given(field: &str, steps: u64) -> Result<()> {
    if steps == NOT_GIVEN { Err(Error::missing("the schedule", field, format!("{field}: 1000"))) } else { Ok(()) }
}

/// The fraction of `steps` that is over; all of it where there are none.
fn over(step: u64, steps: u64) -> f64 {
    if steps == 0 { 1.0 } else { fraction(step, steps) }
}

/// Between two factors in a straight line.
///
/// ```text
/// value · (start_factor + (end_factor − start_factor) · min(t, steps) / steps)
/// ```
///
/// As `torch.optim.lr_scheduler.LinearLR`, but a start factor of 0 and factors above 1 are allowed, since nothing here is
/// divided by them.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{LinearRamp, Schedule};
///
/// let schedule = Schedule::from(LinearRamp { value: 0.5, start_factor: 0.0, end_factor: 1.0, steps: 10 });
/// assert_eq!([schedule.value(0), schedule.value(5), schedule.value(99)], [0.0, 0.25, 0.5]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "LinearRamp::unset", deny_unknown_fields)
)]
pub struct LinearRamp {
    /// Value that the factors apply to, finite and at least 0. No default.
    pub value: f64,
    /// Factor at step 0, finite and at least 0. Default 1/3.
    pub start_factor: f64,
    /// Factor from `steps` on, finite and at least 0. Default 1.
    pub end_factor: f64,
    /// Length of the line; with 0 there is none, and the end holds from the first step on. No default (torch: `total_iters`,
    /// 5).
    pub steps: u64,
}

impl LinearRamp {
    /// From a third of a value to the value in this many steps; all else as it is by default.
    pub fn new(value: f64, steps: u64) -> Self {
        Self { value, start_factor: 1.0 / 3.0, end_factor: 1.0, steps }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET, NOT_GIVEN)
    }
}

impl Curve for LinearRamp {
    fn check(&self) -> Result<()> {
        not_negative("value", self.value)?;
        not_negative("start_factor", self.start_factor)?;
        not_negative("end_factor", self.end_factor)?;
        given("steps", self.steps)
    }

    fn value(&self, t: u64) -> f64 {
        self.value * between(self.start_factor, self.end_factor, 1.0 - over(t, self.steps))
    }

    fn bound(&self) -> f64 {
        self.value * self.start_factor.max(self.end_factor)
    }
}

/// A power of the time that is left.
///
/// ```text
/// s     = max(t − begin, 0)
/// value = (from − to) · (1 − min(s, steps) / steps)ᵖᵒʷᵉʳ + to
/// ```
///
/// With `cycle` the end moves on before it is passed: `steps` becomes its smallest multiple that is not below s.
///
/// As `torch.optim.lr_scheduler.PolynomialLR` (end 0), optax's `polynomial_schedule` (`begin` is its `transition_begin`) and
/// Keras's `PolynomialDecay` (end 1e-4; `cycle`). If `steps` is 0, optax silently stays at its start; here the end holds from
/// `begin` on, since a decay of no steps is over at once.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{Polynomial, Schedule};
///
/// let schedule = Schedule::from(Polynomial { power: 2.0, ..Polynomial::new(1.0, 4) });
/// assert_eq!([schedule.value(0), schedule.value(2), schedule.value(4)], [1.0, 0.25, 0.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "Polynomial::unset", deny_unknown_fields)
)]
pub struct Polynomial {
    /// Value at the start, finite and at least 0. No default.
    pub from: f64,
    /// Value at the end, finite and at least 0; it may be the larger one. Default 0.
    pub to: f64,
    /// Steps from start to end, at least 1 with `cycle`. No default (torch: `total_iters`, 5).
    pub steps: u64,
    /// The power, finite and above 0. Default 1: a straight line.
    pub power: f64,
    /// The step at which the decay begins. Default 0.
    pub begin: u64,
    /// Start again lower instead of staying at the end. Default off.
    pub cycle: bool,
}

impl Polynomial {
    /// From a value to 0 in this many steps, in a straight line; all else as it is by default.
    pub fn new(from: f64, steps: u64) -> Self {
        Self { from, to: 0.0, steps, power: 1.0, begin: 0, cycle: false }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET, NOT_GIVEN)
    }
}

impl Curve for Polynomial {
    fn check(&self) -> Result<()> {
        not_negative("from", self.from)?;
        not_negative("to", self.to)?;
        given("steps", self.steps)?;
        range::require(self.steps >= 1 || !self.cycle, "steps", self.steps, "at least 1 with cycle")?;
        range::positive("power", self.power)
    }

    fn value(&self, t: u64) -> f64 {
        let Some(s) = t.checked_sub(self.begin) else { return self.from };
        let rounds = if self.cycle { s.div_ceil(self.steps.max(1)).max(1) } else { 1 };
        let left = 1.0 - over(s, self.steps.saturating_mul(rounds));
        between(self.from, self.to, left.powf(self.power))
    }

    fn bound(&self) -> f64 {
        self.from.max(self.to)
    }
}

/// The same factor in every step, or in every so many steps.
///
/// ```text
/// q     = max(t − begin, 0) / steps      ⌊q⌋ with staircase
/// value = from · gammaᑫ                    but not beyond `to`
/// ```
///
/// As `torch.optim.lr_scheduler.ExponentialLR` (gamma per step), Keras's `ExponentialDecay` and optax's `exponential_decay`
/// (gamma per `steps`; optax names `begin` `transition_begin` and `to` `end_value`). The others let a gamma above 1 grow
/// without bound; here it needs a `to`, which makes it the sweep of a learning-rate range test.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{Exponential, Schedule};
///
/// let schedule = Schedule::from(Exponential { steps: 100, to: 0.1, ..Exponential::new(1.0, 0.25) });
/// assert_eq!([schedule.value(50), schedule.value(100), schedule.value(1000)], [0.5, 0.25, 0.1]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "Exponential::unset", deny_unknown_fields)
)]
pub struct Exponential {
    /// Value at the start, finite and at least 0. No default.
    pub from: f64,
    /// The factor, finite and above 0. No default.
    pub gamma: f64,
    /// How many steps make one factor, at least 1 (Keras: `decay_steps`, optax: `transition_steps`). Default 1.
    pub steps: u64,
    /// The step at which the decay begins. Default 0.
    pub begin: u64,
    /// Jump every `steps` instead of sliding. Default off.
    pub staircase: bool,
    /// Where it stops: at least 0 and at most `from`, or for gamma above 1, finite and at least `from`. Default 0.
    pub to: f64,
}

impl Exponential {
    /// From a value on, times a factor in each step; all else as it is by default.
    pub fn new(from: f64, gamma: f64) -> Self {
        Self { from, gamma, steps: 1, begin: 0, staircase: false, to: 0.0 }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET, 0.0)
    }
}

impl Curve for Exponential {
    fn check(&self) -> Result<()> {
        not_negative("from", self.from)?;
        range::positive("gamma", self.gamma)?;
        some_steps("steps", self.steps)?;
        not_negative("to", self.to)?;
        let (fits, allowed) = match self.gamma > 1.0 {
            true => (self.to >= self.from, format!("finite and at least from, {}, since gamma is above 1", self.from)),
            false => (self.to <= self.from, format!("at least 0 and at most from, {}, since gamma is at most 1", self.from)),
        };
        range::require(fits, "to", self.to, &allowed)
    }

    fn value(&self, t: u64) -> f64 {
        let (s, steps) = (t.saturating_sub(self.begin), self.steps.max(1));
        let q = if self.staircase { (s / steps) as f64 } else { s as f64 / steps as f64 };
        // An infinite power of a gamma above 1 would make NaN of a value of 0.
        let value = self.from * self.gamma.powf(q).min(f64::MAX);
        if self.gamma > 1.0 { value.min(self.to) } else { value.max(self.to) }
    }

    fn bound(&self) -> f64 {
        self.from.max(self.to)
    }
}

/// The inverse of the time.
///
/// ```text
/// value = from / (1 + gamma · q)      q = t / steps, ⌊t / steps⌋ with staircase
/// ```
///
/// As Keras's `InverseTimeDecay`.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{InverseTime, Schedule};
///
/// let schedule = Schedule::from(InverseTime { from: 1.0, gamma: 1.0, steps: 10, staircase: false });
/// assert_eq!([schedule.value(0), schedule.value(10), schedule.value(30)], [1.0, 0.5, 0.25]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "InverseTime::unset", deny_unknown_fields)
)]
pub struct InverseTime {
    /// Value at step 0, finite and at least 0. No default.
    pub from: f64,
    /// Speed of the decay, finite and above 0 (Keras: `decay_rate`). No default.
    pub gamma: f64,
    /// The unit of time, at least 1 (Keras: `decay_steps`). Default 1.
    pub steps: u64,
    /// Jump every `steps` instead of sliding. Default off.
    pub staircase: bool,
}

impl InverseTime {
    /// From a value on, at a rate per step; all else as it is by default.
    pub fn new(from: f64, gamma: f64) -> Self {
        Self { from, gamma, steps: 1, staircase: false }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET, 0.0)
    }
}

impl Curve for InverseTime {
    fn check(&self) -> Result<()> {
        not_negative("from", self.from)?;
        range::positive("gamma", self.gamma)?;
        some_steps("steps", self.steps)
    }

    fn value(&self, t: u64) -> f64 {
        let steps = self.steps.max(1);
        let q = if self.staircase { (t / steps) as f64 } else { t as f64 / steps as f64 };
        self.from / (1.0 + self.gamma * q)
    }

    fn bound(&self) -> f64 {
        self.from
    }
}
