//! Schedules that are known by their papers.

use crate::error::Result;
#[cfg(feature = "serde")]
use crate::schedule::UNSET;
use crate::schedule::{Curve, Shape, between, fraction, not_negative, some_steps};

/// The Transformer's: up in a straight line, then down with the inverse root of the time.
///
/// ```text
/// value = factor · model_size^−½ · min(s^−½, s · warmup^−3⁄2)      s = t + 1
/// ```
///
/// The maximum, `factor / √(model_size · warmup)`, is reached at step `warmup − 1`. As in Burn; the paper counts steps from 1.
/// Source: Vaswani et al. 2017, arXiv:1706.03762.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{Noam, Schedule};
///
/// let schedule = Schedule::from(Noam { model_size: 4, warmup: 16, ..Default::default() });
/// assert_eq!([schedule.value(7), schedule.value(15), schedule.value(63)], [0.0625, 0.125, 0.0625]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Noam {
    /// Factor on everything, finite and at least 0. It is not the value itself. Default 1.
    pub factor: f64,
    /// Width of the model, at least 1. Default 512.
    pub model_size: u64,
    /// Steps of warm-up, at least 1. Default 4000.
    pub warmup: u64,
}

impl Default for Noam {
    fn default() -> Self {
        Self { factor: 1.0, model_size: 512, warmup: 4000 }
    }
}

impl Curve for Noam {
    fn check(&self) -> Result<()> {
        not_negative("factor", self.factor)?;
        some_steps("model_size", self.model_size)?;
        some_steps("warmup", self.warmup)
    }

    fn value(&self, t: u64) -> f64 {
        let (s, warmup) = (t as f64 + 1.0, self.warmup as f64);
        self.factor / (self.model_size as f64).sqrt() * (1.0 / s.sqrt()).min(s / (warmup * warmup.sqrt()))
    }

    fn bound(&self) -> f64 {
        self.factor
    }
}

/// The inverse root of the time.
///
/// ```text
/// value = from / √(1 + t / timescale)
/// ```
///
/// With [`crate::schedule::Schedule::warmup`] of w steps it is `get_inverse_sqrt_schedule` of Hugging Face Transformers (whose
/// timescale is w by default), and with `timescale` = w fairseq's `inverse_sqrt`: `from · √(w / t)` after the warm-up.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{InverseSqrt, Schedule};
///
/// let schedule = Schedule::from(InverseSqrt { from: 1.0, timescale: 100 }).warmup(100, 0.0);
/// assert_eq!([schedule.value(50), schedule.value(100), schedule.value(400)], [0.5, 1.0, 0.5]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "InverseSqrt::unset", deny_unknown_fields)
)]
pub struct InverseSqrt {
    /// Value at step 0, finite and at least 0. No default.
    pub from: f64,
    /// The unit of time, at least 1. Default 10 000.
    pub timescale: u64,
}

impl InverseSqrt {
    /// From a value on, with a time scale of 10,000 steps; all else as it is by default.
    pub fn new(from: f64) -> Self {
        Self { from, timescale: 10_000 }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET)
    }
}

impl Curve for InverseSqrt {
    fn check(&self) -> Result<()> {
        not_negative("from", self.from)?;
        some_steps("timescale", self.timescale)
    }

    fn value(&self, t: u64) -> f64 {
        self.from / (1.0 + t as f64 / self.timescale as f64).sqrt()
    }

    fn bound(&self) -> f64 {
        self.from
    }
}

/// Warm-up, stable, decay.
///
/// ```text
/// value = peak · t / warmup                    for t < warmup
///         peak                                 for the next `stable` steps
///         to + (peak − to) · rest(u / decay)   u steps later, then to
/// ```
///
/// `rest` is the shape's, see [`Shape::rest`]. The warm-up starts at 0 and reaches `peak` at step `warmup`; some
/// implementations start at `peak / warmup`, one step ahead.
/// Source: Hu et al. 2024, arXiv:2404.06395; shapes of the decay: Hägele et al. 2024, arXiv:2405.18392.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{Schedule, Wsd};
///
/// let schedule = Schedule::from(Wsd { warmup: 10, stable: 100, ..Wsd::new(1.0, 40) });
/// assert_eq!([schedule.value(5), schedule.value(109), schedule.value(120), schedule.value(150)], [0.5, 1.0, 0.5, 0.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default = "Wsd::unset", deny_unknown_fields))]
pub struct Wsd {
    /// Value of the stable phase, finite and at least 0. No default.
    pub peak: f64,
    /// Steps of the warm-up. Default 0.
    pub warmup: u64,
    /// Steps of the stable phase. Default 0.
    pub stable: u64,
    /// Steps of the decay, at least 1. No default.
    pub decay: u64,
    /// Value after the decay, finite and at least 0. Default 0.
    pub to: f64,
    /// Shape of the decay. Default [`Shape::OneMinusSqrt`].
    pub shape: Shape,
}

impl Wsd {
    /// From a peak to 0 in this many steps, without a warm-up; all else as it is by default.
    pub fn new(peak: f64, decay: u64) -> Self {
        Self { peak, warmup: 0, stable: 0, decay, to: 0.0, shape: Shape::OneMinusSqrt }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET, 0)
    }
}

impl Curve for Wsd {
    fn check(&self) -> Result<()> {
        not_negative("peak", self.peak)?;
        some_steps("decay", self.decay)?;
        not_negative("to", self.to)
    }

    fn value(&self, t: u64) -> f64 {
        if t < self.warmup {
            return self.peak * fraction(t, self.warmup);
        }
        let u = t.saturating_sub(self.warmup.saturating_add(self.stable));
        between(self.peak, self.to, self.shape.rest(fraction(u, self.decay)))
    }

    fn bound(&self) -> f64 {
        self.peak.max(self.to)
    }
}
