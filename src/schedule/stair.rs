//! Schedules that stand still and jump.

use crate::error::{Error, Result, range};
#[cfg(feature = "serde")]
use crate::schedule::UNSET;
use crate::schedule::{Curve, not_negative, some_steps};

/// Constant, optionally reduced at first.
///
/// ```text
/// value · factor   for t < steps
/// value            after
/// ```
///
/// As `torch.optim.lr_scheduler.ConstantLR`, whose defaults are factor 1/3 and 5 steps.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{Constant, Schedule};
///
/// let schedule = Schedule::from(Constant { value: 0.4, factor: 0.25, steps: 5 });
/// assert_eq!([schedule.value(4), schedule.value(5)], [0.1, 0.4]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "Constant::unset", deny_unknown_fields)
)]
pub struct Constant {
    /// Value after the first steps, finite and at least 0. No default.
    pub value: f64,
    /// Factor during the first steps, finite and at least 0. Default 1.
    pub factor: f64,
    /// How many steps the factor lasts (torch: `total_iters`). Default 0.
    pub steps: u64,
}

impl Constant {
    /// One value; all else as it is by default.
    pub fn new(value: f64) -> Self {
        Self { value, factor: 1.0, steps: 0 }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET)
    }
}

impl Curve for Constant {
    fn check(&self) -> Result<()> {
        not_negative("value", self.value)?;
        not_negative("factor", self.factor)
    }

    fn value(&self, t: u64) -> f64 {
        if t < self.steps { self.value * self.factor } else { self.value }
    }

    fn bound(&self) -> f64 {
        self.value * self.factor.max(1.0)
    }
}

/// A factor every so many steps.
///
/// ```text
/// value = from · gammaᵏ      k = ⌊t / steps⌋
/// ```
///
/// As `torch.optim.lr_scheduler.StepLR`; Keras calls it the staircase of `ExponentialDecay`. Torch allows gamma above 1, which
/// grows without bound.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{Schedule, Step};
///
/// let schedule = Schedule::from(Step { from: 1.0, steps: 30, gamma: 0.5 });
/// assert_eq!([schedule.value(29), schedule.value(30), schedule.value(60)], [1.0, 0.5, 0.25]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "Step::unset", deny_unknown_fields)
)]
pub struct Step {
    /// Value at step 0, finite and at least 0. No default.
    pub from: f64,
    /// Steps between two jumps, at least 1 (torch: `step_size`). No default.
    pub steps: u64,
    /// Factor of a jump, above 0 and at most 1. Default 0.1.
    pub gamma: f64,
}

impl Step {
    /// A tenth every so many steps; all else as it is by default.
    pub fn new(from: f64, steps: u64) -> Self {
        Self { from, steps, gamma: 0.1 }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET, 0)
    }
}

impl Curve for Step {
    fn check(&self) -> Result<()> {
        not_negative("from", self.from)?;
        some_steps("steps", self.steps)?;
        shrinking("gamma", self.gamma)
    }

    fn value(&self, t: u64) -> f64 {
        self.from * self.gamma.powf((t / self.steps.max(1)) as f64)
    }

    fn bound(&self) -> f64 {
        self.from
    }
}

/// A factor at each milestone.
///
/// ```text
/// value = from · gammaᵏ      k = number of milestones m ≤ t
/// ```
///
/// As `torch.optim.lr_scheduler.MultiStepLR`: the factor is in force *at* the milestone, and a repeated milestone counts
/// repeatedly. Their order does not matter, and a gamma above 1 makes the value grow. Optax's `piecewise_constant_schedule` has
/// the same boundary; Keras's [`Piecewise`] jumps one step later.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{MultiStep, Schedule};
///
/// let schedule = Schedule::from(MultiStep { from: 1.0, milestones: vec![30, 80, 80], gamma: 0.5 });
/// assert_eq!([schedule.value(29), schedule.value(30), schedule.value(80)], [1.0, 0.5, 0.125]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "MultiStep::unset", deny_unknown_fields)
)]
pub struct MultiStep {
    /// Value before the first milestone, finite and at least 0. No default.
    pub from: f64,
    /// Steps at which the value jumps, at least one. No default.
    pub milestones: Vec<u64>,
    /// Factor of a jump, finite and above 0. Default 0.1.
    pub gamma: f64,
}

impl MultiStep {
    /// A tenth at each milestone; all else as it is by default.
    pub fn new(from: f64, milestones: impl Into<Vec<u64>>) -> Self {
        Self { from, milestones: milestones.into(), gamma: 0.1 }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET, [])
    }
}

impl Curve for MultiStep {
    fn check(&self) -> Result<()> {
        not_negative("from", self.from)?;
        if self.milestones.is_empty() {
            return Err(Error::Empty { what: "milestones".into() });
        }
        range::positive("gamma", self.gamma)
    }

    fn value(&self, t: u64) -> f64 {
        let jumps = self.milestones.iter().filter(|&&milestone| milestone <= t).count();
        self.from * self.gamma.powf(jumps as f64)
    }

    fn bound(&self) -> f64 {
        self.from * self.gamma.powf(self.milestones.len() as f64).max(1.0)
    }
}

/// One value between every two boundaries.
///
/// ```text
/// value = values[i]      i = number of boundaries b < t
/// ```
///
/// As Keras's `PiecewiseConstantDecay`: the value changes *after* the boundary, while torch and optax change it at the
/// boundary ([`MultiStep`]); lower the boundaries by 1 to get theirs.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{Piecewise, Schedule};
///
/// let schedule = Schedule::from(Piecewise { boundaries: vec![100], values: vec![0.1, 0.01] });
/// assert_eq!([schedule.value(100), schedule.value(101)], [0.1, 0.01]);
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Piecewise {
    /// The last step of every value but the last, increasing. No default.
    pub boundaries: Vec<u64>,
    /// Values, one more than boundaries, each finite and at least 0. No default.
    pub values: Vec<f64>,
}

impl Piecewise {
    /// The first values of any function, one per step; the last of them is held. At least one step is taken.
    ///
    /// What `LambdaLR` and `MultiplicativeLR` of torch do, as data.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::schedule::{Piecewise, Schedule};
    ///
    /// let schedule = Schedule::from(Piecewise::sampled(4, |t| 1.0 / (1 + t) as f64));
    /// assert_eq!([schedule.value(1), schedule.value(3), schedule.value(1000)], [0.5, 0.25, 0.25]);
    /// ```
    pub fn sampled(steps: u64, function: impl FnMut(u64) -> f64) -> Self {
        let last = steps.saturating_sub(1);
        Self { boundaries: (0..last).collect(), values: (0..=last).map(function).collect() }
    }
}

impl Curve for Piecewise {
    fn check(&self) -> Result<()> {
        increasing("boundaries", &self.boundaries)?;
        if self.values.len() != self.boundaries.len() + 1 {
            return Err(Error::shape("values", self.boundaries.len() + 1, self.values.len()));
        }
        self.values.iter().enumerate().try_for_each(|(i, &value)| not_negative(&format!("values[{i}]"), value))
    }

    fn value(&self, t: u64) -> f64 {
        let passed = self.boundaries.partition_point(|&boundary| boundary < t);
        self.values.get(passed).copied().unwrap_or(f64::NAN)
    }

    fn bound(&self) -> f64 {
        self.values.iter().copied().fold(0.0, f64::max)
    }
}

/// Factors that are applied again and again.
pub(super) fn shrinking(field: &str, gamma: f64) -> Result<()> {
    range::require(gamma > 0.0 && gamma <= 1.0, field, gamma, "above 0 and at most 1")
}

/// Steps of which each must be later than the one before.
pub(super) fn increasing(field: &str, steps: &[u64]) -> Result<()> {
    range::require(steps.is_sorted_by(|a, b| a < b), field, format!("{steps:?}"), "each larger than the one before")
}
