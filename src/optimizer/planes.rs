//! Planes as floats, however they are kept.

use super::stepper::Stepper;
use crate::error::Result;
use crate::plan::{BufferId, Half, Program, Values};
use crate::rule::Real;
use std::ops::Range;

impl Stepper {
    /// A part of a lane's plane. Waits for the device.
    pub(super) fn read_plane<P: Program>(
        &self,
        program: &mut P,
        id: BufferId,
        lane: usize,
        range: Range<usize>,
    ) -> Result<Vec<P::Float>> {
        match self.recipe.state.half() {
            None => program.read_range(id, lane, range),
            Some(half) => Ok(floats(half, &program.read_halves(id, lane)?[range])),
        }
    }

    /// Lanes of a plane.
    pub(super) fn plane_lanes<F: Real>(&self, values: Values<F>) -> Vec<Vec<F>> {
        match (values, self.recipe.state.half()) {
            (Values::Floats(lanes), _) => lanes,
            (Values::Halves(lanes), Some(half)) => lanes.iter().map(|bits| floats(half, bits)).collect(),
            _ => Vec::new(),
        }
    }

    /// Writes a part of a lane's plane, rounded to the nearest; it begins where a tensor does, or a block.
    pub(super) fn write_plane<P: Program>(
        &self,
        program: &mut P,
        id: BufferId,
        lane: usize,
        start: usize,
        values: &[P::Float],
    ) -> Result<()> {
        match self.recipe.state.half() {
            None => program.write(id, lane, start, values),
            Some(half) => program.write_halves(id, lane, start, &padded_halves(half, values)),
        }
    }
}

/// The bits of values in 16 bits.
pub(super) fn halves<F: Real>(kind: Half, values: &[F]) -> Vec<u16> {
    values.iter().map(|x| kind.bits(x.as_f64() as f32)).collect()
}

/// [`halves`], two by two: what is padded is zero.
pub(super) fn padded_halves<F: Real>(kind: Half, values: &[F]) -> Vec<u16> {
    let mut halves = halves(kind, values);
    halves.resize(halves.len().next_multiple_of(2), 0);
    halves
}

/// The values of bits.
pub(super) fn floats<F: Real>(kind: Half, bits: &[u16]) -> Vec<F> {
    bits.iter().map(|&bits| F::of(kind.value(bits).into())).collect()
}
