//! Second moments of matrices by rows and columns.

use super::borrowed::Borrowed;
use super::share::{GRAIN, Threads};
use super::store::Store;
use crate::plan::{Factored, Stack, TILE};
use crate::rule::{HyperRow, Real, toward};

pub(super) fn factored<F: Real>(op: &Factored, lane: &mut Store<F>, mut borrowed: Option<&mut Borrowed<F>>, threads: Threads) {
    let mut moments = lane.take(op.moments.buffer);
    for stack in op.moments.stacks.iter().filter(|stack| stack.len > 0) {
        let row: &[F] = &lane.floats(op.current)[stack.group * HyperRow::LEN..][..HyperRow::LEN];
        if row[HyperRow::LIVE] == F::zero() {
            continue;
        }
        let grads: &[F] = match borrowed.as_mut().and_then(|borrowed| borrowed.line_mut(op.grads, stack.start, stack.len)) {
            Some(slice) => slice,
            None => &lane.floats(op.grads)[stack.start..][..stack.len],
        };
        take_in(stack, row, grads, moments.as_mut_slice(), threads);
    }
    lane.put(op.moments.buffer, moments);
}

/// Takes a gradient into a tensor's moments.
fn take_in<F: Real>(stack: &Stack, row: &[F], grads: &[F], moments: &mut [F], threads: Threads) {
    let (scale, [rate, floor, ..]) = (row[HyperRow::SCALE], &row[HyperRow::SHARED.len()..]) else { return };
    let square = |g: F| (scale * g) * (scale * g);
    let follow = |moment: &mut F, new: F| *moment = toward(*moment, new, *rate);
    if stack.matrices == 0 {
        moments[stack.first..].iter_mut().zip(grads).for_each(|(v, &g)| follow(v, square(g)));
        return;
    }
    let Stack { rows, columns, .. } = *stack;
    let count = |n: usize| F::of(n as f64);
    // Tasks go over whole lines, or over as many columns as some tiles have.
    let of_rows = &mut moments[stack.row_moments()];
    let lines = GRAIN.div_ceil(columns);
    let tasks = of_rows.chunks_mut(lines).zip(grads.chunks(lines * columns));
    threads.in_order(tasks.len(), tasks, |(moments, lines)| {
        for (moment, line) in moments.iter_mut().zip(lines.chunks_exact(columns)) {
            let sum = pulp::Arch::new().dispatch(Line { line, scale });
            follow(moment, sum / count(columns));
        }
    });
    let matrices = grads.chunks_exact(rows * columns);
    let tiles = GRAIN.div_ceil(TILE * rows);
    for (moments, matrix) in moments[stack.column_moments()].chunks_exact_mut(columns).zip(matrices) {
        let tasks = moments.chunks_mut(tiles * TILE).enumerate();
        threads.in_order(tasks.len(), tasks, |(task, moments)| {
            for (tile, moments) in moments.chunks_mut(TILE).enumerate() {
                let first = (task * tiles + tile) * TILE;
                let sums = pulp::Arch::new().dispatch(Columns { matrix, columns, first, width: moments.len(), scale });
                moments.iter_mut().zip(sums).for_each(|(moment, sum)| follow(moment, sum / count(rows)));
            }
        });
    }
    let floor = if *floor == F::zero() { F::epsilon() } else { *floor };
    stack.divide(moments, floor);
}

/// The sum of a line's squares: tile by tile, each in eight running sums. A struct, as in `rule/sweep.rs`: the compiler may
/// turn a closure around the loops into a separate function, without vector instructions.
struct Line<'a, F> {
    line: &'a [F],
    scale: F,
}

impl<F: Real> pulp::WithSimd for Line<'_, F> {
    type Output = F;

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) -> F {
        let Self { line, scale } = self;
        let mut sum = F::zero();
        for tile in line.chunks(TILE) {
            let mut values = [F::zero(); 8];
            let (blocks, rest) = tile.as_chunks::<8>();
            for block in blocks {
                for i in 0..8 {
                    values[i] += (scale * block[i]) * (scale * block[i]);
                }
            }
            for (value, &g) in values.iter_mut().zip(rest) {
                *value += (scale * g) * (scale * g);
            }
            sum += values.into_iter().sum::<F>();
        }
        sum
    }
}

/// The sums of `width` columns' squares from column `first` on: tile by tile of rows.
struct Columns<'a, F> {
    matrix: &'a [F],
    columns: usize,
    first: usize,
    width: usize,
    scale: F,
}

impl<F: Real> pulp::WithSimd for Columns<'_, F> {
    type Output = [F; TILE];

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) -> [F; TILE] {
        let Self { matrix, columns, first, width, scale } = self;
        let mut sums = [F::zero(); TILE];
        for tile in matrix.chunks(TILE * columns) {
            let mut part = [F::zero(); TILE];
            for line in tile.chunks_exact(columns) {
                for (sum, &g) in part.iter_mut().zip(&line[first..][..width]) {
                    *sum += (scale * g) * (scale * g);
                }
            }
            for (sum, part) in sums.iter_mut().zip(part) {
                *sum += part;
            }
        }
        sums
    }
}
