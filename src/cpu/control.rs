//! The decision about a step: its norm, clip coefficient and hyper row, or that it is skipped.

use super::norm::{clip_coefficient, joined};
use super::store::Store;
use crate::plan::{Control, Counter, Scalar};
use crate::rule::{HyperRow, Real};

pub(super) fn control<F: Real>(op: &Control, lane: &mut Store<F>) {
    let decision = decide(op, lane);
    let mut current = lane.take(op.current);
    for (group, row) in current.as_mut_slice::<F>().chunks_exact_mut(HyperRow::LEN).enumerate() {
        row.copy_from_slice(&lane.floats(op.rows)[row_of(op, lane, group)..][..HyperRow::LEN]);
        let live = decision.live && lane.indices(op.frozen)[group] == 0;
        row[HyperRow::LIVE] = if live { F::one() } else { F::zero() };
        row[HyperRow::SCALE] *= lane.floats(op.scalars)[Scalar::norm_of(op.domain_of[group]) + 1] * decision.unscale;
    }
    lane.put(op.current, current);
    count(op, lane, &decision);
}

/// Where the row of a group's next step stands.
fn row_of<F: Real>(op: &Control, lane: &Store<F>, group: usize) -> usize {
    let applied = lane.indices(op.counts)[Counter::LEN + group] as usize;
    (group * op.slots + applied % op.slots) * HyperRow::LEN
}

/// What happens to a step.
struct Decision<F> {
    live: bool,
    clipped: bool,
    /// The factor of the gradient beside the clip coefficient.
    unscale: F,
}

fn decide<F: Real>(op: &Control, lane: &mut Store<F>) -> Decision<F> {
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
        return Decision { live: some, clipped: false, unscale };
    };
    if op.loss_scale.is_some() {
        unscale /= lane.floats(op.scalars)[Scalar::LossScale as usize];
    }
    let (mut live, mut clipped) = (some, false);
    for (domain, chunks) in op.domains.iter().enumerate() {
        let raw = joined(kind, lane.floats(partials), chunks.clone());
        let row = &lane.floats(op.rows)[row_of(op, lane, leader(op, lane, domain))..][..HyperRow::LEN];
        let (gain, max_norm) = (row[HyperRow::SCALE].abs() * unscale, row[HyperRow::MAX_NORM]);
        let norm = raw.times(gain);
        let coefficient = clip_coefficient(norm, max_norm);
        lane.floats_mut(op.scalars)[Scalar::norm_of(domain)..][..2].copy_from_slice(&[norm.bounded(), coefficient]);
        // A gain above 1 may be what made the norm infinite, and elements with it; and a loss scale of 0 leaves no gradient.
        let good = raw.mantissa.is_finite() && (norm.value().is_finite() || gain <= F::one());
        live &= good || !op.skip_bad;
        clipped |= coefficient < F::one();
    }
    Decision { live, clipped: live && clipped, unscale }
}

/// The group of a domain whose row has the bound of the norm: the first that is not frozen, since a frozen one stays at its
/// step.
fn leader<F: Real>(op: &Control, lane: &Store<F>, domain: usize) -> usize {
    let own = || op.domain_of.iter().zip(lane.indices(op.frozen)).enumerate().filter(|(_, (of, _))| **of == domain);
    let moving = own().find(|(_, (_, frozen))| **frozen == 0);
    moving.or_else(|| own().next()).map_or(0, |(group, _)| group)
}

fn count<F: Real>(op: &Control, lane: &mut Store<F>, decision: &Decision<F>) {
    let mut moves = false;
    for group in 0..op.groups {
        let live = decision.live && lane.indices(op.frozen)[group] == 0;
        lane.indices_mut(op.counts)[Counter::LEN + group] += u32::from(live);
        moves |= live;
    }
    let index = lane.lane();
    let counts = lane.indices_mut(op.counts);
    let what = match decision.live {
        true if moves => Counter::Applied,
        true => Counter::Frozen,
        false => Counter::Skipped,
    };
    counts[what as usize] += 1;
    counts[Counter::Clipped as usize] += u32::from(decision.clipped && moves);
    counts[Counter::BadInARow as usize] = if decision.live { 0 } else { counts[Counter::BadInARow as usize].saturating_add(1) };
    let Some(rules) = &op.loss_scale else { return };
    let rule = rules.of(index);
    let good = counts[Counter::Good as usize] + 1;
    let grows = decision.live && good == rule.interval;
    counts[Counter::Good as usize] = if grows || !decision.live { 0 } else { good };
    let scale = &mut lane.floats_mut(op.scalars)[Scalar::LossScale as usize];
    let grown = *scale * F::of(rule.growth);
    if grows && grown.is_finite() {
        *scale = grown;
    }
    let min = F::of(rule.min);
    if !decision.live && *scale > min {
        *scale = (*scale * F::of(rule.backoff)).max(min);
    }
}
