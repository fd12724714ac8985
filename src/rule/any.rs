//! Rules behind one object-safe face, for engines and for choosing a rule by name.

use super::sweep::{eval, sweep, sweep_bf16};
use super::{BoundsChecks, Decay, Floats, Layerwise, Orthogonal, Real, Rounding, Rule, Settings};
use crate::error::Result;
use std::fmt::Debug;

/// The scalars of one step of one (lane, group), as every engine lays them out: what all rules share, then the rule's own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HyperRow(pub [f64; HyperRow::LEN]);

impl HyperRow {
    /// Scalars in a row.
    pub const LEN: usize = 32;
    /// Names of the scalars that all rules share; they come first. `live` is 0 where a step is skipped, `max_norm` bounds the
    /// gradient's global norm, `max_value` each element of it; both are infinite where there is no bound.
    pub const SHARED: [&str; 12] =
        ["live", "scale", "l2", "decay", "max_norm", "max_value", "l1", "average", "sync", "start", "max_tensor", "noise"];
    /// Position of `live`.
    pub const LIVE: usize = 0;
    /// Position of `scale`.
    pub const SCALE: usize = 1;
    /// Position of `l2`.
    pub const L2: usize = 2;
    /// Position of `decay`.
    pub const DECAY: usize = 3;
    /// Position of `max_norm`.
    pub const MAX_NORM: usize = 4;
    /// Position of `max_value`.
    pub const MAX_VALUE: usize = 5;
    /// Position of `l1`.
    pub const L1: usize = 6;
    /// Position of `average`: the rate of the parameters' average.
    pub const AVERAGE: usize = 7;
    /// Position of `sync`: the rate of the slow weights, 0 where they wait.
    pub const SYNC: usize = 8;
    /// Position of `start`: 1 at the first step, else 0.
    pub const START: usize = 9;
    /// Position of `max_tensor`: bounds the norm of each tensor's gradient.
    pub const MAX_TENSOR: usize = 10;
    /// Position of `noise`: a whole number below 2²⁴, the step's key of the random numbers by which planes are rounded.
    pub const NOISE: usize = 11;
}

/// Any [`Rule`]; implemented for all of them, and for nothing else.
pub trait AnyRule: Debug + Send + Sync + sealed::Sealed {
    /// [`Rule::NAME`].
    fn name(&self) -> &'static str;
    /// [`Rule::FORMULA`].
    fn formula(&self) -> &'static str;
    /// [`Rule::WGSL`].
    fn wgsl(&self) -> &'static str;
    /// [`Rule::BOUNDS_CHECKS`].
    fn bounds_checks(&self) -> BoundsChecks;
    /// [`Rule::HYPER`].
    fn hyper_names(&self) -> &'static [&'static str];
    /// [`Rule::STATE`].
    fn state_names(&self) -> &'static [&'static str];
    /// Indices into [`AnyRule::state_names`] of the planes that these settings use.
    fn planes(&self) -> Vec<usize>;
    /// [`Rule::overrides`].
    fn overrides(&self) -> Vec<(&'static str, bool)>;
    /// [`Rule::initial`] of the plane at this index into the state names.
    fn initial(&self, plane: usize) -> f64;
    /// [`Rule::rounding`] of the plane at this index into the state names.
    fn rounding(&self, plane: usize) -> Option<Rounding>;
    /// [`Rule::INITIAL`].
    fn initial_settings(&self) -> &'static [&'static str];
    /// [`Rule::LAYERWISE`].
    fn layerwise(&self) -> Layerwise;
    /// [`Rule::orthogonal`].
    fn orthogonal(&self) -> Option<Orthogonal>;
    /// [`Rule::FACTORED`].
    fn factored(&self) -> bool;
    /// [`Rule::SHIFTS`].
    fn shifts(&self) -> bool;
    /// [`Rule::AVERAGES`].
    fn averages(&self) -> bool;
    /// [`Rule::trust`] with a full row.
    fn trust_f32(&self, row: &[f32], norms: [f32; 2], len: f32, memory: &mut f32) -> f32;
    /// [`AnyRule::trust_f32`] in double precision.
    fn trust_f64(&self, row: &[f64], norms: [f64; 2], len: f64, memory: &mut f64) -> f64;
    /// [`Rule::check`].
    fn check(&self) -> Result<()>;
    /// [`Rule::lr`].
    fn lr(&self) -> f64;
    /// [`Configure::settings`](super::Configure::settings).
    fn settings(&mut self) -> Settings<'_>;
    /// The full row of the `t`-th applied step, shared scalars first; no bounds on the gradient, no L1 penalty.
    fn hyper_row(&self, t: u64) -> HyperRow;
    /// A copy in a box of its own.
    fn boxed(&self) -> Box<dyn AnyRule>;
    /// One step over slices; `planes` holds the used planes in order.
    fn sweep_f32(&self, row: &[f32], x: &mut [f32], g: &[f32], planes: &mut [&mut [f32]]);
    /// [`AnyRule::sweep_f32`] in double precision.
    fn sweep_f64(&self, row: &[f64], x: &mut [f64], g: &[f64], planes: &mut [&mut [f64]]);
    /// [`AnyRule::sweep_f32`] with the first planes in bfloat16 and no others in use, if there is a loop for that. `place` is
    /// that of the first element in the order of sums, from which random numbers follow.
    fn sweep_bf16(&self, row: &[f32], x: &mut [f32], g: &[f32], planes: &mut [&mut [u16]], place: usize) -> bool;
    /// [`Rule::eval`] over slices, in place; `planes` holds the used planes in order.
    fn eval_f32(&self, x: &mut [f32], planes: &[&[f32]]);
    /// [`AnyRule::eval_f32`] in double precision.
    fn eval_f64(&self, x: &mut [f64], planes: &[&[f64]]);
}

mod sealed {
    pub trait Sealed {}
    impl<R: super::Rule> Sealed for R {}
}

impl<R: Rule> AnyRule for R {
    fn name(&self) -> &'static str {
        R::NAME
    }

    fn formula(&self) -> &'static str {
        R::FORMULA
    }

    fn wgsl(&self) -> &'static str {
        R::WGSL
    }

    fn bounds_checks(&self) -> BoundsChecks {
        R::BOUNDS_CHECKS
    }

    fn hyper_names(&self) -> &'static [&'static str] {
        R::HYPER
    }

    fn state_names(&self) -> &'static [&'static str] {
        R::STATE
    }

    fn planes(&self) -> Vec<usize> {
        (0..R::STATE.len()).filter(|&plane| Rule::uses(self, plane)).collect()
    }

    fn overrides(&self) -> Vec<(&'static str, bool)> {
        Rule::overrides(self)
    }

    fn initial(&self, plane: usize) -> f64 {
        Rule::initial(self, plane)
    }

    fn rounding(&self, plane: usize) -> Option<Rounding> {
        Rule::rounding(self, plane)
    }

    fn initial_settings(&self) -> &'static [&'static str] {
        R::INITIAL
    }

    fn layerwise(&self) -> Layerwise {
        R::LAYERWISE
    }

    fn orthogonal(&self) -> Option<Orthogonal> {
        Rule::orthogonal(self)
    }

    fn factored(&self) -> bool {
        R::FACTORED
    }

    fn shifts(&self) -> bool {
        R::SHIFTS
    }

    fn averages(&self) -> bool {
        R::AVERAGES
    }

    fn trust_f32(&self, row: &[f32], norms: [f32; 2], len: f32, memory: &mut f32) -> f32 {
        Rule::trust(self, &own(row), norms, len, memory)
    }

    fn trust_f64(&self, row: &[f64], norms: [f64; 2], len: f64, memory: &mut f64) -> f64 {
        Rule::trust(self, &own(row), norms, len, memory)
    }

    fn check(&self) -> Result<()> {
        Rule::check(self)
    }

    fn lr(&self) -> f64 {
        Rule::lr(self)
    }

    fn settings(&mut self) -> Settings<'_> {
        super::Configure::settings(self)
    }

    fn hyper_row(&self, t: u64) -> HyperRow {
        const { assert!(R::Hyper::<f64>::LEN == R::HYPER.len() && R::HYPER.len() <= HyperRow::LEN - HyperRow::SHARED.len()) }
        const { assert!(R::State::<f64>::LEN == R::STATE.len() && R::STATE.len() <= super::sweep::MAX_PLANES) }
        let scale = if self.maximize() { -1.0 } else { 1.0 };
        let (l2, decay) = match self.decay() {
            Decay::Coupled(lambda) => (lambda, 1.0),
            Decay::Decoupled(lambda) => (0.0, 1.0 - self.lr() * lambda),
            Decay::Independent(lambda) => (0.0, 1.0 - lambda),
        };
        let own = self.hyper(t);
        let shared: [f64; HyperRow::SHARED.len()] = [
            1.0,
            scale,
            l2,
            decay,
            f64::INFINITY,
            f64::INFINITY,
            0.0,
            0.0,
            0.0,
            f64::from(u8::from(t == 1)),
            f64::INFINITY,
            0.0,
        ];
        HyperRow(std::array::from_fn(|i| match i.checked_sub(shared.len()) {
            None => shared[i],
            Some(i) => own.as_ref().get(i).copied().unwrap_or(0.0),
        }))
    }

    fn boxed(&self) -> Box<dyn AnyRule> {
        Box::new(self.clone())
    }

    fn sweep_f32(&self, row: &[f32], x: &mut [f32], g: &[f32], planes: &mut [&mut [f32]]) {
        sweep(self, row, x, g, planes)
    }

    fn sweep_f64(&self, row: &[f64], x: &mut [f64], g: &[f64], planes: &mut [&mut [f64]]) {
        sweep(self, row, x, g, planes)
    }

    fn sweep_bf16(&self, row: &[f32], x: &mut [f32], g: &[f32], planes: &mut [&mut [u16]], place: usize) -> bool {
        sweep_bf16(self, row, x, g, planes, place)
    }

    fn eval_f32(&self, x: &mut [f32], planes: &[&[f32]]) {
        eval(self, x, planes)
    }

    fn eval_f64(&self, x: &mut [f64], planes: &[&[f64]]) {
        eval(self, x, planes)
    }
}

/// The rule's own part of a full row.
pub(super) fn own<F: Real, R: Floats<F>>(row: &[F]) -> R {
    R::from_fn(|i| row[HyperRow::SHARED.len() + i])
}

impl Clone for Box<dyn AnyRule> {
    fn clone(&self) -> Self {
        (**self).boxed()
    }
}
