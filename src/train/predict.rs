//! Outputs of a model for features that the host gives.

use super::feed::{floats, whole};
use super::fitting::check_index_values;
use crate::error::{Error, Result};
use crate::optimizer::Optimizer;
use crate::plan::{BufferId, Kind, PlanId, Program};
use crate::rule::Real;

/// Computes outputs in blocks of a fixed number of rows, so that those of a row do not depend on the others.
#[derive(Debug)]
pub(super) struct Predictor {
    pub features: BufferId,
    /// What features are: floats, or indices.
    pub kind: Kind,
    pub out: BufferId,
    pub plan: PlanId,
    /// Rows of a block.
    pub rows: usize,
    /// Features and outputs of a row.
    pub width: usize,
    pub outputs: usize,
}

impl Predictor {
    /// The outputs of these lanes, row after row.
    pub fn predict<P: Program>(
        &self,
        optimizer: &mut Optimizer<P>,
        lanes: &[usize],
        features: &[f32],
    ) -> Result<Vec<Vec<P::Float>>> {
        if !features.len().is_multiple_of(self.width) {
            return Err(Error::shape("features to predict from", format!("rows of {}", self.width), features.len()));
        }
        if self.kind == Kind::Index {
            check_index_values(features, self.width)?;
        }
        let (program, mut outputs) = (optimizer.program_mut(), vec![Vec::new(); lanes.len()]);
        for block in features.chunks(self.rows * self.width) {
            let cells = self.rows * self.width;
            if self.kind == Kind::Index {
                let mut padded = whole(block);
                padded.resize(cells, 0);
                program.write_indices(self.features, 0, 0, &padded)?;
            } else {
                let mut padded = floats(block);
                padded.resize(cells, P::Float::of(0.0));
                program.write(self.features, 0, 0, &padded)?;
            }
            program.run(self.plan, 1)?;
            let len = block.len() / self.width * self.outputs;
            for (&lane, outputs) in lanes.iter().zip(&mut outputs) {
                outputs.extend(program.read_range(self.out, lane, 0..len)?);
            }
        }
        Ok(outputs)
    }
}
