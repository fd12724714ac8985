//! Second moments of matrices by rows and columns.

use super::lent::Lent;
use super::store::Store;
use crate::plan::{Factored, Stack, TILE};
use crate::rule::{Real, Row};

pub(super) fn factored<F: Real>(op: &Factored, lane: &mut Store<F>, mut lent: Option<&mut Lent<F>>) {
    let mut moments = lane.take(op.moments.buffer);
    for stack in op.moments.stacks.iter().filter(|stack| stack.len > 0) {
        let row: &[F] = &lane.floats(op.current)[stack.group * Row::LEN..][..Row::LEN];
        if row[Row::LIVE] == F::zero() {
            continue;
        }
        let grads: &[F] = match lent.as_mut().and_then(|lent| lent.line_mut(op.grads, stack.start, stack.len)) {
            Some(slice) => slice,
            None => &lane.floats(op.grads)[stack.start..][..stack.len],
        };
        take_in(stack, row, grads, moments.as_mut_slice());
    }
    lane.put(op.moments.buffer, moments);
}

/// Takes a gradient into a tensor's moments.
fn take_in<F: Real>(stack: &Stack, row: &[F], grads: &[F], moments: &mut [F]) {
    let (scale, [rate, floor, ..]) = (row[Row::SCALE], &row[Row::SHARED.len()..]) else { return };
    let square = |g: F| (scale * g) * (scale * g);
    let follow = |moment: &mut F, new: F| *moment += *rate * (new - *moment);
    if stack.matrices == 0 {
        moments[stack.first..].iter_mut().zip(grads).for_each(|(v, &g)| follow(v, square(g)));
        return;
    }
    let Stack { rows, columns, .. } = *stack;
    let count = |n: usize| F::of(n as f64);
    for (moment, line) in moments[stack.row_moments()].iter_mut().zip(grads.chunks_exact(columns)) {
        let tiles = line.chunks(TILE).map(|tile| tile.iter().map(|&g| square(g)).sum::<F>());
        follow(moment, tiles.sum::<F>() / count(columns));
    }
    let matrices = grads.chunks_exact(rows * columns);
    for (moments, matrix) in moments[stack.column_moments()].chunks_exact_mut(columns).zip(matrices) {
        let mut sums = vec![F::zero(); columns];
        for tile in matrix.chunks(TILE * columns) {
            let mut part = vec![F::zero(); columns];
            for line in tile.chunks_exact(columns) {
                part.iter_mut().zip(line).for_each(|(sum, &g)| *sum += square(g));
            }
            sums.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
        }
        moments.iter_mut().zip(sums).for_each(|(moment, sum)| follow(moment, sum / count(rows)));
    }
    let floor = if *floor == F::zero() { F::epsilon() } else { *floor };
    for (matrix, divisor) in stack.divisors().enumerate() {
        let of_rows = &moments[stack.row_moments()][matrix * rows..][..rows];
        let sum: F = of_rows.chunks(TILE).map(|tile| tile.iter().copied().sum::<F>()).sum();
        let mean = sum / count(rows);
        // NaN stays.
        moments[divisor] = if mean < floor { floor } else { mean };
    }
}
