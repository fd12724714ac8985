//! Work per tensor or per line: factors from a tensor's norms, and the mean taken out of a line.

use super::lent::Lent;
use super::norm::{Length, joined};
use super::step::clip_coefficient;
use super::store::Store;
use crate::plan::{Centralise, Factors, NormKind, NormOf, Part, TensorBound, Trust};
use crate::rule::{Real, Row};

pub(super) fn factors<F: Real>(op: &Factors, lane: &mut Store<F>) {
    for part in &op.tensors {
        let index = part.tensor;
        let rows = lane.floats(op.current);
        let mut row = [F::zero(); Row::LEN];
        row.copy_from_slice(&rows[part.group * Row::LEN..][..Row::LEN]);
        let (own, params) = norms(op, part, &row, lane);
        let known = if op.of == NormOf::Gradient { own.bounded() } else { own.value() };
        lane.floats_mut(op.norms)[2 * index..][..2].copy_from_slice(&[known, params]);
        if row[Row::LIVE] == F::zero() {
            continue;
        }
        let bound = match op.bound {
            TensorBound::None => F::one(),
            TensorBound::Clip => clip_coefficient(own, row[Row::MAX_TENSOR]),
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
fn norms<F: Real>(op: &Factors, part: &Part, row: &[F], lane: &Store<F>) -> (Length<F>, F) {
    let chunks = part.chunk..part.chunk + part.chunks;
    let (partials, kind) = op.partials;
    let raw = joined(kind, lane.floats(partials), chunks.clone());
    let params = op.params.map_or(F::zero(), |params| joined(NormKind::L2, lane.floats(params), chunks).value());
    let own = match op.of {
        NormOf::Gradient => raw.times(row[Row::SCALE].abs()),
        NormOf::Pass if row[Row::LIVE] == F::zero() => Length { mantissa: F::zero(), exponent: 0 },
        NormOf::Pass => raw,
    };
    (own, params)
}

pub(super) fn centralise<F: Real>(op: &Centralise, lane: &mut Store<F>, lent: Option<&mut Lent<F>>) {
    let mut lent = lent.filter(|lent| lent.holds(op.grads));
    for &[start, len] in &op.lines {
        match lent.as_mut().and_then(|lent| lent.line_mut(op.grads, start, len)) {
            Some(line) => centre(line),
            None => centre(&mut lane.floats_mut(op.grads)[start..][..len]),
        }
    }
}

fn centre<F: Real>(line: &mut [F]) {
    let len = F::of(line.len() as f64);
    let mean = line.iter().copied().sum::<F>() / len;
    // The sum may have left the range of the float, which the mean of finite elements does not.
    let mean = if mean.is_finite() { mean } else { line.iter().map(|&g| g / len).sum() };
    line.iter_mut().for_each(|g| *g -= mean);
}
