//! Whether a model fits into memory.

use super::{Built, Description};
use crate::memory;
use anyhow::Result;
use thalweg::nn::Summary;
use thalweg::plan::Kind;
use thalweg::{AnyRule, Memory};

/// Rows that are evaluated together.
const BLOCK: usize = 256;

/// What a model takes, data apart.
pub struct Size {
    pub parameters: u128,
    /// All of it.
    pub bytes: u128,
    /// Its largest part in one piece.
    pub buffer: u128,
}

impl Size {
    /// Of a model with its rule and batches of so many rows, as far as it has at most `limit` bytes: beyond that parameters
    /// alone count.
    pub fn of(description: &Description, built: &Built, rule: &dyn AnyRule, batch: usize, limit: Option<u64>) -> Result<Self> {
        // First weights in f64 and f32, then parameters, gradients and what the rule keeps.
        let per_parameter = 8 + 4 + 4 + 4 + Memory::of(rule).bytes as u128;
        let state = built.parameters * per_parameter;
        let most = u128::from(limit.unwrap_or(isize::MAX as u64));
        let mut size = Self { parameters: built.parameters, bytes: state, buffer: 4 * built.parameters };
        if state <= most {
            // Shapes are tried with two rows; a batch of one may be too small for a normalisation, which is said when it is
            // recorded.
            let rows = batch.max(2);
            let kind = if description.table_rows()?.is_some() { Kind::Index } else { Kind::Float };
            let summary = Summary::of(&built.model, &[rows, description.inputs()], kind)?;
            let of_row = (summary.bytes as u128).div_ceil(rows as u128) + 4 * description.inputs() as u128;
            size.bytes += of_row * (rows + BLOCK) as u128;
            size.buffer = size.buffer.max(4 * built.widest as u128 * rows.max(BLOCK) as u128);
        }
        Ok(size)
    }

    /// Refuses a model that does not fit into memory with its data, before any of it is made. `options` are those that made it
    /// large.
    pub fn check(&self, options: &str, rule: &dyn AnyRule, cells: usize, limit: Option<u64>) -> Result<()> {
        // As they were read, as they are uploaded, as they lie on the device.
        let data = 3 * 4 * cells as u128;
        let what = format!("a network of {} parameters ({options}) with {} and its data", self.parameters, rule.name());
        memory::check(&what, self.bytes + data, limit)
    }
}
