//! Whether a micro-batch counts, or how far to ascend.

use super::norm::{Length, joined};
use super::store::Store;
use crate::plan::{BufferId, Gate, GateKind, NormKind};
use crate::rule::{HyperRow, Real};

pub(super) fn gate<F: Real>(op: &Gate, lane: &mut Store<F>) {
    let nothing = Length { mantissa: F::zero(), exponent: 0 };
    let norm = op.norm.map_or(nothing, |(partials, kind)| of_lane(kind, partials, lane));
    let good = norm.mantissa.is_finite();
    if let &GateKind::Accumulate { count } = &op.kind {
        lane.indices_mut(count)[0] += u32::from(good);
    }
    let flag = |holds: bool| if holds { F::one() } else { F::zero() };
    let index = lane.lane();
    for group in 0..op.groups {
        let frozen = lane.indices(op.frozen)[group] != 0;
        let row = &mut lane.floats_mut(op.current)[group * HyperRow::LEN..][..HyperRow::LEN];
        let (live, scale, stays) = match &op.kind {
            GateKind::Accumulate { .. } => (good && !frozen, F::one(), false),
            // Parameters that stay are live, since they have to be remembered.
            GateKind::Ascend { rho } if good => (true, norm.divides(F::of(*rho.of(index)), F::of(1e-12)), frozen),
            GateKind::Ascend { .. } => (true, F::one(), true),
        };
        row[HyperRow::LIVE] = flag(live);
        row[HyperRow::SCALE] = scale;
        row[HyperRow::DECAY] = F::one();
        row[HyperRow::SHARED.len()] = flag(stays);
        // No bound on the gradient.
        row[HyperRow::MAX_VALUE] = F::infinity();
    }
}

/// The norm of a whole lane.
fn of_lane<F: Real>(kind: NormKind, partials: BufferId, lane: &Store<F>) -> Length<F> {
    let partials = lane.floats(partials);
    joined(kind, partials, 0..partials.len() / kind.partials(1))
}
