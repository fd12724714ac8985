//! Schedules of learning rates, or of other settings: closed forms in f64, at any step in any order.
//!
//! A schedule is plain data: comparable, cloneable, and with the feature `serde` serialisable. It knows no optimizer. Its value
//! at a step is a number: [`Recipe::schedule`](crate::Recipe::schedule) takes it as the setting itself, so that `from: 3e-4` is
//! a learning rate of 3e-4, and [`Recipe::scale`](crate::Recipe::scale) multiplies the rule's own setting by it. Step 0 is the
//! first update. Fields that hold a value (`value`, `from`, `peak`) have no default: constructors ask for them, such as
//! [`Cosine::new`], and files and [`schedule_by_name`] want them given. A factor starts from 1, unless it is said otherwise:
//! [`factor_by_name`].
//!
//! # Where the schedules of other libraries are
//!
//! | library | schedule | here |
//! | --- | --- | --- |
//! | torch | `LambdaLR`, `MultiplicativeLR` | [`Piecewise::sampled`] |
//! | | `StepLR`, `MultiStepLR`, `ConstantLR`, `LinearLR` | [`Step`], [`MultiStep`], [`Constant`], [`LinearRamp`] |
//! | | `ExponentialLR` | [`Exponential`] |
//! | | `PolynomialLR` | [`Polynomial`] |
//! | | `CosineAnnealingLR` | [`Cosine`] with `rises` |
//! | | `CosineAnnealingWarmRestarts` | [`CosineRestarts`] with `to` = `eta_min` |
//! | | `CyclicLR`, `OneCycleLR` | [`Cyclic`], [`OneCycle`]; [`Cyclic::momentum`], [`OneCycle::momentum`] |
//! | | `SequentialLR`, `ChainedScheduler` | [`Sequence`], [`Product`] |
//! | | `SWALR` | [`Cosine`] with `to` = `swa_lr`, or [`Polynomial`] with that `to` |
//! | | `ReduceLROnPlateau` | [`ReduceLrOnPlateau`] |
//! | Keras | `ExponentialDecay`, `InverseTimeDecay` | [`Exponential`], [`InverseTime`], both with `staircase` |
//! | | `PiecewiseConstantDecay` | [`Piecewise`] |
//! | | `PolynomialDecay` | [`Polynomial`] with `to` 1e-4, and `cycle` |
//! | | `CosineDecay` | [`Cosine`] with `to` = `alpha` · `lr`, [`Schedule::warmup`] |
//! | | `CosineDecayRestarts` | [`CosineRestarts`] with `to` = `alpha` · `lr`, `growth` 2 |
//! | optax | `polynomial_schedule`, `linear_schedule` | [`Polynomial`] |
//! | | `exponential_decay` | [`Exponential`] |
//! | | `cosine_decay_schedule` | [`Cosine`] with `to` = `alpha` · `lr` |
//! | | `warmup_constant_schedule` | [`Schedule::warmup`] of a constant |
//! | | `warmup_cosine_decay_schedule` | [`Schedule::warmup`] of [`Cosine`] with `steps` = `decay_steps` − warm-up |
//! | | `warmup_exponential_decay_schedule` | [`Schedule::warmup`] of [`Exponential`] |
//! | | `join_schedules`, `piecewise_constant_schedule` | [`Sequence`], of constants |
//! | papers | Transformer, inverse square root, WSD | [`Noam`], [`InverseSqrt`], [`Wsd`] |
//!
//! # Examples
//!
//! ```
//! use thalweg::schedule::{Cosine, Schedule};
//!
//! let schedule = Schedule::from(Cosine::new(0.1, 1000)).warmup(100, 0.0);
//! schedule.check()?;
//! assert_eq!(schedule.value(50), 0.05);
//! assert_eq!(schedule.value(100), 0.1);
//! assert_eq!(schedule.value(1100), 0.0);
//! # Ok::<(), thalweg::Error>(())
//! ```

mod compose;
mod cosine;
mod cyclic;
mod decay;
mod paper;
mod plateau;
mod registry;
mod shape;
mod stair;
mod twofold;

pub use compose::{Clamp, Product, Scale, Sequence, Warmup};
pub use cosine::{Cosine, CosineRestarts};
pub use cyclic::{Cyclic, Mode, OneCycle};
pub use decay::{Exponential, InverseTime, LinearRamp, Polynomial};
pub use paper::{InverseSqrt, Noam, Wsd};
pub use plateau::{Extreme, Plateau, ReduceLrOnPlateau, Threshold};
pub use registry::{Listing, factor_by_name, factors, schedule_by_name, schedules};
pub use shape::Shape;
pub use stair::{Constant, MultiStep, Piecewise, Step};

use crate::error::{Error, Result, range};

/// What every variant of [`Schedule`] can do.
trait Curve {
    /// An error that names the first setting that is out of its range.
    fn check(&self) -> Result<()>;

    /// The value at a step. Settings that fail the check must not make it panic.
    fn value(&self, step: u64) -> f64;

    /// A number that no value exceeds.
    fn bound(&self) -> f64;
}

/// One variant per type, which has its documentation.
macro_rules! schedule {
    ($($(#[$attribute:meta])* $kind:ident),* $(,)?) => {
        /// A schedule: one of the types of this module.
        ///
        /// Settings are checked by [`Schedule::check`], once, where they enter. After that every value is finite and at
        /// least 0, up to step `u64::MAX`; settings that fail it have meaningless values, though none panics.
        #[derive(Debug, Clone, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
        #[non_exhaustive]
        pub enum Schedule {
            $($(#[$attribute])* #[doc = concat!("See [`", stringify!($kind), "`].")] $kind($kind),)*
        }

        impl Schedule {
            fn curve(&self) -> &dyn Curve {
                match self { $(Self::$kind(curve) => curve,)* }
            }
        }

        $(impl From<$kind> for Schedule {
            fn from(curve: $kind) -> Self {
                Self::$kind(curve)
            }
        })*
    };
}

schedule! {
    Constant, Step, MultiStep, Piecewise, #[cfg_attr(feature = "serde", serde(rename = "linear"))] LinearRamp, Polynomial, Exponential, InverseTime, Cosine, CosineRestarts, Cyclic, OneCycle,
    Noam, InverseSqrt, Wsd, Sequence, Product, Warmup, Scale, Clamp,
}

/// A value that never changes.
impl From<f64> for Schedule {
    fn from(value: f64) -> Self {
        Constant::new(value).into()
    }
}

impl Schedule {
    /// Checks every setting, also those of the schedules inside.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] naming the first setting that is out of its range, with the path to it if it is inside
    /// another schedule (`parts[1].gamma`), or `bound` if all are in range but values could become infinite.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::schedule::{Schedule, Step};
    ///
    /// let error = Schedule::from(Step::new(0.1, 0)).check().unwrap_err();
    /// assert_eq!(error.to_string(), "steps = 0 is out of range: at least 1");
    /// ```
    pub fn check(&self) -> Result<()> {
        self.curve().check()?;
        range::require(self.bound().is_finite(), "bound", self.bound(), "finite")
    }

    /// The value at a step: 0 is the first update.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::schedule::{Schedule, Step};
    ///
    /// let schedule = Schedule::from(Step { from: 0.1, steps: 10, gamma: 0.5 });
    /// assert_eq!([schedule.value(9), schedule.value(10)], [0.1, 0.05]);
    /// ```
    pub fn value(&self, step: u64) -> f64 {
        self.curve().value(step)
    }

    /// A number that no value exceeds, not always reached.
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(thalweg::schedule::Schedule::from(0.1).scale(2.0).bound(), 0.2);
    /// ```
    pub fn bound(&self) -> f64 {
        self.curve().bound()
    }

    /// Puts a linear [`Warmup`] from `start` in front; this schedule then starts from its own step 0 after `steps`.
    ///
    /// # Examples
    ///
    /// ```
    /// let schedule = thalweg::schedule::Schedule::from(0.1).warmup(4, 0.0);
    /// assert_eq!([schedule.value(0), schedule.value(2), schedule.value(4)], [0.0, 0.05, 0.1]);
    /// ```
    pub fn warmup(self, steps: u64, start: f64) -> Self {
        Warmup { start, steps, then: Box::new(self) }.into()
    }

    /// Every value times a factor; see [`Scale`].
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(thalweg::schedule::Schedule::from(0.1).scale(3.0).value(7), 3.0 * 0.1);
    /// ```
    pub fn scale(self, factor: f64) -> Self {
        Scale { factor, of: Box::new(self) }.into()
    }

    /// Every value brought between two bounds; see [`Clamp`].
    ///
    /// # Examples
    ///
    /// ```
    /// assert_eq!(thalweg::schedule::Schedule::from(0.1).clamp(0.2, 1.0).value(7), 0.2);
    /// ```
    pub fn clamp(self, min: f64, max: f64) -> Self {
        Clamp { min, max, of: Box::new(self) }.into()
    }

    /// The product with another schedule; see [`Product`].
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::schedule::Schedule;
    ///
    /// assert_eq!(Schedule::from(0.5).times(Schedule::from(0.25)).value(7), 0.125);
    /// ```
    pub fn times(self, other: impl Into<Schedule>) -> Self {
        Product(vec![self, other.into()]).into()
    }
}

/// Stands for a value without a default that a file leaves out: a NaN that no computation gives.
const UNSET: f64 = f64::from_bits(0x7ff8_0000_7468_616c);

/// A value of a schedule: it is multiplied in double precision, so only the product has to fit single precision.
fn not_negative(field: &str, value: f64) -> Result<()> {
    if value.to_bits() == UNSET.to_bits() {
        return Err(Error::missing("a schedule", field, format!("{field} = 0.001")));
    }
    range::require(value.is_finite() && value >= 0.0, field, value, "finite and at least 0")
}

/// Numbers of steps that a schedule divides by.
fn some_steps(field: &str, steps: u64) -> Result<()> {
    range::require(steps >= 1, field, steps, "at least 1")
}

/// The fraction of `steps` that is over, at most 1.
fn fraction(step: u64, steps: u64) -> f64 {
    step.min(steps) as f64 / steps.max(1) as f64
}

/// `to + (from − to) · rest`, in the form that is exact where `rest` is 1 or 0, and never below 0 for values from 0 up.
fn between(from: f64, to: f64, rest: f64) -> f64 {
    from * rest + to * (1.0 - rest)
}
