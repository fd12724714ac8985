//! Parameters that all lanes share.

use super::Trainer;
use crate::error::{Error, Result};
use crate::plan::{BufferId, Program};
use std::ops::Range;

impl<P: Program> Trainer<P> {
    /// A parameter that all lanes share ([`SharedBase`](crate::nn::SharedBase)). It starts from the first lane's seed and never
    /// changes; it is no part of states and weights.
    ///
    /// # Errors
    /// A name that no shared parameter has, or those of the engine.
    pub fn shared(&mut self, name: &str) -> Result<Vec<P::Float>> {
        let (id, range) = self.shared_place(name)?;
        self.optimizer.program_mut().read_range(id, 0, range)
    }

    /// Sets a parameter that all lanes share, such as to the weights of a model that was trained before.
    ///
    /// # Errors
    /// As for [`Trainer::shared`], and [`Error::Shape`] for another number of elements.
    pub fn set_shared(&mut self, name: &str, values: &[P::Float]) -> Result<()> {
        let (id, range) = self.shared_place(name)?;
        if values.len() != range.len() {
            return Err(Error::shape(format!("shared parameter '{name}'"), format!("{} elements", range.len()), values.len()));
        }
        self.optimizer.program_mut().write(id, 0, range.start, values)
    }

    pub(super) fn shared_place(&self, name: &str) -> Result<(BufferId, Range<usize>)> {
        let Some((arena, id)) = &self.base else { return Err(Error::unknown("shared parameter", name, &[])) };
        let tensor = arena.tensor(name)?;
        Ok((*id, tensor.offset..tensor.offset + tensor.len()))
    }
}
