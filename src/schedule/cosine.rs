//! Cosine annealing. Source: Loshchilov & Hutter 2017, arXiv:1608.03983.

use crate::error::{Result, range};
use crate::schedule::stair::shrinking;
use crate::schedule::{Curve, Shape, between, fraction, some_steps};

/// Half a cosine from one rate to another.
///
/// ```text
/// value = end + (lr − end) · ((1 + cos(π · min(t, steps) / steps)) / 2)ᵖᵒʷᵉʳ
/// ```
///
/// Stays at `end`, as optax's `cosine_decay_schedule` (whose `alpha` is `end / lr`) and Keras's `CosineDecay` do. With `rises`
/// the cosine goes on with period 2 · steps, as `torch.optim.lr_scheduler.CosineAnnealingLR` does past its `T_max`.
/// The power is optax's `exponent`.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{Cosine, Schedule};
///
/// let cosine = Cosine { lr: 1.0, steps: 10, ..Default::default() };
/// assert_eq!(Schedule::from(cosine.clone()).value(20), 0.0);
/// assert_eq!(Schedule::from(Cosine { rises: true, ..cosine }).value(20), 1.0);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Cosine {
    /// Rate at step 0, finite and at least 0. Default 1.
    pub lr: f64,
    /// Rate at the end, finite and at least 0 (torch: `eta_min`); it may be the larger one. Default 0.
    pub end: f64,
    /// Steps from start to end, at least 1 (torch: `T_max`). No default.
    pub steps: u64,
    /// The power, finite and above 0. Default 1.
    pub power: f64,
    /// Rise again after the end instead of staying there. Default off.
    pub rises: bool,
}

impl Default for Cosine {
    fn default() -> Self {
        Self { lr: 1.0, end: 0.0, steps: 0, power: 1.0, rises: false }
    }
}

impl Curve for Cosine {
    fn check(&self) -> Result<()> {
        range::not_negative("lr", self.lr)?;
        range::not_negative("end", self.end)?;
        some_steps("steps", self.steps)?;
        range::positive("power", self.power)
    }

    fn value(&self, t: u64) -> f64 {
        // The second half of the period mirrors the first; in whole numbers, so that late steps stay exact.
        let period = self.steps.saturating_mul(2).max(1);
        let t = if self.rises { (t % period).min(period - t % period) } else { t };
        between(self.lr, self.end, Shape::Cosine.rest(fraction(t, self.steps)).powf(self.power))
    }

    fn bound(&self) -> f64 {
        self.lr.max(self.end)
    }
}

/// Half cosines one after the other, each `growth` times as long and `shrink` times as high as the one before.
///
/// ```text
/// value = end + (lr − end) · shrinkⁱ · (1 + cos(π · (t − sᵢ) / nᵢ)) / 2
/// nᵢ = steps · growthⁱ      sᵢ = n₀ + … + nᵢ₋₁ ≤ t < sᵢ₊₁
/// ```
///
/// As `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts` (`growth` is its `T_mult`, a whole number there) and Keras's
/// `CosineDecayRestarts` (`t_mul` 2 and `m_mul` 1 by default; `alpha` is `end / lr`). At a restart the value is the new
/// maximum; `end` itself is never returned.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{CosineRestarts, Schedule};
///
/// let schedule = Schedule::from(CosineRestarts { lr: 1.0, steps: 10, growth: 2.0, ..Default::default() });
/// assert!(schedule.value(9) < 0.03);
/// assert_eq!([schedule.value(10), schedule.value(20), schedule.value(30)], [1.0, 0.5, 1.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct CosineRestarts {
    /// Rate at step 0, finite and at least 0. Default 1.
    pub lr: f64,
    /// Rate that each cosine approaches, finite and at least 0 (torch: `eta_min`). Default 0.
    pub end: f64,
    /// Length of the first cosine, at least 1 (torch: `T_0`, Keras: `first_decay_steps`). No default.
    pub steps: u64,
    /// Factor of each length, finite and at least 1 (torch: `T_mult`, Keras: `t_mul`). Default 1.
    pub growth: f64,
    /// Factor of each height above `end`, above 0 and at most 1 (Keras: `m_mul`). Default 1.
    pub shrink: f64,
}

impl Default for CosineRestarts {
    fn default() -> Self {
        Self { lr: 1.0, end: 0.0, steps: 0, growth: 1.0, shrink: 1.0 }
    }
}

impl CosineRestarts {
    /// Number of the cosine that a step belongs to, and the fraction of it that is over.
    fn locate(&self, t: u64) -> (f64, f64) {
        let (growth, steps) = (self.growth, self.steps.max(1));
        if growth == 1.0 {
            return ((t / steps) as f64, (t % steps) as f64 / steps as f64);
        }
        let (t, steps) = (t as f64, steps as f64);
        // The quotient before the product, and the cap: the largest growths must not overflow.
        let start = |i: f64| steps * ((growth.powf(i) - 1.0) / (growth - 1.0));
        let mut i = (t / steps * (growth - 1.0)).min(f64::MAX).ln_1p().div_euclid((growth - 1.0).ln_1p());
        // The logarithms' rounding can miss a restart by one.
        if start(i + 1.0) <= t {
            i += 1.0;
        } else if start(i) > t {
            i -= 1.0;
        }
        (i, ((t - start(i)) / (steps * growth.powf(i))).clamp(0.0, 1.0))
    }
}

impl Curve for CosineRestarts {
    fn check(&self) -> Result<()> {
        range::not_negative("lr", self.lr)?;
        range::not_negative("end", self.end)?;
        some_steps("steps", self.steps)?;
        range::require(self.growth.is_finite() && self.growth >= 1.0, "growth", self.growth, "finite and at least 1")?;
        shrinking("shrink", self.shrink)
    }

    fn value(&self, t: u64) -> f64 {
        let (i, q) = self.locate(t);
        between(self.lr, self.end, self.shrink.powf(i) * Shape::Cosine.rest(q))
    }

    fn bound(&self) -> f64 {
        self.lr.max(self.end)
    }
}
