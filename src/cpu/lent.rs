//! Parameters and gradients that the caller lends for one run.

use crate::error::{Error, Result};
use crate::plan::{Arena, BufferId};

/// Slices in the place of two buffers of one lane, tensor by tensor in the arena's order.
pub(super) struct Lent<'a, 's, F> {
    params: (BufferId, &'a mut [&'s mut [F]]),
    grads: (BufferId, &'a mut [&'s mut [F]]),
    arena: &'a Arena,
}

impl<'a, 's, F> Lent<'a, 's, F> {
    /// # Errors
    /// Naming the tensor: slices that are not as many or not as long as the arena's tensors.
    pub(super) fn new(
        arena: &'a Arena,
        params: (BufferId, &'a mut [&'s mut [F]]),
        grads: (BufferId, &'a mut [&'s mut [F]]),
    ) -> Result<Self> {
        for (what, slices) in [("parameters", &*params.1), ("gradients", &*grads.1)] {
            if slices.len() != arena.tensors().len() {
                return Err(Error::shape(format!("slices of {what}"), arena.tensors().len(), slices.len()));
            }
            for (slice, tensor) in slices.iter().zip(arena.tensors()) {
                if slice.len() != tensor.len() {
                    let expected = format!("{} elements", tensor.len());
                    return Err(Error::shape(format!("{what} of tensor '{}'", tensor.name), expected, slice.len()));
                }
            }
        }
        Ok(Self { params, grads, arena })
    }

    /// The slices that stand for a buffer.
    pub(super) fn slices(&self, id: BufferId) -> Option<&[&'s mut [F]]> {
        [&self.params, &self.grads].into_iter().find(|(known, _)| *known == id).map(|(_, slices)| &**slices)
    }

    /// The slice of a buffer with the tensor that starts at this element of the arena, or holds it; and where the tensor starts.
    pub(super) fn slice_mut(&mut self, id: BufferId, element: usize) -> Option<(&mut [F], usize)> {
        // Tensors without elements start where the next one does.
        let tensor = self.arena.tensors().partition_point(|tensor| tensor.offset <= element).checked_sub(1)?;
        let start = self.arena.tensors()[tensor].offset;
        let (_, slices) = [&mut self.params, &mut self.grads].into_iter().find(|(known, _)| *known == id)?;
        Some((&mut *slices[tensor], start))
    }

    /// Both slices of the tensor that starts at this element.
    pub(super) fn pair_mut(&mut self, element: usize) -> Option<(&mut [F], &mut [F])> {
        let tensor = self.arena.tensors().partition_point(|tensor| tensor.offset <= element).checked_sub(1)?;
        Some((&mut *self.params.1[tensor], &mut *self.grads.1[tensor]))
    }

    /// Whether slices stand for the buffer.
    pub(super) fn holds(&self, id: BufferId) -> bool {
        self.slices(id).is_some()
    }

    /// First element of a tensor in the arena.
    pub(super) fn start(&self, tensor: usize) -> usize {
        self.arena.tensors()[tensor].offset
    }
}
