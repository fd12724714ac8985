//! Vectors as wholes: inner products and linear combinations.

use super::norm::larger;
use super::share::Threads;
use super::store::Store;
use crate::plan::{ALIGN, CHUNK, Chunk, Combine, Dots, NormKind, View};
use crate::rule::Real;

/// Chunks that one task takes.
const TASK: usize = 8;

pub(super) fn dots<F: Real>(op: &Dots, lane: &mut Store<F>, threads: Threads) {
    let columns = op.chunks.len();
    if columns == 0 {
        return;
    }
    lane.write(&op.partials, |partials, lane| {
        let row = |(index, sums): (usize, &mut [F])| {
            let left = lane.floats(op.left[index / op.right.len()]);
            let right = lane.floats(op.right[index % op.right.len()]);
            let one = |(sum, &Chunk { start, len, .. }): (&mut F, &Chunk)| {
                *sum = dot(&left[start..][..len], &right[start..][..len]);
            };
            let tasks = sums.chunks_mut(TASK).zip(op.chunks.chunks(TASK));
            threads.in_order(columns.div_ceil(TASK), tasks, |(sums, chunks)| sums.iter_mut().zip(chunks).for_each(one));
        };
        partials.chunks_exact_mut(columns).enumerate().for_each(row);
    });
}

/// Σ a·b in a fixed order: 64 running sums, then their sum.
fn dot<F: Real>(a: &[F], b: &[F]) -> F {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || {
            let mut sums = [F::zero(); ALIGN];
            let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<ALIGN>(), b.as_chunks::<ALIGN>());
            for (a, b) in a.iter().zip(b) {
                for i in 0..ALIGN {
                    sums[i] += a[i] * b[i];
                }
            }
            for ((sum, &a), &b) in sums.iter_mut().zip(a_rest).zip(b_rest) {
                *sum += a * b;
            }
            sums.into_iter().sum()
        },
    )
}

pub(super) fn join<F: Real>(kind: NormKind, input: &View, output: &View, lane: &mut Store<F>, shared: &Store<F>) {
    lane.write(output, |output, lane| {
        let input = lane.view(input, shared);
        let columns = input.len() / output.len().max(1);
        for (row, joined) in output.iter_mut().enumerate() {
            let values = input[row * columns..][..columns].iter().copied();
            *joined = match kind {
                NormKind::L2 | NormKind::L1 | NormKind::Count => values.sum(),
                NormKind::Max => values.fold(F::zero(), larger),
            };
        }
    });
}

pub(super) fn combine<F: Real>(op: &Combine, lane: &mut Store<F>, threads: Threads) {
    let mut output = lane.take(op.output);
    let coefficients = &lane.floats(op.coefficients.buffer)[op.coefficients.offset..][..op.coefficients.len];
    let terms: Vec<(F, &[F])> = coefficients.iter().copied().zip(op.terms.iter().map(|&term| lane.floats(term))).collect();
    // A part of the output stays in the core's cache while the terms stream by.
    let part = |(index, part): (usize, &mut [F])| {
        part.fill(F::zero());
        for (coefficient, term) in &terms {
            part.iter_mut().zip(&term[index * CHUNK..]).for_each(|(sum, &x)| *sum += *coefficient * x);
        }
    };
    let whole: &mut [F] = output.as_mut_slice();
    let tasks = whole.chunks_mut(TASK * CHUNK).enumerate();
    threads.in_order(tasks.len(), tasks, |(task, whole)| {
        whole.chunks_mut(CHUNK).enumerate().for_each(|(index, chunk)| part((task * TASK + index, chunk)));
    });
    lane.put(op.output, output);
}
