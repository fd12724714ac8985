//! The float types that rules and CPU kernels are generic over.

use super::taps::{self, Dots, Sums, Taps};
use super::{AnyRule, Function, elementary};
use std::fmt::{Debug, Display};

/// `f32` or `f64`.
pub trait Real:
    num_traits::Float + num_traits::NumAssign + bytemuck::Pod + std::iter::Sum + Debug + Display + Default + Send + Sync
{
    /// 2 to this power is the smallest sum of a chunk's squares that is exact to the last bit. Squares below the normal range
    /// lose digits, or a device takes them for 0; from this sum on, that is less than half of its last bit.
    #[doc(hidden)]
    const TINY: i32;

    /// Powers of two that multiply the elements: the first where the sum of squares is infinite, the second where it is tiny.
    #[doc(hidden)]
    const RESCALE: [i32; 2];

    /// The nearest value to `value`.
    fn of(value: f64) -> Self;

    /// The same value in double precision.
    fn as_f64(self) -> f64;

    /// `y = f(x)`, element by element.
    #[doc(hidden)]
    fn function(f: Function, x: &[Self], y: &mut [Self]);

    /// The sums of [`Taps`], into y.
    #[doc(hidden)]
    fn taps(taps: Taps<'_, Self>, y: &mut [Self]);

    /// The sums of [`Dots`].
    #[doc(hidden)]
    fn dots(dots: Dots<'_, Self>) -> Sums<Self>;

    /// Runs `rule` over slices of this type; see [`AnyRule`].
    #[doc(hidden)]
    fn sweep(rule: &dyn AnyRule, row: &[Self], x: &mut [Self], g: &[Self], planes: &mut [&mut [Self]]);

    /// [`Real::sweep`] with the first planes in bfloat16, if there is a loop for that; see [`AnyRule`].
    #[doc(hidden)]
    fn sweep_bf16(
        rule: &dyn AnyRule,
        row: &[Self],
        x: &mut [Self],
        g: &[Self],
        planes: &mut [&mut [u16]],
        place: usize,
    ) -> bool;

    /// [`Rule::trust`](super::Rule::trust) in this type, with a full row.
    #[doc(hidden)]
    fn trust(rule: &dyn AnyRule, row: &[Self], norms: [Self; 2], len: Self, memory: &mut Self) -> Self;

    /// The parameters to evaluate with, over slices of this type; see [`AnyRule`].
    #[doc(hidden)]
    fn eval(rule: &dyn AnyRule, x: &mut [Self], planes: &[&[Self]]);
}

macro_rules! real {
    ($float:ty, $tiny:expr, $rescale:expr, $function:path, $taps:path, $dots:path, $sweep:ident, $sweep_bf16:path, $trust:ident, $eval:ident) => {
        impl Real for $float {
            const TINY: i32 = $tiny;
            const RESCALE: [i32; 2] = $rescale;

            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $float
            }

            #[inline(always)]
            fn as_f64(self) -> f64 {
                f64::from(self)
            }

            fn function(f: Function, x: &[Self], y: &mut [Self]) {
                $function(f, x, y)
            }

            fn taps(taps: Taps<'_, Self>, y: &mut [Self]) {
                $taps(taps, y)
            }

            fn dots(dots: Dots<'_, Self>) -> Sums<Self> {
                $dots(dots)
            }

            fn sweep(rule: &dyn AnyRule, row: &[Self], x: &mut [Self], g: &[Self], planes: &mut [&mut [Self]]) {
                rule.$sweep(row, x, g, planes)
            }

            fn sweep_bf16(
                rule: &dyn AnyRule,
                row: &[Self],
                x: &mut [Self],
                g: &[Self],
                planes: &mut [&mut [u16]],
                place: usize,
            ) -> bool {
                $sweep_bf16(rule, row, x, g, planes, place)
            }

            fn trust(rule: &dyn AnyRule, row: &[Self], norms: [Self; 2], len: Self, memory: &mut Self) -> Self {
                rule.$trust(row, norms, len, memory)
            }

            fn eval(rule: &dyn AnyRule, x: &mut [Self], planes: &[&[Self]]) {
                rule.$eval(x, planes)
            }
        }
    };
}

fn sweep_bf16(rule: &dyn AnyRule, row: &[f32], x: &mut [f32], g: &[f32], planes: &mut [&mut [u16]], place: usize) -> bool {
    rule.sweep_bf16(row, x, g, planes, place)
}

/// The oracle need not be fast.
fn no_sweep_bf16(_: &dyn AnyRule, _: &[f64], _: &mut [f64], _: &[f64], _: &mut [&mut [u16]], _: usize) -> bool {
    false
}

real!(f32, -91, [-80, 100], elementary::single, taps::taps, taps::dots, sweep_f32, sweep_bf16, trust_f32, eval_f32);
real!(
    f64,
    -958,
    [-640, 700],
    elementary::double,
    taps::plain_taps,
    taps::plain_dots,
    sweep_f64,
    no_sweep_bf16,
    trust_f64,
    eval_f64
);

/// An array whose length is known to the compiler: a row of scalars, or the state of one element.
pub trait Floats<F>: Copy + Send + Sync + AsRef<[F]> {
    /// The length.
    const LEN: usize;

    /// The array of `f(0)`, `f(1)`, …
    fn from_fn(f: impl FnMut(usize) -> F) -> Self;
}

impl<F: Real, const N: usize> Floats<F> for [F; N] {
    const LEN: usize = N;

    #[inline(always)]
    fn from_fn(f: impl FnMut(usize) -> F) -> Self {
        std::array::from_fn(f)
    }
}
