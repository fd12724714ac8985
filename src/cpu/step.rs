//! The optimizer's part of a step: norm, decision, update.

use super::store::Store;
use crate::plan::{ALIGN, CHUNK, Control, Counter, Norm, SLOTS, Scalar, Update};
use crate::rule::{AnyRule, Real, Row};
use rayon::prelude::*;

/// Elements that one task updates: long enough to pay for its start, short enough to share out evenly.
const GRAIN: usize = 32_768;

pub(super) fn norm<F: Real>(op: &Norm, lane: &mut Store<F>, parallel: bool) {
    let mut partials = lane.take(op.partials);
    let grads = lane.floats(op.grads);
    if parallel && grads.len() > CHUNK {
        let chunks = grads.par_chunks(CHUNK);
        partials.as_mut_slice().par_iter_mut().zip(chunks).for_each(|(sum, chunk)| *sum = sum_of_squares(chunk));
    } else {
        partials.as_mut_slice().iter_mut().zip(grads.chunks(CHUNK)).for_each(|(sum, chunk)| *sum = sum_of_squares(chunk));
    }
    lane.put(op.partials, partials);
}

/// Σ x², in a fixed order: 64 running sums, then their sum.
fn sum_of_squares<F: Real>(chunk: &[F]) -> F {
    pulp::Arch::new().dispatch(|| {
        let mut sums = [F::zero(); ALIGN];
        let (blocks, rest) = chunk.as_chunks::<ALIGN>();
        for block in blocks {
            for i in 0..ALIGN {
                sums[i] += block[i] * block[i];
            }
        }
        for (sum, &x) in sums.iter_mut().zip(rest) {
            *sum += x * x;
        }
        sums.into_iter().sum()
    })
}

pub(super) fn control<F: Real>(op: &Control, lane: &mut Store<F>) {
    let applied = lane.indices(op.counts)[Counter::Applied as usize] as usize;
    let slot = applied % SLOTS * op.groups * Row::LEN;
    let norm = op.partials.map(|partials| lane.floats(partials).iter().copied().sum::<F>().sqrt());
    let max_norm = lane.floats(op.rows)[slot + Row::MAX_NORM];
    let coefficient = norm.map_or(F::one(), |norm| clip_coefficient(norm, max_norm));
    let live = norm.is_none_or(F::is_finite);

    let mut current = lane.take(op.current);
    current.as_mut_slice().copy_from_slice(&lane.floats(op.rows)[slot..][..op.groups * Row::LEN]);
    for row in current.as_mut_slice::<F>().chunks_exact_mut(Row::LEN) {
        row[Row::LIVE] = if live { F::one() } else { F::zero() };
        row[Row::SCALE] *= coefficient;
    }
    lane.put(op.current, current);

    let scalars = lane.floats_mut(op.scalars);
    scalars[Scalar::Norm as usize] = norm.unwrap_or(F::zero());
    scalars[Scalar::Coefficient as usize] = coefficient;
    let counts = lane.indices_mut(op.counts);
    counts[if live { Counter::Applied } else { Counter::Skipped } as usize] += 1;
    counts[Counter::Clipped as usize] += u32::from(live && coefficient < F::one());
}

/// `min(1, max_norm / (norm + 1e-6))`, as `torch.nn.utils.clip_grad_norm_`.
fn clip_coefficient<F: Real>(norm: F, max_norm: F) -> F {
    let total = norm + F::of(1e-6);
    if total > max_norm { max_norm / total } else { F::one() }
}

pub(super) fn update<F: Real>(op: &Update, lane: &mut Store<F>, shared: &Store<F>, parallel: bool) {
    let current = lane.take(op.current);
    let mut params = lane.take(op.params);
    let mut planes: Vec<_> = op.planes.iter().map(|&plane| lane.take(plane)).collect();
    let grads = lane.floats(op.grads);
    let rows: &[F] = current.as_slice();
    for (group, range) in runs(op, shared, grads.len()) {
        let row = &rows[group * Row::LEN..][..Row::LEN];
        if row[Row::LIVE] == F::zero() {
            continue;
        }
        let mut slices = planes.iter_mut().map(|plane| &mut plane.as_mut_slice()[range.clone()]);
        let planes = std::array::from_fn(|_| slices.next().unwrap_or_default());
        let task =
            Task { rule: &*op.rule, row, x: &mut params.as_mut_slice()[range.clone()], g: &grads[range.clone()], planes };
        task.run(op.planes.len(), parallel);
    }
    lane.put(op.params, params);
    op.planes.iter().zip(planes).for_each(|(&id, plane)| lane.put(id, plane));
    lane.put(op.current, current);
}

/// Runs of elements of one group.
fn runs<F: Real>(op: &Update, shared: &Store<F>, len: usize) -> Vec<(usize, std::ops::Range<usize>)> {
    let Some(groups) = op.groups else { return vec![(0, 0..len)] };
    let mut start = 0;
    let runs = shared.indices(groups).chunk_by(|a, b| a == b);
    runs.map(|run| {
        let range = start..(start + run.len() * ALIGN).min(len);
        start = range.end;
        (run[0] as usize, range)
    })
    .collect()
}

/// A rule over a part of the parameters.
struct Task<'a, F> {
    rule: &'a dyn AnyRule,
    row: &'a [F],
    x: &'a mut [F],
    g: &'a [F],
    planes: [&'a mut [F]; 4],
}

impl<F: Real> Task<'_, F> {
    fn run(mut self, planes: usize, parallel: bool) {
        if !parallel || self.x.len() <= GRAIN {
            return F::sweep(self.rule, self.row, self.x, self.g, &mut self.planes[..planes]);
        }
        let middle = (self.x.len() / 2).next_multiple_of(ALIGN);
        let (x, x2) = self.x.split_at_mut(middle);
        let (g, g2) = self.g.split_at(middle);
        let mut halves = self.planes.map(|plane| {
            let middle = middle.min(plane.len());
            let (first, second) = plane.split_at_mut(middle);
            (first, Some(second))
        });
        let planes2 = halves.each_mut().map(|(_, second)| second.take().expect("taken once"));
        let (rule, row) = (self.rule, self.row);
        let first = Task { rule, row, x, g, planes: halves.map(|(first, _)| first) };
        let second = Task { rule, row, x: x2, g: g2, planes: planes2 };
        rayon::join(|| first.run(planes, true), || second.run(planes, true));
    }
}
