//! Linear combinations of vectors.

use super::share::Threads;
use super::store::Store;
use crate::plan::{CHUNK, Combine};
use crate::rule::Real;

/// Chunks that one task takes.
const TASK: usize = 8;

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
