//! Up and down again: triangles and one cycle. Source: Smith 2017, arXiv:1506.01186; Smith & Topin 2018, arXiv:1708.07120.

use crate::error::{Result, range};
#[cfg(feature = "serde")]
use crate::schedule::UNSET;
use crate::schedule::stair::shrinking;
use crate::schedule::{Curve, Shape, between, not_negative, some_steps};
use crate::text::words;

/// How the triangles of [`Cyclic`] change from cycle to cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Mode {
    /// They stay: `f = 1`.
    #[default]
    Triangular,
    /// Each is half as high: `f = 2⁻ᶜ` in cycle c.
    Triangular2,
    /// They shrink in every step: `f = gammaᵗ`.
    ExpRange,
}

words!(
    Mode, "triangular, triangular2 or exp_range",
    Triangular: "triangular", Triangular2: "triangular2", ExpRange: "exp_range"
);

/// Triangles between two values.
///
/// ```text
/// value = from + (peak − from) · k · f      k rises 0 → 1 in `up` steps and falls 1 → 0 in `down` steps
/// ```
///
/// As `torch.optim.lr_scheduler.CyclicLR`, without its custom scale function. Torch locates a step in its cycle in floating
/// point, here it is counted in whole numbers.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{Cyclic, Schedule};
///
/// let cyclic = Cyclic { up: 4, ..Cyclic::new(0.125, 0.625) };
/// assert_eq!(Schedule::from(cyclic).value(4), 0.625);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "Cyclic::unset", deny_unknown_fields)
)]
pub struct Cyclic {
    /// Value at the feet, where it starts: finite and at least 0 (torch: `base_lr`). No default.
    pub from: f64,
    /// Value at the top, finite and at least 0 (torch: `max_lr`); it may be the smaller one. No default.
    pub peak: f64,
    /// Steps from foot to top, at least 1 (torch: `step_size_up`). Default 2000.
    pub up: u64,
    /// Steps from top to foot (torch: `step_size_down`); none: as many as `up`. Default none.
    pub down: Option<u64>,
    /// How the triangles change. Default [`Mode::Triangular`].
    pub mode: Mode,
    /// Factor per step, above 0 and at most 1 in [`Mode::ExpRange`], else 1. Default 1.
    pub gamma: f64,
}

impl Cyclic {
    /// Between two values, up and down in 2,000 steps each; all else as it is by default.
    pub fn new(from: f64, peak: f64) -> Self {
        Self { from, peak, up: 2000, down: None, mode: Mode::Triangular, gamma: 1.0 }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET, UNSET)
    }
}

impl Cyclic {
    /// The momentum that goes with it: `high` at the feet, towards `low` at the tops. Torch: 0.8 and 0.9. It is the momentum
    /// itself, for [`Recipe::schedule`](crate::Recipe::schedule).
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::schedule::{Cyclic, Schedule};
    ///
    /// let momentum = Schedule::from(Cyclic { up: 4, ..Cyclic::new(0.0, 1.0) }.momentum(0.5, 1.0));
    /// assert_eq!([momentum.value(0), momentum.value(2), momentum.value(4)], [1.0, 0.75, 0.5]);
    /// ```
    pub fn momentum(&self, low: f64, high: f64) -> Self {
        Self { from: high, peak: low, ..self.clone() }
    }
}

impl Curve for Cyclic {
    fn check(&self) -> Result<()> {
        not_negative("from", self.from)?;
        not_negative("peak", self.peak)?;
        some_steps("up", self.up)?;
        match self.mode {
            Mode::ExpRange => shrinking("gamma", self.gamma),
            _ => range::require(self.gamma == 1.0, "gamma", self.gamma, "1 unless mode is exp_range"),
        }
    }

    fn value(&self, t: u64) -> f64 {
        let up = self.up.max(1);
        let down = self.down.unwrap_or(up);
        let length = up.saturating_add(down);
        let (cycle, position) = (t / length, t % length);
        let k = match position <= up {
            true => position as f64 / up as f64,
            false => (length - position) as f64 / down as f64,
        };
        let f = match self.mode {
            Mode::Triangular => 1.0,
            Mode::Triangular2 => 0.5_f64.powf(cycle as f64),
            Mode::ExpRange => self.gamma.powf(t as f64),
        };
        between(self.peak, self.from, k * f)
    }

    fn bound(&self) -> f64 {
        self.from.max(self.peak)
    }
}

/// Up to a peak, down again, and on to a far lower value.
///
/// ```text
/// two phases:   peak/div → peak → peak/div/final_div                 ends: pct_start·steps − 1, steps − 1
/// three phases: peak/div → peak → peak/div → peak/div/final_div      ends: pct_start·steps − 1, 2·pct_start·steps − 2, steps − 1
/// ```
///
/// As `torch.optim.lr_scheduler.OneCycleLR`. From step `steps` on torch raises an error (after one step of extrapolation); here
/// the last value is held. Torch accepts a `pct_start` of 0, which skips the start, and three phases with more than 0.5,
/// which never reach their end; here these are errors. Optax's `cosine_onecycle_schedule` puts the phases' ends elsewhere.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{OneCycle, Schedule, Shape};
///
/// let cycle = OneCycle { pct_start: 0.5, shape: Shape::Linear, ..OneCycle::new(1.0, 11) };
/// let cycle = Schedule::from(cycle);
/// assert_eq!(cycle.value(0), 1.0 / 25.0);
/// assert_eq!(cycle.value(10), 1.0 / 25.0 / 1e4);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "OneCycle::unset", deny_unknown_fields)
)]
pub struct OneCycle {
    /// Value at the peak, finite and at least 0 (torch: `max_lr`). No default.
    pub peak: f64,
    /// Steps altogether, at least 1 (torch: `total_steps`). No default.
    pub steps: u64,
    /// Part of the steps that lead to the peak: above 0 and at most 1, or 0.5 with three phases. Default 0.3.
    pub pct_start: f64,
    /// Peak over first value, finite and above 0 (torch: `div_factor`). Default 25.
    pub div: f64,
    /// First over last value, finite and above 0 (torch: `final_div_factor`). Default 1e4.
    pub final_div: f64,
    /// How each phase moves (torch: `anneal_strategy`). Default [`Shape::Cosine`].
    pub shape: Shape,
    /// Return to the first value before going lower. Default off.
    pub three_phase: bool,
}

impl OneCycle {
    /// Up to a peak and down again in this many steps; all else as it is by default.
    pub fn new(peak: f64, steps: u64) -> Self {
        Self { peak, steps, pct_start: 0.3, div: 25.0, final_div: 1e4, shape: Shape::Cosine, three_phase: false }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET, 0)
    }
}

impl OneCycle {
    /// The momentum that goes with it: `high`, `low` at the peak (above 0), `high` again. Torch: 0.85 and 0.95. It is the
    /// momentum itself, for [`Recipe::schedule`](crate::Recipe::schedule).
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::schedule::{OneCycle, Schedule};
    ///
    /// let momentum = Schedule::from(OneCycle::new(1.0, 10).momentum(0.5, 1.0));
    /// assert_eq!([momentum.value(0), momentum.value(2), momentum.value(9)], [1.0, 0.5, 1.0]);
    /// ```
    pub fn momentum(&self, low: f64, high: f64) -> Self {
        Self { peak: low, div: low / high, final_div: 1.0, ..self.clone() }
    }

    fn first(&self) -> f64 {
        self.peak / self.div
    }

    fn last(&self) -> f64 {
        self.first() / self.final_div
    }
}

impl Curve for OneCycle {
    fn check(&self) -> Result<()> {
        not_negative("peak", self.peak)?;
        some_steps("steps", self.steps)?;
        let (most, allowed) = match self.three_phase {
            true => (0.5, "above 0 and at most 0.5, since there are three phases"),
            false => (1.0, "above 0 and at most 1"),
        };
        range::require(self.pct_start > 0.0 && self.pct_start <= most, "pct_start", self.pct_start, allowed)?;
        range::positive("div", self.div)?;
        range::positive("final_div", self.final_div)
    }

    fn value(&self, t: u64) -> f64 {
        let last = self.steps.saturating_sub(1);
        let t = t.min(last) as f64;
        // Phases end between whole steps, and before step 0 if pct_start · steps < 1.
        let peak = self.pct_start * self.steps as f64 - 1.0;
        let (from, to, start, end) = if t <= peak {
            (self.first(), self.peak, 0.0, peak)
        } else if !self.three_phase {
            (self.peak, self.last(), peak, last as f64)
        } else if t <= 2.0 * peak {
            (self.peak, self.first(), peak, 2.0 * peak)
        } else {
            (self.first(), self.last(), 2.0 * peak, last as f64)
        };
        let q = if end > start { (t - start) / (end - start) } else { 1.0 };
        between(from, to, self.shape.rest(q))
    }

    fn bound(&self) -> f64 {
        self.peak.max(self.first()).max(self.last())
    }
}
