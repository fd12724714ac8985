//! The contract of an update rule.
//!
//! A rule is a pure function of one parameter `x`, its gradient `d`, its state and a row of scalars. It is written twice,
//! under the same names: in Rust, generic over the float type (`f32` is the fast CPU path, `f64` the oracle), and in WGSL.
//! Everything around it (loading and storing, gradient scale, weight decay, skipping) belongs to the engines.
//!
//! What every rule shares happens before it, on both engines alike:
//!
//! ```text
//! g = clamp(scale · g, ±max_value)    scale: −1 if maximising, times the clip coefficient, over the loss scale
//! d = g + l2 · x + l1 · sign(x)
//! x = decay · x                       decay = 1 − lr · λ for decoupled weight decay, 1 − λ for independent, else 1
//! x = rule(x, d, state, row)
//! ```

mod any;
pub(crate) mod bf16;
mod bounds_checks;
mod careful;
mod elementary;
mod memory;
mod orthogonal;
mod real;
mod sweep;
mod table;
mod taps;

pub use any::{AnyRule, HyperRow};
pub use bounds_checks::BoundsChecks;
pub(crate) use careful::{bias_correction, larger, smaller, toward};
pub use elementary::Function;
pub use memory::Memory;
pub use orthogonal::{AdjustLr, Orthogonal};
pub use real::{Floats, Real};
pub(crate) use sweep::sign;
pub(crate) use taps::{BEHIND, Dots, ROWS, Taps};

use crate::error::{Error, Result};
use crate::text::Text;
use smallvec::SmallVec;
use std::fmt::Debug;

/// Where a rule's weight decay λ enters.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Decay {
    /// `d = g + λ·x`: an L2 penalty that passes through the moments.
    Coupled(f64),
    /// `x = (1 − lr·λ)·x` before the step, with the current learning rate.
    Decoupled(f64),
    /// `x = (1 − λ)·x` before the step, whatever the learning rate.
    Independent(f64),
}

/// One setting of a rule, as it is found under its name.
#[derive(Debug)]
pub enum Setting<'a> {
    /// A number.
    Number(&'a mut f64),
    /// A switch.
    Flag(&'a mut bool),
    /// What is recorded into plans: lanes share it, and no schedule changes it.
    Fixed(&'a mut dyn Text),
}

impl Setting<'_> {
    /// The setting as text.
    pub fn text(&mut self) -> &mut dyn Text {
        match self {
            Self::Number(number) => *number,
            Self::Flag(flag) => *flag,
            Self::Fixed(value) => *value,
        }
    }
}

/// A rule's settings by name. The list has room for those of every rule on the stack, so following a schedule allocates
/// nothing.
pub type Settings<'a> = SmallVec<[(&'static str, Setting<'a>); 24]>;

/// The settings of a rule under their names. [`settings!`](crate::settings) makes it from a table.
pub trait Configure {
    /// Checks each setting by itself.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first setting that is out of its range.
    fn check_ranges(&self) -> Result<()>;

    /// All settings by name. A pair like Adam's betas appears as `beta1` and `beta2`.
    fn settings(&mut self) -> Settings<'_>;
}

/// Whether a rule needs norms of each tensor, besides its own elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Layerwise {
    /// It does not.
    #[default]
    No,
    /// Before its update: `d` is multiplied by [`Rule::trust`] of the norms of gradient and parameters.
    Before,
    /// Between direction and step: [`Rule::update`] returns a direction u and leaves x alone, and the step is
    /// `x = decay·x − trust·u`, with [`Rule::trust`] of the norms of u and x.
    After,
}

/// How a number is rounded to fewer bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rounding {
    /// To the nearest, ties to even.
    Nearest,
    /// Up or down at random: the nearer a neighbour is, the more likely it is taken, so that the mean over many roundings is
    /// the number itself. The random numbers follow from step, plane and place, so every run has the same ones.
    Stochastic,
}

/// An element-wise update rule: plain settings plus the function they parametrise.
///
/// The WGSL half declares `struct Hyper` with the fields [`Rule::HYPER`], `struct State` with the fields [`Rule::STATE`], and
/// `fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T`, where `T` is a float or a vector of floats that the engine
/// chooses. Zero must be a fixed point: a zero parameter with a zero gradient stays zero, since arenas are padded with zeros.
///
/// # Examples
///
/// A rule made outside the crate, which moves against the gradient's sign:
///
/// ```
/// use thalweg::{Real, Rule, settings};
///
/// settings! {
///     /// Moves against the gradient's sign.
///     pub struct SignSgd {
///         /// Learning rate.
///         number lr = 1e-3, not_negative;
///     }
/// }
///
/// impl Rule for SignSgd {
///     type Hyper<F: Real> = [F; 1];
///     type State<F: Real> = [F; 0];
///     const NAME: &'static str = "signsgd";
///     const FORMULA: &'static str = "x −= lr·sign(d)";
///     const HYPER: &'static [&'static str] = &["lr"];
///     const STATE: &'static [&'static str] = &[];
///     const WGSL: &'static str = "
///         struct Hyper { lr: f32 }
///         struct State { none: f32 }
///         fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T { return x - h.lr * sign(d); }";
///
///     fn lr(&self) -> f64 { self.lr }
///     fn hyper(&self, _t: u64) -> [f64; 1] { [self.lr] }
///     fn update<F: Real>(&self, &[lr]: &[F; 1], x: F, d: F, _s: &mut [F; 0]) -> F {
///         let sign = if d > F::zero() { F::one() } else if d < F::zero() { -F::one() } else { F::zero() };
///         x - lr * sign
///     }
/// }
///
/// let mut tuned = SignSgd { lr: 0.1 };
/// thalweg::set(&mut tuned, "lr", "0.5")?;
/// assert_eq!(tuned.lr, 0.5);
/// # Ok::<(), thalweg::Error>(())
/// ```
///
/// A rule is cloned for each part of a step, so it should be plain numbers and flags: a list in it would be allocated each time.
/// Mark `update`, `uses` and `rounding` with `#[inline]`: then the loop over elements has nothing in it that does not depend on
/// the element.
pub trait Rule: Configure + Debug + Clone + Send + Sync + 'static {
    /// The scalars of one step: an array of as many floats as [`Rule::HYPER`] names, at most 20.
    type Hyper<F: Real>: Floats<F>;
    /// The state of one element: an array of as many floats as [`Rule::STATE`] names, at most 4.
    type State<F: Real>: Floats<F>;
    /// The rule's name on the command line and in errors.
    const NAME: &'static str;
    /// What it computes, in one line for people.
    const FORMULA: &'static str;
    /// The WGSL half.
    const WGSL: &'static str;
    /// Names of the row's scalars, in order; the fields of `struct Hyper` in WGSL.
    const HYPER: &'static [&'static str];
    /// Names of the state planes, in order; the fields of `struct State` in WGSL (one unused field if there are none).
    const STATE: &'static [&'static str];

    /// Whether kernels with its WGSL are compiled with bounds checks. Default: they are. A rule that reads and writes nothing
    /// but what it is given is about a fifth faster without, and its author can say so by `unsafe { BoundsChecks::off() }`.
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::ON;

    /// Settings that only [`Rule::initial`] uses. Once a run has started, changing them would do nothing, so no schedule and no
    /// [`Optimizer::set`](crate::Optimizer::set) may. Default: none.
    const INITIAL: &'static [&'static str] = &[];

    /// Whether it needs norms of each tensor. Default: no.
    const LAYERWISE: Layerwise = Layerwise::No;

    /// Whether the plane `v`, the only one, is a running mean of squares that matrices keep as means of rows and of columns:
    /// see [`Factored`](crate::plan::Factored). The row then starts with the rate of the mean and the smallest divisor. In WGSL
    /// `FACTORED` tells the rule to leave v alone; in Rust the rate is then 0. Such a rule takes two passes. Default: no.
    const FACTORED: bool = false;

    /// Whether the step does not depend on where x is: `rule(x, d) = x + rule(0, d)`. Cautious updates need it. Default: yes.
    const SHIFTS: bool = true;

    /// Whether [`Rule::eval`] is another point than the parameters, which no other average may then disturb. Default: no.
    const AVERAGES: bool = false;

    /// How directions are made orthogonal between direction and step; for rules that are layerwise [`After`](Layerwise::After),
    /// which then take matrices alone. Default: not at all.
    fn orthogonal(&self) -> Option<Orthogonal> {
        None
    }

    /// Checks every setting, and whether they fit together. Default: each by itself.
    ///
    /// # Errors
    /// [`Error::Setting`] naming the first setting that is out of its range.
    fn check(&self) -> Result<()> {
        self.check_ranges()
    }

    /// The learning rate.
    fn lr(&self) -> f64;

    /// Weight decay. Default: none.
    fn decay(&self) -> Decay {
        Decay::Coupled(0.0)
    }

    /// Whether the gradient is negated first. Default: no.
    fn maximize(&self) -> bool {
        false
    }

    /// Whether these settings need the given plane of [`Rule::STATE`]; one that is not needed is neither stored nor loaded.
    #[inline]
    fn uses(&self, _plane: usize) -> bool {
        true
    }

    /// What a plane holds before the first step. Default: 0.
    fn initial(&self, _plane: usize) -> f64 {
        0.0
    }

    /// How a plane of [`Rule::STATE`] is rounded where it is kept in 16 bits ([`Recipe::state`](crate::Recipe::state)); `None`
    /// where it needs all its bits. A running mean whose rate is below 0.004, half a unit in the last place of bfloat16, has to
    /// be rounded at random: rounded to the nearest it would stand still. Default: it needs all its bits.
    fn rounding(&self, _plane: usize) -> Option<Rounding> {
        None
    }

    /// Values of the WGSL half's `override` switches, fixed when the pipeline is made.
    fn overrides(&self) -> Vec<(&'static str, bool)> {
        Vec::new()
    }

    /// The scalars of the `t`-th applied step (t = 1, 2, …), computed in f64 and rounded once.
    fn hyper(&self, t: u64) -> Self::Hyper<f64>;

    /// The factor of a tensor of `len` elements, from the norms of its gradient (or direction) and its parameters. `memory` is
    /// a number that the tensor keeps from step to step, 0 at first. In WGSL `fn trust(a: f32, b: f32, len: f32, memory:
    /// ptr<function, f32>, h: Hyper) -> f32`. Default: 1.
    fn trust<F: Real>(&self, _row: &Self::Hyper<F>, _norms: [F; 2], _len: F, _memory: &mut F) -> F {
        F::one()
    }

    /// The new parameter; the state is changed in place.
    fn update<F: Real>(&self, row: &Self::Hyper<F>, x: F, d: F, state: &mut Self::State<F>) -> F;

    /// The parameter to evaluate with, where that is not the one at which gradients are taken. Default: the parameter itself.
    fn eval<F: Real>(&self, x: F, _state: &Self::State<F>) -> F {
        x
    }
}

/// Sets one setting of a rule from text: a number, a word, or `true` or `false` for a switch.
///
/// # Errors
/// [`Error::Unknown`] listing the rule's settings, or [`Error::Setting`] if the text is not a value of the right kind.
///
/// # Examples
///
/// ```
/// let mut adam = thalweg::Adam::default();
/// thalweg::set(&mut adam, "amsgrad", "true")?;
/// assert!(adam.amsgrad);
/// assert!(thalweg::set(&mut adam, "momentum", "0.9").is_err());
/// # Ok::<(), thalweg::Error>(())
/// ```
pub fn set(rule: &mut (impl AnyRule + ?Sized), name: &str, text: &str) -> Result<()> {
    let mut settings = rule.settings();
    let known: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
    let Some((_, setting)) = settings.iter_mut().find(|(known, _)| *known == name) else {
        return Err(Error::unknown("setting", name, &known));
    };
    setting.text().read(text).map_err(|allowed| Error::setting(name, text, allowed))
}
