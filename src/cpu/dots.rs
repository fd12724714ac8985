//! Inner products of vectors, chunk by chunk.

use super::share::Threads;
use super::store::Store;
use crate::plan::{ALIGN, Chunk, Dots};
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
