//! Outputs of a model for features that the host gives.

use super::Trainer;
use super::feed::{floats, whole};
use super::fitting::check_index_values;
use crate::error::{Error, Result};
#[cfg(feature = "gpu")]
use crate::gpu::GpuProgram;
use crate::optimizer::Optimizer;
use crate::plan::{BufferId, Kind, PlanId, Program};
use crate::rule::Real;

impl<P> Trainer<P> {
    /// Features of a row.
    pub fn features(&self) -> usize {
        self.predictor.width
    }

    /// Outputs of the model for a row, as [`Trainer::predict`] returns them.
    pub fn outputs(&self) -> usize {
        self.predictor.outputs
    }
}

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
        let (program, mut outputs) = (optimizer.program_mut(), vec![Vec::new(); lanes.len()]);
        for block in self.blocks(features)? {
            let len = self.run(program, block)?;
            for (&lane, outputs) in lanes.iter().zip(&mut outputs) {
                outputs.extend(program.read_range(self.out, lane, 0..len)?);
            }
        }
        Ok(outputs)
    }

    /// [`Predictor::predict`] without a wait.
    #[cfg(feature = "gpu")]
    pub async fn predict_async(&self, program: &mut GpuProgram, lanes: &[usize], features: &[f32]) -> Result<Vec<Vec<f32>>> {
        let mut outputs = vec![Vec::new(); lanes.len()];
        for block in self.blocks(features)? {
            let len = self.run(program, block)?;
            for (&lane, outputs) in lanes.iter().zip(&mut outputs) {
                outputs.extend(program.read_range_async(self.out, lane, 0..len).await?);
            }
        }
        Ok(outputs)
    }

    fn blocks<'a>(&self, features: &'a [f32]) -> Result<std::slice::Chunks<'a, f32>> {
        if !features.len().is_multiple_of(self.width) {
            return Err(Error::shape("features to predict from", format!("rows of {}", self.width), features.len()));
        }
        if self.kind == Kind::Index {
            check_index_values(features, self.width)?;
        }
        Ok(features.chunks(self.rows * self.width))
    }

    /// Computes the outputs of a block; returns how many there are.
    fn run<P: Program>(&self, program: &mut P, block: &[f32]) -> Result<usize> {
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
        Ok(block.len() / self.width * self.outputs)
    }
}
