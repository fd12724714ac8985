//! Factors of each tensor, from its norms: a bound and a rule's trust.

use super::norm::{Length, clip_coefficient, joined};
use super::store::Store;
use crate::plan::{Factors, NormKind, NormOf, TensorBound, TensorChunks, Trust};
use crate::rule::{HyperRow, Real};

pub(super) fn factors<F: Real>(op: &Factors, lane: &mut Store<F>) {
    for part in &op.tensors {
        let index = part.tensor;
        let rows = lane.floats(op.current);
        let mut row = [F::zero(); HyperRow::LEN];
        row.copy_from_slice(&rows[part.group * HyperRow::LEN..][..HyperRow::LEN]);
        let (own, params) = norms(op, part, &row, lane);
        let known = if op.of == NormOf::Gradient { own.bounded() } else { own.value() };
        lane.floats_mut(op.norms)[2 * index..][..2].copy_from_slice(&[known, params]);
        if row[HyperRow::LIVE] == F::zero() {
            continue;
        }
        let bound = match op.bound {
            TensorBound::None => F::one(),
            TensorBound::Clip => clip_coefficient(own, row[HyperRow::MAX_TENSOR]),
            TensorBound::Normalise => own.divides(F::one(), F::of(1e-6)),
        };
        let mut memory = op.memory.map_or(F::zero(), |memory| lane.floats(memory)[index]);
        let len = F::of(part.len as f64);
        let trust = match &op.trust {
            Trust::None => F::one(),
            Trust::Cautious => len / known.max(F::of(1e-3) * len),
            Trust::Rule(rule) => F::trust(&**rule, &row, [own.times(bound).value(), params], len, &mut memory),
        };
        if let Some(id) = op.memory {
            lane.floats_mut(id)[index] = memory;
        }
        lane.floats_mut(op.factors)[2 * index..][..2].copy_from_slice(&[bound, trust]);
    }
}

/// The norms of a tensor's gradient, in the scale that the rule sees, and of its parameters.
fn norms<F: Real>(op: &Factors, part: &TensorChunks, row: &[F], lane: &Store<F>) -> (Length<F>, F) {
    let chunks = part.chunk..part.chunk + part.chunks;
    let (partials, kind) = op.partials;
    let raw = joined(kind, lane.floats(partials), chunks.clone());
    let params = op.params.map_or(F::zero(), |params| joined(NormKind::L2, lane.floats(params), chunks).value());
    let own = match op.of {
        NormOf::Gradient => raw.times(row[HyperRow::SCALE].abs()),
        NormOf::Direction if row[HyperRow::LIVE] == F::zero() => Length { mantissa: F::zero(), exponent: 0 },
        NormOf::Direction => raw,
    };
    (own, params)
}
