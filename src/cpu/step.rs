//! What decides about a step: norm, control, gate.

use super::lent::Lent;
use super::share;
use super::store::Store;
use crate::plan::{CHUNK, Chunk, Control, Counter, Gate, GateKind, Norm, NormKind, SLOTS, Scalar};
use crate::rule::{Real, Row};

/// Elements that one task looks at: long enough to pay for its start, short enough to share out evenly.
pub(super) const GRAIN: usize = 32_768;

pub(super) fn norm<F: Real>(op: &Norm, lane: &mut Store<F>, lent: Option<&Lent<F>>, parallel: bool) {
    let mut partials = lane.take(op.partials);
    let frozen = lane.indices(op.frozen);
    let slices = lent.and_then(|lent| Some((lent, lent.slices(op.grads)?)));
    let grads: &[F] = if slices.is_some() { &[] } else { lane.floats(op.grads) };
    let elements = |chunk: &Chunk| match (frozen[chunk.group], slices) {
        (0, None) => &grads[chunk.start..][..chunk.len],
        (0, Some((lent, slices))) => &slices[chunk.tensor][chunk.start - lent.start(chunk.tensor)..][..chunk.len],
        _ => &[],
    };
    let some = |(sums, chunks): (&mut [F], &[Chunk])| {
        for (sums, chunks) in sums.chunks_mut(STREAMS).zip(chunks.chunks(STREAMS)) {
            let partials = partial_norms(op.kind, std::array::from_fn(|i| chunks.get(i).map_or(&[][..], elements)));
            sums.copy_from_slice(&partials[..sums.len()]);
        }
    };
    let (sums, part): (&mut [F], _) = (partials.as_mut_slice(), GRAIN / CHUNK);
    if parallel && op.chunks.len() > part {
        share::in_order(sums.chunks_mut(part).zip(op.chunks.chunks(part)), some);
    } else {
        some((sums, &op.chunks));
    }
    lane.put(op.partials, partials);
}

/// Chunks that are read side by side: a core has more reads of memory under way than it makes along a single one.
const STREAMS: usize = 4;

/// Running values of a chunk: those of all streams fit a core's registers.
const VALUES: usize = 16;

/// Of each chunk Σ x², Σ |x|, max |x| or how many are not 0, in a fixed order: running values, then one of them. Not finite if any x is
/// not.
fn partial_norms<F: Real>(kind: NormKind, chunks: [&[F]; STREAMS]) -> [F; STREAMS] {
    let counts = |x: F| if x == F::zero() { F::zero() } else { F::one() };
    match kind {
        NormKind::L2 => pulp::Arch::new().dispatch(|| fold(chunks, |x| x * x, |a, b| a + b)),
        NormKind::L1 => pulp::Arch::new().dispatch(|| fold(chunks, F::abs, |a, b| a + b)),
        NormKind::Max => pulp::Arch::new().dispatch(|| fold(chunks, F::abs, larger)),
        NormKind::Count => pulp::Arch::new().dispatch(|| fold(chunks, counts, |a, b| a + b)),
    }
}

#[inline(always)]
fn fold<F: Real>(chunks: [&[F]; STREAMS], term: impl Fn(F) -> F, join: impl Fn(F, F) -> F) -> [F; STREAMS] {
    let mut values = [[F::zero(); VALUES]; STREAMS];
    let add = |values: &mut [F; VALUES], block: &[F]| {
        values.iter_mut().zip(block).for_each(|(value, &x)| *value = join(*value, term(x)));
    };
    let [a, b, c, d] = chunks.map(|chunk| chunk.as_chunks::<VALUES>().0);
    let together = a.iter().zip(b).zip(c).zip(d);
    let side_by_side = together.len() * VALUES;
    for (((a, b), c), d) in together {
        values.iter_mut().zip([a, b, c, d]).for_each(|(values, block)| add(values, block));
    }
    for (values, chunk) in values.iter_mut().zip(chunks) {
        let (blocks, rest) = chunk[side_by_side..].as_chunks::<VALUES>();
        blocks.iter().for_each(|block| add(values, block));
        add(values, rest);
    }
    values.map(|values| values.into_iter().fold(F::zero(), &join))
}

/// The larger of two values that are not negative; NaN is larger than all, unlike in `max`.
#[inline(always)]
pub(super) fn larger<F: Real>(a: F, b: F) -> F {
    if b > a || b.is_nan() { b } else { a }
}

/// Partial norms joined: the root is taken of squares.
pub(super) fn joined<F: Real>(kind: NormKind, partials: &[F]) -> F {
    let partials = partials.iter().copied();
    match kind {
        NormKind::L2 => partials.sum::<F>().sqrt(),
        NormKind::L1 | NormKind::Count => partials.sum(),
        NormKind::Max => partials.fold(F::zero(), larger),
    }
}

pub(super) fn control<F: Real>(op: &Control, lane: &mut Store<F>) {
    let row_of = |group: usize, lane: &Store<F>| {
        let applied = lane.indices(op.counts)[Counter::LEN + group] as usize;
        (group * SLOTS + applied % SLOTS) * Row::LEN
    };
    // The bound of the norm is that of the first group that is not frozen: a frozen one stays at its step.
    let leader = lane.indices(op.frozen).iter().position(|&frozen| frozen == 0).unwrap_or(0);
    let decision = decide(op, lane, row_of(leader, lane));

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
    // Without a micro-batch (all were dropped) there is nothing to step with.
    let mut some = true;
    let mut unscale = F::one();
    if let Some(micro) = op.micro {
        let count = std::mem::take(&mut lane.indices_mut(micro.count)[0]);
        some = count > 0;
        if micro.mean {
            unscale = F::of(f64::from(count.max(1))).recip();
        }
    }
    let Some((partials, kind)) = op.norm else {
        lane.floats_mut(op.scalars)[..2].copy_from_slice(&[F::zero(), F::one()]);
        return Decision { live: some, clipped: false, scale: unscale };
    };
    let raw = joined(kind, lane.floats(partials));
    let rows = lane.floats(op.rows);
    let (scale, max_norm) = (rows[row + Row::SCALE].abs(), rows[row + Row::MAX_NORM]);
    if op.loss_scale.is_some() {
        unscale /= lane.floats(op.scalars)[Scalar::LossScale as usize];
    }
    let norm = raw * (scale * unscale);
    let coefficient = clip_coefficient(norm, max_norm);
    let scalars = lane.floats_mut(op.scalars);
    scalars[Scalar::Norm as usize] = norm;
    scalars[Scalar::Coefficient as usize] = coefficient;
    // A norm that only its scales make infinite cannot be clipped, and a loss scale of 0 leaves no gradient.
    let live = some && raw.is_finite() && norm.is_finite();
    Decision { live, clipped: live && coefficient < F::one(), scale: coefficient * unscale }
}

/// `min(1, max_norm / (norm + 1e-6))`, as `torch.nn.utils.clip_grad_norm_`.
pub(super) fn clip_coefficient<F: Real>(norm: F, max_norm: F) -> F {
    let total = norm + F::of(1e-6);
    if total > max_norm { max_norm / total } else { F::one() }
}

fn count<F: Real>(op: &Control, lane: &mut Store<F>, decision: &Decision<F>) {
    for group in 0..op.groups {
        let live = decision.live && lane.indices(op.frozen)[group] == 0;
        lane.indices_mut(op.counts)[Counter::LEN + group] += u32::from(live);
    }
    let counts = lane.indices_mut(op.counts);
    counts[if decision.live { Counter::Applied } else { Counter::Skipped } as usize] += 1;
    counts[Counter::Clipped as usize] += u32::from(decision.clipped);
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

pub(super) fn gate<F: Real>(op: &Gate, lane: &mut Store<F>) {
    let norm = op.norm.map_or(F::zero(), |(partials, kind)| joined(kind, lane.floats(partials)));
    let good = norm.is_finite();
    if let GateKind::Accumulate { count } = op.kind {
        lane.indices_mut(count)[0] += u32::from(good);
    }
    let flag = |holds: bool| if holds { F::one() } else { F::zero() };
    for group in 0..op.groups {
        let frozen = lane.indices(op.frozen)[group] != 0;
        let row = &mut lane.floats_mut(op.current)[group * Row::LEN..][..Row::LEN];
        let (live, scale, stays) = match op.kind {
            GateKind::Accumulate { .. } => (good && !frozen, F::one(), false),
            // Parameters that stay are live, since they have to be remembered.
            GateKind::Ascend { rho } if good => (true, F::of(rho) / (norm + F::of(1e-12)), frozen),
            GateKind::Ascend { .. } => (true, F::one(), true),
        };
        row[Row::LIVE] = flag(live);
        row[Row::SCALE] = scale;
        row[Row::DECAY] = F::one();
        row[Row::SHARED.len()] = flag(stays);
        // No bound on the gradient.
        row[Row::MAX_VALUE] = F::infinity();
    }
}
