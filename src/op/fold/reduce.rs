//! Reductions on the CPU: of chunks, and of chunks among each other.

use super::{CHUNK, Reduction};
use crate::rule::{Function, Real};
use smallvec::SmallVec;
use std::ops::Range;

/// What is known of some elements: how many they are, and two numbers. What these are depends on the [`Reduction`]; they are
/// listed in the order of its variants.
#[derive(Debug, Clone, Copy)]
pub(super) struct Partial<F> {
    count: usize,
    /// Sum; largest; largest; largest; mean.
    a: F,
    /// None; none; its place; Σ e^(x − largest); squared deviations.
    b: F,
}

/// Elements that are reduced side by side, which a processor does together.
pub(super) const SIDE: usize = 16;

#[inline(always)]
fn of_row<F: Real>(reduction: Reduction, x: &[F], first: usize) -> Partial<F> {
    let count = x.len();
    let (a, b) = match reduction {
        Reduction::Sum => (sum(x, F::zero(), |x| x), F::zero()),
        Reduction::Max => (largest(x), F::zero()),
        Reduction::FirstMax => {
            let largest = largest(x);
            (largest, F::of((first + place(x, largest)) as f64))
        }
        Reduction::LogSumExp => {
            let largest = largest(x);
            (largest, exponentials(x, shift(largest)))
        }
        Reduction::Moments => {
            let mean = sum(x, F::zero(), |x| x) / F::of(count.max(1) as f64);
            (mean, sum(x, mean, |x| (x - mean) * (x - mean)))
        }
    };
    Partial { count, a, b }
}

/// Rows of `folded` elements, together at most a chunk; the results are written from the row `first` on.
pub(super) fn of_rows<F: Real>(reduction: Reduction, x: &[F], folded: usize, outputs: &mut [&mut [F]], first: usize) {
    pulp::Arch::new().dispatch(Rows { reduction, x, folded, outputs, first });
}

/// A struct for pulp: the compiler may turn a closure into a separate function, which would have no vector instructions.
struct Rows<'a, 'o, F> {
    reduction: Reduction,
    x: &'a [F],
    folded: usize,
    outputs: &'a mut [&'o mut [F]],
    first: usize,
}

impl<F: Real> pulp::WithSimd for Rows<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Self { reduction, x, folded, outputs, first } = self;
        if let (Reduction::LogSumExp, [of_largest, of_rest]) = (reduction, &mut *outputs) {
            let rows = first..first + x.len() / folded;
            return log_sum_exp_of_rows(x, folded, [&mut of_largest[rows.clone()], &mut of_rest[rows]]);
        }
        for (row, x) in x.chunks_exact(folded).enumerate() {
            let numbers = results(reduction, Some(of_row(reduction, x, 0)));
            outputs.iter_mut().zip(numbers).for_each(|(output, number)| output[first + row] = number);
        }
    }
}

/// Rows of at most [`SIDE`] elements that lie side by side: a line for each element. What was reduced goes to these `rows` of
/// the outputs, which are as many. The bits are those of one row after the other.
pub(super) struct ShortRows<'a, 'o, F> {
    pub reduction: Reduction,
    /// They are overwritten.
    pub lines: &'a mut [F],
    /// Memory for as many lines, and for at least two.
    pub spare: &'a mut [F],
    pub outputs: &'a mut [&'o mut [F]],
    pub rows: Range<usize>,
}

impl<F: Real> ShortRows<'_, '_, F> {
    pub fn reduce(self) {
        pulp::Arch::new().dispatch(self);
    }
}

impl<F: Real> pulp::WithSimd for ShortRows<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Self { reduction, lines, spare, outputs, rows } = self;
        let (width, mut outputs) = (rows.len(), outputs.iter_mut().map(|output| &mut output[rows.clone()]));
        let (Some(first), second) = (outputs.next(), outputs.next().unwrap_or_default()) else { return };
        match reduction {
            Reduction::Sum => first.copy_from_slice(sum_lines(lines, width)),
            Reduction::Max => first.copy_from_slice(join_lines(lines, width, keep)),
            Reduction::FirstMax => first.copy_from_slice(first_places(lines, spare, width)),
            Reduction::LogSumExp => log_sum_exp_of_lines(lines, spare, [first, second]),
            Reduction::Moments => moments_of_lines(lines, spare, [first, second]),
        }
    }
}

/// Joins lines with those that lie half the tree's width behind them, and so on, into the first one. As [`tree`]: lines that
/// are missing would change nothing, since they hold 0 in sums, and −∞ among the largest.
///
/// Loops over whole lines of any length are turned into vector instructions; those over a fixed number of elements, which the
/// compiler unrolls, are not.
#[inline(always)]
fn join_lines<F: Real>(lines: &mut [F], width: usize, join: impl Fn(F, F) -> F) -> &mut [F] {
    let (mut count, mut half) = (lines.len() / width, SIDE / 2);
    while half > 0 {
        if count > half {
            let (low, high) = lines.split_at_mut(half * width);
            low.iter_mut().zip(&high[..(count - half) * width]).for_each(|(low, &high)| *low = join(*low, high));
            count = half;
        }
        half /= 2;
    }
    &mut lines[..width]
}

/// As [`sum`], of rows side by side.
#[inline(always)]
fn sum_lines<F: Real>(lines: &mut [F], width: usize) -> &mut [F] {
    lines.iter_mut().for_each(|x| *x = F::zero() + *x);
    join_lines(lines, width, |a, b| a + b)
}

/// As [`place`], of rows side by side.
#[inline(always)]
fn first_places<'s, F: Real>(lines: &[F], spare: &'s mut [F], width: usize) -> &'s [F] {
    spare[..lines.len()].copy_from_slice(lines);
    join_lines(&mut spare[..lines.len()], width, keep);
    let (largest, places) = spare.split_at_mut(width);
    let places = &mut places[..width];
    places.fill(F::zero());
    for (j, line) in lines.chunks_exact(width).enumerate().rev() {
        let place = F::of(j as f64);
        let found = line.iter().zip(&*largest).map(|(&x, &largest)| (x == largest) | x.is_nan());
        places.iter_mut().zip(found).for_each(|(to, found)| *to = if found { place } else { *to });
    }
    places
}

/// The parts of log-sum-exp, of rows side by side.
#[inline(always)]
fn log_sum_exp_of_lines<F: Real>(lines: &mut [F], spare: &mut [F], [of_largest, of_rest]: [&mut [F]; 2]) {
    let (width, spare) = (of_largest.len(), &mut spare[..lines.len()]);
    spare.copy_from_slice(lines);
    let shifts = join_lines(spare, width, keep);
    of_largest.copy_from_slice(shifts);
    shifts.iter_mut().for_each(|largest| *largest = shift(*largest));
    for line in lines.chunks_exact_mut(width) {
        line.iter_mut().zip(&*shifts).for_each(|(x, &shift)| *x -= shift);
    }
    F::function(Function::Exp, lines, spare);
    F::function(Function::Ln, sum_lines(spare, width), of_rest);
    for (rest, largest) in of_rest.iter_mut().zip(of_largest) {
        *rest = if largest.is_infinite() { F::zero() } else { *rest };
    }
}

/// Means and squared deviations, of rows side by side.
#[inline(always)]
fn moments_of_lines<F: Real>(lines: &mut [F], spare: &mut [F], [of_mean, of_rest]: [&mut [F]; 2]) {
    let (width, spare) = (of_mean.len(), &mut spare[..lines.len()]);
    let folded = lines.len() / width;
    spare.copy_from_slice(lines);
    let means = sum_lines(spare, width);
    means.iter_mut().for_each(|mean| *mean /= F::of(folded as f64));
    for line in lines.chunks_exact_mut(width) {
        line.iter_mut().zip(&*means).for_each(|(x, &mean)| *x = (*x - mean) * (*x - mean));
    }
    of_mean.copy_from_slice(means);
    of_rest.copy_from_slice(sum_lines(lines, width));
    if folded < SIDE {
        // Row by row, the places behind the last element hold the mean. They add (mean − mean)², which is NaN where the mean is
        // infinite, and else 0.
        of_rest.iter_mut().zip(of_mean).filter(|(_, mean)| mean.is_infinite()).for_each(|(rest, _)| *rest = F::nan());
    }
}

/// A chunk of a row that begins at element `first`.
pub(super) fn of_chunk<F: Real>(reduction: Reduction, x: &[F], first: usize) -> Partial<F> {
    pulp::Arch::new().dispatch(Chunk { reduction, x, first })
}

struct Chunk<'a, F> {
    reduction: Reduction,
    x: &'a [F],
    first: usize,
}

impl<F: Real> pulp::WithSimd for Chunk<'_, F> {
    type Output = Partial<F>;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) -> Partial<F> {
        of_row(self.reduction, self.x, self.first)
    }
}

/// As row by row, but all exponentials and all logarithms at once.
#[inline(always)]
fn log_sum_exp_of_rows<F: Real>(x: &[F], folded: usize, [of_largest, of_rest]: [&mut [F]; 2]) {
    let (mut moved, mut powers) = ([F::zero(); CHUNK], [F::zero(); CHUNK]);
    for ((x, moved), of_row) in x.chunks_exact(folded).zip(moved.chunks_exact_mut(folded)).zip(&mut *of_largest) {
        *of_row = largest(x);
        let shift = shift(*of_row);
        moved.iter_mut().zip(x).for_each(|(moved, &x)| *moved = x - shift);
    }
    F::function(Function::Exp, &moved[..x.len()], &mut powers[..x.len()]);
    let sums = &mut moved[..of_rest.len()];
    sums.iter_mut().zip(powers.chunks_exact(folded)).for_each(|(of_row, powers)| *of_row = sum(powers, F::zero(), |x| x));
    F::function(Function::Ln, sums, of_rest);
    of_rest.iter_mut().zip(of_largest).filter(|(_, largest)| largest.is_infinite()).for_each(|(rest, _)| *rest = F::zero());
}

/// Up to [`SIDE`] elements, and `fill` in the place of those that are missing. Copies of fixed sizes, which may overlap, need
/// no loop.
#[inline(always)]
fn padded<F: Real>(x: &[F], fill: F) -> [F; SIDE] {
    let (mut padded, len) = ([fill; SIDE], x.len());
    if len >= 8 {
        padded[..8].copy_from_slice(&x[..8]);
        padded[len - 8..][..8].copy_from_slice(&x[len - 8..][..8]);
    } else if len >= 4 {
        padded[..4].copy_from_slice(&x[..4]);
        padded[len - 4..][..4].copy_from_slice(&x[len - 4..][..4]);
    } else {
        padded.iter_mut().zip(x).for_each(|(to, &x)| *to = x);
    }
    padded
}

/// Joins what was reduced side by side: the first half with the second, and so on.
#[inline(always)]
fn tree<F: Real>(mut side: [F; SIDE], join: impl Fn(F, F) -> F) -> F {
    let mut width = SIDE / 2;
    while width > 0 {
        for i in 0..width {
            side[i] = join(side[i], side[i + width]);
        }
        width /= 2;
    }
    side[0]
}

/// Running sums of `f(x)` side by side; then those among each other. `f(nothing)` is 0.
#[inline(always)]
fn sum<F: Real>(x: &[F], nothing: F, f: impl Fn(F) -> F) -> F {
    let mut sums = [F::zero(); SIDE];
    let (groups, rest) = x.as_chunks::<SIDE>();
    for group in groups {
        sums.iter_mut().zip(group).for_each(|(sum, &x)| *sum += f(x));
    }
    if !rest.is_empty() {
        sums.iter_mut().zip(padded(rest, nothing)).for_each(|(sum, x)| *sum += f(x));
    }
    tree(sums, |a, b| a + b)
}

/// The larger one; the first NaN if there is one. Both comparisons are made, so that there is no branch between elements.
#[inline(always)]
fn keep<F: Real>(a: F, b: F) -> F {
    if (a >= b) | a.is_nan() { a } else { b }
}

/// NaN if there is one.
#[inline(always)]
fn largest<F: Real>(x: &[F]) -> F {
    let (groups, rest) = x.as_chunks::<SIDE>();
    let mut side = padded(rest, F::neg_infinity());
    for group in groups {
        side.iter_mut().zip(group).for_each(|(side, &x)| *side = keep(*side, x));
    }
    tree(side, keep)
}

/// The place of the first element that is the largest one, or NaN.
#[inline(always)]
fn place<F: Real>(x: &[F], largest: F) -> usize {
    let (groups, rest) = x.as_chunks::<SIDE>();
    let first = |group: &[F; SIDE]| {
        let mut places: [u32; SIDE] = std::array::from_fn(|i| i as u32);
        places
            .iter_mut()
            .zip(group)
            .for_each(|(place, &x)| *place = if x == largest || x.is_nan() { *place } else { u32::MAX });
        places.iter().fold(u32::MAX, |first, &place| first.min(place))
    };
    for (index, group) in groups.iter().enumerate() {
        let first = first(group);
        if first < u32::MAX {
            return index * SIDE + first as usize;
        }
    }
    let first = first(&padded(rest, F::neg_infinity()));
    if first < u32::MAX { groups.len() * SIDE + first as usize } else { 0 }
}

/// What is subtracted from exponents: the largest; 0 if it is infinite, since ∞ − ∞ is NaN.
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
    sum(powers, F::zero(), |x| x)
}

fn exp<F: Real>(x: F) -> F {
    let mut power = [x];
    F::function(Function::Exp, &[x], &mut power);
    power[0]
}

/// Two neighbouring parts as one.
fn joined<F: Real>(reduction: Reduction, left: Partial<F>, right: Partial<F>) -> Partial<F> {
    let count = left.count + right.count;
    let larger = |a: F, b: F| if b > a || b.is_nan() { b } else { a };
    let (a, b) = match reduction {
        Reduction::Sum => (left.a + right.a, F::zero()),
        Reduction::Max => (if left.a.is_nan() { left.a } else { larger(left.a, right.a) }, F::zero()),
        Reduction::FirstMax if left.a.is_nan() || !(right.a > left.a || right.a.is_nan()) => (left.a, left.b),
        Reduction::FirstMax => (right.a, right.b),
        Reduction::LogSumExp => {
            let a = if left.a.is_nan() { left.a } else { larger(left.a, right.a) };
            let scaled = |part: Partial<F>| part.b * exp(shift(part.a) - shift(a));
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
    Partial { count, a, b }
}

/// Nothing of a part in which all is −∞.
fn scaled_unless_low<F: Real>(part: Partial<F>, scaled: impl Fn(Partial<F>) -> F) -> F {
    if part.a == F::neg_infinity() { F::zero() } else { scaled(part) }
}

/// Joins parts in a fixed tree: neighbours, then neighbours of these, and so on; what is left over at the end.
#[derive(Debug, Clone)]
pub(super) struct Tree<F> {
    reduction: Reduction,
    /// Parts of more and more chunks, a power of two each, the largest first; with the power.
    parts: SmallVec<[(u32, Partial<F>); 16]>,
}

impl<F: Real> Tree<F> {
    pub(super) fn new(reduction: Reduction) -> Self {
        Self { reduction, parts: SmallVec::new() }
    }

    pub(super) fn clear(&mut self) {
        self.parts.clear();
    }

    pub(super) fn push(&mut self, part: Partial<F>) {
        let (mut power, mut part) = (0, part);
        while let Some(&(before, left)) = self.parts.last().filter(|(before, _)| *before == power) {
            self.parts.pop();
            (power, part) = (before + 1, joined(self.reduction, left, part));
        }
        self.parts.push((power, part));
    }

    /// All parts as one; nothing if there are none.
    pub(super) fn all(&self) -> Option<Partial<F>> {
        let parts = self.parts.iter().rev().map(|&(_, part)| part);
        parts.reduce(|right, left| joined(self.reduction, left, right))
    }
}

/// The numbers that a reduction gives; the second only where there are two.
pub(super) fn results<F: Real>(reduction: Reduction, all: Option<Partial<F>>) -> [F; 2] {
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Ordinary numbers, and a few that are not.
    fn number(random: &mut fastrand::Rng) -> f32 {
        match random.u32(0..40) {
            0 => f32::NAN,
            1 => f32::INFINITY,
            2 => f32::NEG_INFINITY,
            3 => -0.0,
            4..8 => 1.5,
            _ => 8.0 * random.f32() - 4.0,
        }
    }

    #[test]
    fn rows_side_by_side_have_the_bits_of_rows_alone() {
        let mut random = fastrand::Rng::with_seed(7);
        let all = [Reduction::Sum, Reduction::Max, Reduction::FirstMax, Reduction::LogSumExp, Reduction::Moments];
        for (folded, rows) in (1..=SIDE).flat_map(|folded| [1, 5, SIDE, SIDE + 3].map(|rows| (folded, rows))) {
            let x: Vec<f32> = (0..folded * rows).map(|_| number(&mut random)).collect();
            for reduction in all {
                let mut found = [vec![0.0; rows], vec![0.0; rows]];
                let mut lines = vec![0.0; folded * rows];
                for (row, x) in x.chunks_exact(folded).enumerate() {
                    lines.chunks_exact_mut(rows).zip(x).for_each(|(line, x)| line[row] = *x);
                }
                let [first, second] = &mut found;
                let outputs = &mut [&mut first[..], &mut second[..]][..reduction.results()];
                let spare = &mut vec![f32::NAN; lines.len().max(2 * rows)];
                ShortRows { reduction, lines: &mut lines, spare, outputs, rows: 0..rows }.reduce();
                for (row, x) in x.chunks_exact(folded).enumerate() {
                    let alone = results(reduction, Some(of_row(reduction, x, 0)));
                    for (found, alone) in found.iter().zip(alone).take(reduction.results()) {
                        let same = found[row].to_bits() == alone.to_bits() || found[row].is_nan() && alone.is_nan();
                        assert!(same, "{reduction:?} of {x:?}: {} beside others, {alone} alone", found[row]);
                    }
                }
            }
        }
    }
}
