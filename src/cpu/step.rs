//! The optimizer's part of a step: norm, decision, update.

use super::store::Store;
use crate::plan::{ALIGN, CHUNK, Chunk, Control, Counter, Norm, NormKind, SLOTS, Scalar, Update};
use crate::rule::{AnyRule, Real, Row};
use rayon::prelude::*;

/// Elements that one task updates: long enough to pay for its start, short enough to share out evenly.
const GRAIN: usize = 32_768;

pub(super) fn norm<F: Real>(op: &Norm, lane: &mut Store<F>, parallel: bool) {
    let mut partials = lane.take(op.partials);
    let (grads, frozen) = (lane.floats(op.grads), lane.indices(op.frozen));
    let partial = |chunk: &Chunk| match frozen[chunk.group] {
        0 => partial_norm(op.kind, &grads[chunk.start..][..chunk.len]),
        _ => F::zero(),
    };
    let sums = partials.as_mut_slice();
    if parallel && grads.len() > GRAIN {
        let pairs = sums.par_iter_mut().zip(&op.chunks).with_min_len(GRAIN / CHUNK);
        pairs.for_each(|(sum, chunk)| *sum = partial(chunk));
    } else {
        sums.iter_mut().zip(&op.chunks).for_each(|(sum, chunk)| *sum = partial(chunk));
    }
    lane.put(op.partials, partials);
}

/// Σ x², Σ |x| or max |x|, in a fixed order: 64 running values, then one of them. Not finite if any x is not.
fn partial_norm<F: Real>(kind: NormKind, chunk: &[F]) -> F {
    match kind {
        NormKind::L2 => pulp::Arch::new().dispatch(|| fold(chunk, |x| x * x, |a, b| a + b)),
        NormKind::L1 => pulp::Arch::new().dispatch(|| fold(chunk, F::abs, |a, b| a + b)),
        NormKind::Max => pulp::Arch::new().dispatch(|| fold(chunk, F::abs, larger)),
    }
}

#[inline(always)]
fn fold<F: Real>(chunk: &[F], term: impl Fn(F) -> F, join: impl Fn(F, F) -> F) -> F {
    let mut values = [F::zero(); ALIGN];
    let (blocks, rest) = chunk.as_chunks::<ALIGN>();
    for block in blocks {
        for i in 0..ALIGN {
            values[i] = join(values[i], term(block[i]));
        }
    }
    for (value, &x) in values.iter_mut().zip(rest) {
        *value = join(*value, term(x));
    }
    values.into_iter().fold(F::zero(), join)
}

/// The larger of two values that are not negative; NaN is larger than all, unlike in `max`.
#[inline(always)]
pub(super) fn larger<F: Real>(a: F, b: F) -> F {
    if b > a || b.is_nan() { b } else { a }
}

pub(super) fn control<F: Real>(op: &Control, lane: &mut Store<F>) {
    let row_of = |group: usize, lane: &Store<F>| {
        let applied = lane.indices(op.counts)[Counter::LEN + group] as usize;
        (group * SLOTS + applied % SLOTS) * Row::LEN
    };
    let decision = decide(op, lane, row_of(0, lane));

    let mut current = lane.take(op.current);
    for (group, row) in current.as_mut_slice::<F>().chunks_exact_mut(Row::LEN).enumerate() {
        row.copy_from_slice(&lane.floats(op.rows)[row_of(group, lane)..][..Row::LEN]);
        let live = decision.live && lane.indices(op.frozen)[group] == 0;
        row[Row::LIVE] = if live { F::one() } else { F::zero() };
        row[Row::SCALE] *= decision.scale;
    }
    lane.put(op.current, current);
    count(op, lane, &decision);
}

/// What happens to a step.
struct Decision<F> {
    live: bool,
    clipped: bool,
    /// The factor of the gradient.
    scale: F,
}

fn decide<F: Real>(op: &Control, lane: &mut Store<F>, row: usize) -> Decision<F> {
    let Some((partials, kind)) = op.norm else {
        lane.floats_mut(op.scalars)[..2].copy_from_slice(&[F::zero(), F::one()]);
        return Decision { live: true, clipped: false, scale: F::one() };
    };
    let partials = lane.floats(partials).iter().copied();
    let raw = match kind {
        NormKind::L2 => partials.sum::<F>().sqrt(),
        NormKind::L1 => partials.sum(),
        NormKind::Max => partials.fold(F::zero(), larger),
    };
    let rows = lane.floats(op.rows);
    let (scale, max_norm) = (rows[row + Row::SCALE].abs(), rows[row + Row::MAX_NORM]);
    let unscale = op.loss_scale.map_or(F::one(), |_| lane.floats(op.scalars)[Scalar::LossScale as usize].recip());
    let norm = raw * (scale * unscale);
    let coefficient = clip_coefficient(norm, max_norm);
    let scalars = lane.floats_mut(op.scalars);
    scalars[Scalar::Norm as usize] = norm;
    scalars[Scalar::Coefficient as usize] = coefficient;
    // A norm that only its scales make infinite cannot be clipped, and a loss scale of 0 leaves no gradient.
    let live = raw.is_finite() && norm.is_finite();
    Decision { live, clipped: live && coefficient < F::one(), scale: coefficient * unscale }
}

/// `min(1, max_norm / (norm + 1e-6))`, as `torch.nn.utils.clip_grad_norm_`.
fn clip_coefficient<F: Real>(norm: F, max_norm: F) -> F {
    let total = norm + F::of(1e-6);
    if total > max_norm { max_norm / total } else { F::one() }
}

fn count<F: Real>(op: &Control, lane: &mut Store<F>, decision: &Decision<F>) {
    let live: Vec<bool> = lane.indices(op.frozen).iter().map(|&frozen| decision.live && frozen == 0).collect();
    let counts = lane.indices_mut(op.counts);
    counts[if decision.live { Counter::Applied } else { Counter::Skipped } as usize] += 1;
    counts[Counter::Clipped as usize] += u32::from(decision.clipped);
    counts[Counter::LEN..].iter_mut().zip(live).for_each(|(count, live)| *count += u32::from(live));
    let Some(rule) = op.loss_scale else { return };
    let good = counts[Counter::Good as usize] + 1;
    let grows = decision.live && good == rule.interval;
    counts[Counter::Good as usize] = if grows || !decision.live { 0 } else { good };
    let scale = &mut lane.floats_mut(op.scalars)[Scalar::LossScale as usize];
    let grown = *scale * F::of(rule.growth);
    if grows && grown.is_finite() {
        *scale = grown;
    }
    if !decision.live {
        *scale *= F::of(rule.backoff);
    }
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
