//! Reductions on the CPU: of chunks, and of chunks among each other.

use super::{CHUNK, Reduction};
use crate::rule::{Function, Real};
use smallvec::SmallVec;

/// What is known of some elements: how many they are, and two numbers that the reduction says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<F> {
    count: usize,
    /// Sum; largest; largest; largest; mean.
    a: F,
    /// None; none; its place; Σ e^(x − largest); squared deviations.
    b: F,
}

/// A chunk of a row that begins at element `first`.
#[inline(always)]
pub(super) fn of_row<F: Real>(reduction: Reduction, x: &[F], first: usize) -> Part<F> {
    let count = x.len();
    let (a, b) = match reduction {
        Reduction::Sum => (sum(x, |x| x), F::zero()),
        Reduction::Max => (largest(x), F::zero()),
        Reduction::FirstMax => {
            let largest = largest(x);
            let place = x.iter().position(|&x| x == largest || x.is_nan()).unwrap_or(0);
            (largest, F::of((first + place) as f64))
        }
        Reduction::LogSumExp => {
            let largest = largest(x);
            (largest, exponentials(x, shift(largest)))
        }
        Reduction::Moments => {
            let mean = sum(x, |x| x) / F::of(count.max(1) as f64);
            (mean, sum(x, |x| (x - mean) * (x - mean)))
        }
    };
    Part { count, a, b }
}

/// Running sums side by side, which a processor adds up together; then those among each other.
#[inline(always)]
fn sum<F: Real>(x: &[F], f: impl Fn(F) -> F) -> F {
    const SIDE: usize = 16;
    let mut sums = [F::zero(); SIDE];
    let (groups, rest) = x.as_chunks::<SIDE>();
    for group in groups {
        sums.iter_mut().zip(group).for_each(|(sum, &x)| *sum += f(x));
    }
    sums.iter_mut().zip(rest).for_each(|(sum, &x)| *sum += f(x));
    let mut width = SIDE / 2;
    while width > 0 {
        for i in 0..width {
            sums[i] += sums[i + width];
        }
        width /= 2;
    }
    sums[0]
}

/// NaN if there is one.
#[inline(always)]
fn largest<F: Real>(x: &[F]) -> F {
    let (mut largest, mut nan) = (F::neg_infinity(), false);
    for &x in x {
        nan |= x.is_nan();
        largest = if x > largest { x } else { largest };
    }
    if nan { F::nan() } else { largest }
}

/// What exponents are counted from: infinities have no distance to themselves.
#[inline(always)]
fn shift<F: Real>(largest: F) -> F {
    if largest.is_infinite() { F::zero() } else { largest }
}

/// Σ e^(x − shift).
#[inline(always)]
fn exponentials<F: Real>(x: &[F], shift: F) -> F {
    let (mut moved, mut powers) = ([F::zero(); CHUNK], [F::zero(); CHUNK]);
    let (moved, powers) = (&mut moved[..x.len()], &mut powers[..x.len()]);
    moved.iter_mut().zip(x).for_each(|(moved, &x)| *moved = x - shift);
    F::function(Function::Exp, moved, powers);
    sum(powers, |x| x)
}

fn exp<F: Real>(x: F) -> F {
    let mut power = [x];
    F::function(Function::Exp, &[x], &mut power);
    power[0]
}

/// Two neighbouring parts as one.
fn joined<F: Real>(reduction: Reduction, left: Part<F>, right: Part<F>) -> Part<F> {
    let count = left.count + right.count;
    let larger = |a: F, b: F| if b > a || b.is_nan() { b } else { a };
    let (a, b) = match reduction {
        Reduction::Sum => (left.a + right.a, F::zero()),
        Reduction::Max => (if left.a.is_nan() { left.a } else { larger(left.a, right.a) }, F::zero()),
        Reduction::FirstMax if left.a.is_nan() || !(right.a > left.a || right.a.is_nan()) => (left.a, left.b),
        Reduction::FirstMax => (right.a, right.b),
        Reduction::LogSumExp => {
            let a = if left.a.is_nan() { left.a } else { larger(left.a, right.a) };
            let scaled = |part: Part<F>| part.b * exp(shift(part.a) - shift(a));
            (
                a,
                if a.is_infinite() {
                    left.b + right.b
                } else {
                    scaled_unless_low(left, scaled) + scaled_unless_low(right, scaled)
                },
            )
        }
        Reduction::Moments => {
            let [n, of_left, of_right] = [count, left.count, right.count].map(|count| F::of(count as f64));
            let step = right.a - left.a;
            (left.a + step * (of_right / n), left.b + right.b + step * step * (of_left * of_right / n))
        }
    };
    Part { count, a, b }
}

/// Nothing of a part in which all is −∞.
fn scaled_unless_low<F: Real>(part: Part<F>, scaled: impl Fn(Part<F>) -> F) -> F {
    if part.a == F::neg_infinity() { F::zero() } else { scaled(part) }
}

/// Joins parts in a fixed tree: neighbours, then neighbours of these, and so on; what is left over at the end.
#[derive(Debug, Clone)]
pub(super) struct Tree<F> {
    reduction: Reduction,
    /// Parts of more and more chunks, a power of two each, the largest first; with the power.
    parts: SmallVec<[(u32, Part<F>); 16]>,
}

impl<F: Real> Tree<F> {
    pub(super) fn new(reduction: Reduction) -> Self {
        Self { reduction, parts: SmallVec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.parts.clear();
    }

    pub(super) fn push(&mut self, part: Part<F>) {
        let (mut power, mut part) = (0, part);
        while let Some(&(before, left)) = self.parts.last().filter(|(before, _)| *before == power) {
            self.parts.pop();
            (power, part) = (before + 1, joined(self.reduction, left, part));
        }
        self.parts.push((power, part));
    }

    /// All parts as one; nothing if there are none.
    pub(super) fn all(&self) -> Option<Part<F>> {
        let parts = self.parts.iter().rev().map(|&(_, part)| part);
        parts.reduce(|right, left| joined(self.reduction, left, right))
    }
}

/// The numbers that a reduction gives; the second only where there are two.
pub(super) fn results<F: Real>(reduction: Reduction, all: Option<Part<F>>) -> [F; 2] {
    match (all, reduction) {
        (None, Reduction::Sum) => [F::zero(); 2],
        (None, Reduction::Max | Reduction::LogSumExp) => [F::neg_infinity(), F::zero()],
        (None, Reduction::FirstMax | Reduction::Moments) => [F::nan(), F::zero()],
        (Some(part), Reduction::FirstMax) => [part.b, F::zero()],
        (Some(part), Reduction::LogSumExp) if part.a.is_infinite() => [part.a, F::zero()],
        (Some(part), Reduction::LogSumExp) => [part.a, logarithm(part.b)],
        (Some(part), Reduction::Sum | Reduction::Max | Reduction::Moments) => [part.a, part.b],
    }
}

fn logarithm<F: Real>(x: F) -> F {
    let mut value = [x];
    F::function(Function::Ln, &[x], &mut value);
    value[0]
}
