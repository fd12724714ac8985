//! The CPU's half: threads share samples, and each goes through all steps with its own. The weight lies in panels of some
//! columns, row by row, so that a panel stays in the first cache while it meets the samples, four side by side.

use super::cells::{Backward, Forward};
use super::{Cell, RecurrenceSizes};
use crate::op::map::program::with_scratch;
use crate::plan::Workers;
use crate::rule::{BEHIND, ROWS, Real, Taps};

/// Columns of a panel.
const WIDTH: usize = 48;
/// Samples that a thread takes at a time, at most.
const SAMPLES: usize = 64;

/// What a recurrence reads; empty where there is nothing.
pub(super) struct Given<'a, F> {
    pub(super) sums: &'a [F],
    pub(super) weight: &'a [F],
    pub(super) bias: &'a [F],
    pub(super) start: &'a [F],
    pub(super) lengths: Option<&'a [u32]>,
}

/// What it writes.
pub(super) struct Made<'a, F> {
    pub(super) before: &'a mut [F],
    pub(super) after: &'a mut [F],
    pub(super) cells: &'a mut [F],
    pub(super) kept: &'a mut [F],
}

/// What its gradient reads; empty where there is nothing.
pub(super) struct Known<'a, F> {
    pub(super) grad: &'a [F],
    pub(super) cells_grad: &'a [F],
    pub(super) h: &'a [F],
    pub(super) cells: &'a [F],
    pub(super) kept: &'a [F],
    pub(super) weight: &'a [F],
    pub(super) lengths: Option<&'a [u32]>,
}

/// What its gradient writes.
pub(super) struct Slopes<'a, F> {
    pub(super) sums: &'a mut [F],
    pub(super) from_h: &'a mut [F],
    pub(super) start: &'a mut [F],
}

/// The part of so many elements that belongs to a number; nothing of nothing.
fn part<F>(of: &[F], number: usize, size: usize) -> &[F] {
    of.get(number * size..(number + 1) * size).unwrap_or_default()
}

fn part_mut<F>(of: &mut [F], number: usize, size: usize) -> &mut [F] {
    of.get_mut(number * size..(number + 1) * size).unwrap_or_default()
}

/// A matrix by which rows are multiplied: a plain one, or in panels.
struct Factor<'a, F> {
    depth: usize,
    columns: usize,
    data: &'a [F],
    /// Where the rows of a panel begin; nothing where the matrix is plain.
    at: Option<&'a [u32]>,
}

impl<F: Real> Factor<'_, F> {
    /// Elements of a row of the product, with what the kernels write behind it.
    fn pitch(columns: usize) -> usize {
        columns.next_multiple_of(WIDTH) + BEHIND
    }

    /// Calls `f` with the matrix in panels, or as it is in the oracle.
    fn with(data: &[F], [depth, columns]: [usize; 2], fast: bool, f: impl FnOnce(Factor<'_, F>)) {
        if !fast {
            return f(Factor { depth, columns, data, at: None });
        }
        with_scratch(depth, |at: &mut [u32]| {
            at.iter_mut().enumerate().for_each(|(row, at)| *at = (row * WIDTH) as u32);
            with_scratch(columns.next_multiple_of(WIDTH) * depth + BEHIND, |panels: &mut [F]| {
                panels.fill(F::zero());
                for (index, panel) in panels.chunks_exact_mut(WIDTH * depth).enumerate().take(columns.div_ceil(WIDTH)) {
                    for (row, to) in data.chunks_exact(columns).zip(panel.chunks_exact_mut(WIDTH)) {
                        let row = &row[index * WIDTH..];
                        let width = row.len().min(WIDTH);
                        to[..width].copy_from_slice(&row[..width]);
                    }
                }
                f(Factor { depth, columns, data: panels, at: Some(at) });
            });
        });
    }

    /// Elements of scratch memory for so many rows.
    fn packed(&self, rows: usize) -> usize {
        rows.next_multiple_of(ROWS) * self.depth
    }

    /// The products of so many rows, into rows of [`Factor::pitch`].
    #[inline(always)]
    fn product<'r>(&self, row: impl Fn(usize) -> &'r [F], count: usize, packed: &mut [F], to: &mut [F])
    where
        F: 'r,
    {
        let (pitch, depth) = (Self::pitch(self.columns), self.depth);
        let Some(at) = self.at else {
            for (index, to) in to.chunks_exact_mut(pitch).enumerate().take(count) {
                to.fill(F::zero());
                for (&x, weights) in row(index).iter().zip(self.data.chunks_exact(self.columns)) {
                    to.iter_mut().zip(weights).for_each(|(sum, &w)| *sum += x * w);
                }
            }
            return;
        };
        for (block, packed) in packed.chunks_exact_mut(ROWS * depth).enumerate() {
            // Rows beyond the last repeat the last; their products are not used.
            let [a, b, c, d] = [0, 1, 2, 3].map(|m| &row((block * ROWS + m).min(count - 1))[..depth]);
            for (i, packed) in packed.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
                *packed = [a[i], b[i], c[i], d[i]];
            }
        }
        for index in 0..self.columns.div_ceil(WIDTH) {
            let x = &self.data[index * WIDTH * depth..][..WIDTH * depth + BEHIND];
            let places = (self.columns - index * WIDTH).min(WIDTH);
            for (w, to) in packed.chunks_exact(ROWS * depth).zip(to.chunks_exact_mut(ROWS * pitch)) {
                F::taps(Taps { rows: ROWS, w, at, x, places, pitch }, &mut to[index * WIDTH..]);
            }
        }
    }
}

/// Samples that a thread takes at a time.
fn samples_at_a_time(sizes: &RecurrenceSizes, workers: Workers) -> usize {
    sizes.samples.div_ceil(workers.count()).next_multiple_of(ROWS).clamp(ROWS, SAMPLES)
}

/// All steps.
pub(super) fn forward<F: Real>(sizes: &RecurrenceSizes, given: Given<'_, F>, made: Made<'_, F>, workers: Workers, fast: bool) {
    let (many, columns) = (samples_at_a_time(sizes, workers), sizes.cell.gates() * sizes.hidden);
    let of_sample = |len: usize| len / sizes.samples.max(1) * many;
    let [before, after, cells, kept] = [made.before, made.after, made.cells, made.kept].map(|of| {
        let size = of_sample(of.len());
        (of, size)
    });
    let made = all_parts(before).zip(all_parts(after)).zip(all_parts(cells).zip(all_parts(kept)));
    Factor::with(given.weight, [sizes.hidden, columns], fast, |weight| {
        let count = sizes.samples.div_ceil(many);
        workers.in_order(count, made.take(count).enumerate(), |(index, ((before, after), (cells, kept)))| {
            let made = Made { before, after, cells, kept };
            let samples = index * many..((index + 1) * many).min(sizes.samples);
            let (first, count, given, weight) = (samples.start, samples.len(), &given, &weight);
            let rows = count.next_multiple_of(ROWS);
            let len = rows * sizes.hidden + weight.packed(rows) + rows * Factor::<F>::pitch(columns) + columns;
            with_scratch(len, |scratch: &mut [F]| {
                pulp::Arch::new().dispatch(Forwards { sizes, given, weight, first, count, made, scratch });
            });
        });
    });
}

/// Parts of a whole number of samples; the last one has what is left.
fn all_parts<F>((of, size): (&mut [F], usize)) -> impl Iterator<Item = &mut [F]> {
    of.chunks_mut(size.max(1)).chain(std::iter::repeat_with(|| &mut [][..]))
}

/// As pulp takes it: of a closure the compiler may make a function of its own, which has no vector instructions.
struct Forwards<'a, 'm, F> {
    sizes: &'a RecurrenceSizes,
    given: &'a Given<'a, F>,
    weight: &'a Factor<'a, F>,
    first: usize,
    count: usize,
    made: Made<'m, F>,
    scratch: &'m mut [F],
}

impl<F: Real> pulp::WithSimd for Forwards<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Self { sizes, given, weight, first, count, made, scratch } = self;
        let &RecurrenceSizes { cell, steps, hidden, samples, .. } = sizes;
        let (gates, pitch) = (cell.gates() * hidden, Factor::<F>::pitch(weight.columns));
        let rows = count.next_multiple_of(ROWS);
        let (h, rest) = scratch.split_at_mut(rows * hidden);
        let (packed, rest) = rest.split_at_mut(weight.packed(rows));
        let (from_h, scratch) = rest.split_at_mut(rows * pitch);
        let begin = |plane: usize, row: usize| part(given.start, plane * samples + first + row, hidden);
        for (row, h) in h.chunks_exact_mut(hidden).take(count).enumerate() {
            put(begin(0, row), h);
            if cell == Cell::Lstm {
                put(begin(1, row), part_mut(made.cells, row * (steps + 1), hidden));
            }
        }
        for place in 0..steps {
            let step = sizes.step(place);
            weight.product(|row| part(h, row, hidden), count, packed, from_h);
            for (row, h) in h.chunks_exact_mut(hidden).take(count).enumerate() {
                let at = row * steps + step;
                part_mut(made.before, at, hidden).copy_from_slice(h);
                let cells = part_mut(made.cells, row, (steps + 1) * hidden);
                let (earlier, later) = cells.split_at_mut(((place + 1) * hidden).min(cells.len()));
                let cells = earlier.get(place * hidden..).unwrap_or_default();
                let new_cells = later.get_mut(..hidden).unwrap_or_default();
                let kept = part_mut(made.kept, at, cell.kept() * hidden);
                if given.lengths.is_some_and(|lengths| lengths[first + row] as usize <= step) {
                    new_cells.copy_from_slice(cells);
                    kept.fill(F::zero());
                } else {
                    let sums = part(given.sums, (first + row) * steps + step, gates);
                    let from_h = &from_h[row * pitch..][..gates];
                    Forward { sums, from_h, bias: given.bias, kept, cells, new_cells, h, scratch }.step(cell);
                }
                part_mut(made.after, at, hidden).copy_from_slice(h);
            }
        }
    }
}

/// Copies what there is, else zeros.
fn put<F: Real>(from: &[F], to: &mut [F]) {
    if from.is_empty() { to.fill(F::zero()) } else { to.copy_from_slice(from) }
}

/// The gradient of all steps, from the last to the first.
pub(super) fn backward<F: Real>(
    sizes: &RecurrenceSizes,
    known: Known<'_, F>,
    made: Slopes<'_, F>,
    workers: Workers,
    fast: bool,
) {
    let (many, depth) = (samples_at_a_time(sizes, workers), sizes.cell.gates() * sizes.hidden);
    let of_sample = |len: usize| len / sizes.samples.max(1) * many;
    let (h_grad, cells_grad) = made.start.split_at_mut(sizes.samples * sizes.hidden);
    let [sums, from_h, h_grad, cells_grad] = [made.sums, made.from_h, h_grad, cells_grad].map(|of| {
        let size = of_sample(of.len());
        (of, size)
    });
    let made = all_parts(sums).zip(all_parts(from_h)).zip(all_parts(h_grad).zip(all_parts(cells_grad)));
    Factor::with(known.weight, [depth, sizes.hidden], fast, |weight| {
        let count = sizes.samples.div_ceil(many);
        workers.in_order(count, made.take(count).enumerate(), |(index, ((sums, from_h), (h_grad, cells_grad)))| {
            let samples = index * many..((index + 1) * many).min(sizes.samples);
            let (first, count, known, weight) = (samples.start, samples.len(), &known, &weight);
            let (grads, rows) = ([h_grad, cells_grad], count.next_multiple_of(ROWS));
            let len = weight.packed(rows) + rows * Factor::<F>::pitch(sizes.hidden) + sizes.hidden;
            with_scratch(len, |scratch: &mut [F]| {
                pulp::Arch::new().dispatch(Backwards { sizes, known, weight, first, count, sums, from_h, grads, scratch });
            });
        });
    });
}

struct Backwards<'a, 'm, F> {
    sizes: &'a RecurrenceSizes,
    known: &'a Known<'a, F>,
    weight: &'a Factor<'a, F>,
    first: usize,
    count: usize,
    sums: &'m mut [F],
    from_h: &'m mut [F],
    /// By h, and by the cells.
    grads: [&'m mut [F]; 2],
    scratch: &'m mut [F],
}

impl<F: Real> pulp::WithSimd for Backwards<'_, '_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Self { sizes, known, weight, first, count, sums, from_h, grads: [h_grad, cells_grad], scratch } = self;
        let &RecurrenceSizes { cell, steps, hidden, .. } = sizes;
        let (gates, pitch) = (cell.gates() * hidden, Factor::<F>::pitch(hidden));
        let rows = count.next_multiple_of(ROWS);
        h_grad.fill(F::zero());
        cells_grad.fill(F::zero());
        let (packed, rest) = scratch.split_at_mut(weight.packed(rows));
        let (through, scratch) = rest.split_at_mut(rows * pitch);
        for place in (0..steps).rev() {
            let step = sizes.step(place);
            for (row, h_grad) in h_grad.chunks_exact_mut(hidden).enumerate() {
                let (at, own) = ((first + row) * steps + step, row * steps + step);
                add(part(known.grad, at, hidden), h_grad);
                let cells_grad = part_mut(cells_grad, row, hidden);
                let slot = (first + row) * (steps + 1) + place;
                add(part(known.cells_grad, slot + 1, hidden), cells_grad);
                let (sums, from_h) = (part_mut(sums, own, gates), part_mut(from_h, own, gates));
                if known.lengths.is_some_and(|lengths| lengths[first + row] as usize <= step) {
                    sums.fill(F::zero());
                    from_h.fill(F::zero());
                } else {
                    let cells = [0, 1].map(|later| part(known.cells, slot + later, hidden));
                    let (kept, h) = (part(known.kept, at, cell.kept() * hidden), part(known.h, at, hidden));
                    Backward { kept, h, cells, h_grad, cells_grad, sums, from_h, scratch }.step(cell);
                }
            }
            let slopes = if from_h.is_empty() { &*sums } else { &*from_h };
            weight.product(|row| part(slopes, row * steps + step, gates), count, packed, through);
            let all = h_grad.chunks_exact_mut(hidden).zip(through.chunks_exact(pitch));
            all.for_each(|(h_grad, through)| add(&through[..hidden], h_grad));
        }
        for (row, cells_grad) in cells_grad.chunks_exact_mut(hidden).enumerate() {
            add(part(known.cells_grad, (first + row) * (steps + 1), hidden), cells_grad);
        }
    }
}

/// Adds what there is.
#[inline(always)]
fn add<F: Real>(from: &[F], to: &mut [F]) {
    to.iter_mut().zip(from).for_each(|(to, &x)| *to += x);
}
