//! Cosine annealing. Source: Loshchilov & Hutter 2017, arXiv:1608.03983.

use crate::error::{Result, range};
#[cfg(feature = "serde")]
use crate::schedule::UNSET;
use crate::schedule::stair::shrinking;
use crate::schedule::twofold::Twofold;
use crate::schedule::{Curve, Shape, between, fraction, not_negative, some_steps};

/// Half a cosine from one value to another.
///
/// ```text
/// value = to + (from − to) · ((1 + cos(π · min(t, steps) / steps)) / 2)ᵖᵒʷᵉʳ
/// ```
///
/// Stays at `to`, as optax's `cosine_decay_schedule` (whose `alpha` is `to / from`) and Keras's `CosineDecay` do. With `rises`
/// the cosine goes on with period 2 · steps, as `torch.optim.lr_scheduler.CosineAnnealingLR` does past its `T_max`.
/// The power is optax's `exponent`.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{Cosine, Schedule};
///
/// let cosine = Cosine::new(1.0, 10);
/// assert_eq!(Schedule::from(cosine.clone()).value(20), 0.0);
/// assert_eq!(Schedule::from(Cosine { rises: true, ..cosine }).value(20), 1.0);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "Cosine::unset", deny_unknown_fields)
)]
pub struct Cosine {
    /// Value at step 0, finite and at least 0. No default.
    pub from: f64,
    /// Value at the end, finite and at least 0 (torch: `eta_min`); it may be the larger one. Default 0.
    pub to: f64,
    /// Steps from start to end, at least 1 (torch: `T_max`). No default.
    pub steps: u64,
    /// The power, finite and above 0. Default 1.
    pub power: f64,
    /// Rise again after the end instead of staying there. Default off.
    pub rises: bool,
}

impl Cosine {
    /// From one value to 0 in this many steps; all else as it is by default.
    pub fn new(from: f64, steps: u64) -> Self {
        Self { from, to: 0.0, steps, power: 1.0, rises: false }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET, 0)
    }
}

impl Curve for Cosine {
    fn check(&self) -> Result<()> {
        not_negative("from", self.from)?;
        not_negative("to", self.to)?;
        some_steps("steps", self.steps)?;
        range::positive("power", self.power)
    }

    fn value(&self, t: u64) -> f64 {
        // The second half of the period mirrors the first; in whole numbers, so that late steps stay exact.
        let period = self.steps.saturating_mul(2).max(1);
        let t = if self.rises { (t % period).min(period - t % period) } else { t };
        between(self.from, self.to, Shape::Cosine.rest(fraction(t, self.steps)).powf(self.power))
    }

    fn bound(&self) -> f64 {
        self.from.max(self.to)
    }
}

/// Half cosines one after the other, each `growth` times as long and `shrink` times as high as the one before.
///
/// ```text
/// value = to + (from − to) · shrinkⁱ · (1 + cos(π · (t − sᵢ) / nᵢ)) / 2
/// nᵢ = steps · growthⁱ      sᵢ = n₀ + … + nᵢ₋₁ ≤ t < sᵢ₊₁
/// ```
///
/// As `torch.optim.lr_scheduler.CosineAnnealingWarmRestarts` (`growth` is its `T_mult`, a whole number there) and Keras's
/// `CosineDecayRestarts` (`t_mul` 2 and `m_mul` 1 by default; `alpha` is `to / from`). At a restart the value is the new
/// maximum; `to` itself is never returned. A growth counts as the simplest fraction that rounds to it, so that 10 steps and a
/// growth of 1.3 restart exactly at 10 + 13. Where a cosine ends between two steps, the next one begins there.
///
/// # Examples
///
/// ```
/// use thalweg::schedule::{CosineRestarts, Schedule};
///
/// let schedule = Schedule::from(CosineRestarts { growth: 2.0, ..CosineRestarts::new(1.0, 10) });
/// assert!(schedule.value(9) < 0.03);
/// assert_eq!([schedule.value(10), schedule.value(20), schedule.value(30)], [1.0, 0.5, 1.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default = "CosineRestarts::unset", deny_unknown_fields)
)]
pub struct CosineRestarts {
    /// Value at step 0, finite and at least 0. No default.
    pub from: f64,
    /// Value that each cosine approaches, finite and at least 0 (torch: `eta_min`). Default 0.
    pub to: f64,
    /// Length of the first cosine, at least 1 (torch: `T_0`, Keras: `first_decay_steps`). No default.
    pub steps: u64,
    /// Factor of each length, finite and at least 1 (torch: `T_mult`, Keras: `t_mul`). Default 1.
    pub growth: f64,
    /// Factor of each height above `to`, above 0 and at most 1 (Keras: `m_mul`). Default 1.
    pub shrink: f64,
}

impl CosineRestarts {
    /// From one value to 0 in this many steps, again and again; all else as it is by default.
    pub fn new(from: f64, steps: u64) -> Self {
        Self { from, to: 0.0, steps, growth: 1.0, shrink: 1.0 }
    }

    /// The start for a file: fields without a default that it leaves out stay unset, and the check finds them.
    #[cfg(feature = "serde")]
    fn unset() -> Self {
        Self::new(UNSET, 0)
    }
}

impl CosineRestarts {
    /// Number of the cosine that a step belongs to, and the fraction of it that is over.
    fn locate(&self, t: u64) -> (f64, f64) {
        let steps = self.steps.max(1);
        if !(self.growth > 1.0) {
            return ((t / steps) as f64, (t % steps) as f64 / steps as f64);
        }
        let (p, q) = if self.growth < WHOLE { as_fraction(self.growth) } else { (self.growth as u64, 1) };
        let (mut i, mut start, mut len) = (0.0, 0, u128::from(steps));
        // As long as lengths are whole numbers, so are starts.
        loop {
            let t = u128::from(t);
            if t < start + len {
                return (i, (t - start) as f64 / len as f64);
            }
            // A length that is over is at most t, so the product fits.
            let next = len * u128::from(p);
            (i, start) = (i + 1.0, start + len);
            if self.growth >= WHOLE || (q > 1 && next % u128::from(q) != 0) {
                break;
            }
            len = if q > 1 { next / u128::from(q) } else { next };
        }
        // From here on no length is a whole number, and no start is one either.
        let rest = Rest { growth: self.growth, fraction: (p, q), before: len as u64, steps: t - start as u64 };
        let (j, over) = rest.locate();
        (i + j, over)
    }
}

/// From this on, floats are whole numbers, and more than any step divided by a length.
const WHOLE: f64 = (1u64 << 53) as f64;

/// The simplest p/q that is a growth from 1 to 2⁵³ in double precision: 13/10 for 1.3, 5/3 for 5.0 / 3.0.
fn as_fraction(growth: f64) -> (u64, u64) {
    // The float is numerator/denominator exactly; the convergents of its continued fraction come closer and closer.
    let mut denominator = 1u64;
    let mut scaled = growth;
    while scaled.fract() != 0.0 {
        scaled *= 2.0;
        denominator *= 2;
    }
    let mut numerator = scaled as u64;
    let (mut before, mut last) = ((0, 1), (1, 0));
    loop {
        let whole = numerator / denominator;
        let next = (last.0 * whole + before.0, last.1 * whole + before.1);
        (numerator, denominator) = (denominator, numerator % denominator);
        if denominator == 0 || next.0 as f64 / next.1 as f64 == growth {
            return next;
        }
        (before, last) = (last, next);
    }
}

/// Cosines from the first whose length is no whole number.
struct Rest {
    growth: f64,
    /// The growth as p/q.
    fraction: (u64, u64),
    /// The length of the cosine before the first.
    before: u64,
    /// Steps since the first began.
    steps: u64,
}

impl Rest {
    fn locate(&self) -> (f64, f64) {
        let (growth, t, first) = (self.growth, self.steps as f64, self.before as f64 * self.growth);
        // The quotient before the product, and the cap: the largest growths must not overflow.
        let mut j = (t / first * (growth - 1.0)).min(f64::MAX).ln_1p().div_euclid((growth - 1.0).ln_1p());
        // The logarithms' rounding can miss a restart by one.
        if self.began(j + 1.0) {
            j += 1.0;
        } else if !self.began(j) {
            j -= 1.0;
        }
        (j, ((t - self.start(j)) / (first * growth.powf(j))).clamp(0.0, 1.0))
    }

    fn start(&self, j: f64) -> f64 {
        self.before as f64 * (self.growth * ((self.growth.powf(j) - 1.0) / (self.growth - 1.0)))
    }

    /// Whether the `j`-th cosine has begun. Where a float cannot tell, it is computed with twice the digits.
    fn began(&self, j: f64) -> bool {
        let (start, t) = (self.start(j), self.steps as f64);
        if j < 1.0 {
            return true;
        }
        if !((start - t).abs() <= 1e-9 * t) {
            return start <= t;
        }
        let (p, q) = (Twofold::of(self.fraction.0), Twofold::of(self.fraction.1));
        let powers = p.over(q).power(j as u64).minus(Twofold::of(1));
        // before · p/q · (powers) / (p/q − 1)
        let start = Twofold::of(self.before).times(p).times(powers).over(p.minus(q));
        start.minus(Twofold::of(self.steps)).0 <= 0.0
    }
}

impl Curve for CosineRestarts {
    fn check(&self) -> Result<()> {
        not_negative("from", self.from)?;
        not_negative("to", self.to)?;
        some_steps("steps", self.steps)?;
        range::require(self.growth.is_finite() && self.growth >= 1.0, "growth", self.growth, "finite and at least 1")?;
        shrinking("shrink", self.shrink)
    }

    fn value(&self, t: u64) -> f64 {
        let (i, q) = self.locate(t);
        between(self.from, self.to, self.shrink.powf(i) * Shape::Cosine.rest(q))
    }

    fn bound(&self) -> f64 {
        self.from.max(self.to)
    }
}
