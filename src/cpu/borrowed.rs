//! Parameters and gradients of the caller, borrowed for one run.

use crate::error::{Error, Result};
use crate::plan::{Arena, BufferId, Tensor};
use std::ops::Range;

/// Whether slices are as many and as long as the arena's tensors, in each lane; the error names the tensor.
pub(super) fn check(arena: &Arena, lanes: usize, what: &str, lens: impl ExactSizeIterator<Item = usize>) -> Result<()> {
    let tensors = arena.tensors();
    if lens.len() != lanes * tensors.len() {
        return Err(Error::shape(format!("slices of {what}"), lanes * tensors.len(), lens.len()));
    }
    let differs = |(_, (len, tensor)): &(usize, (usize, &Tensor))| *len != tensor.len();
    if let Some((at, (len, tensor))) = lens.zip(tensors.iter().cycle()).enumerate().find(differs) {
        let lane = if lanes > 1 { format!(" in lane {}", at / tensors.len()) } else { String::new() };
        let expected = format!("{} elements", tensor.len());
        return Err(Error::shape(format!("{what} of tensor '{}'{lane}", tensor.name), expected, len));
    }
    Ok(())
}

/// Slices in the place of two buffers of one lane, tensor by tensor in the arena's order.
pub(super) struct Borrowed<'a, 's, F> {
    params: (BufferId, &'a mut [&'s mut [F]]),
    grads: (BufferId, &'a mut [&'s mut [F]]),
    arena: &'a Arena,
}

impl<'a, 's, F> Borrowed<'a, 's, F> {
    /// Slices that were checked.
    pub(super) fn new(
        arena: &'a Arena,
        params: (BufferId, &'a mut [&'s mut [F]]),
        grads: (BufferId, &'a mut [&'s mut [F]]),
    ) -> Self {
        Self { params, grads, arena }
    }

    /// The slices that stand for a buffer.
    pub(super) fn slices(&self, id: BufferId) -> Option<&[&'s mut [F]]> {
        [&self.params, &self.grads].into_iter().find(|(known, _)| *known == id).map(|(_, slices)| &**slices)
    }

    /// Whether slices stand for the buffer.
    pub(super) fn holds(&self, id: BufferId) -> bool {
        self.slices(id).is_some()
    }

    /// The tensors that start within a range of the arena; only the last of several that start at one element has elements.
    pub(super) fn tensors(&self, start: usize, len: usize) -> Range<usize> {
        let before = |end: usize| self.arena.tensors().partition_point(|tensor| tensor.offset < end);
        before(start)..before(start + len)
    }

    /// A tensor's elements in the arena, without padding.
    pub(super) fn range(&self, tensor: usize) -> Range<usize> {
        let tensor = &self.arena.tensors()[tensor];
        tensor.offset..tensor.offset + tensor.len()
    }

    /// The slices that stand for two buffers, each if there is one.
    pub(super) fn pair_mut(&mut self, tensor: usize, x: BufferId, g: BufferId) -> (Option<&mut [F]>, Option<&mut [F]>) {
        let (mut pair, of) = ((None, None), [&mut self.params, &mut self.grads]);
        for (id, slices) in of {
            if *id == x {
                pair.0 = Some(&mut *slices[tensor]);
            } else if *id == g {
                pair.1 = Some(&mut *slices[tensor]);
            }
        }
        pair
    }

    /// A part of the arena within the slice of one tensor.
    pub(super) fn line_mut(&mut self, id: BufferId, start: usize, len: usize) -> Option<&mut [F]> {
        // Tensors without elements start where the next one does.
        let tensor = self.arena.tensors().partition_point(|tensor| tensor.offset <= start).checked_sub(1)?;
        let first = self.arena.tensors()[tensor].offset;
        let (_, slices) = [&mut self.params, &mut self.grads].into_iter().find(|(known, _)| *known == id)?;
        Some(&mut slices[tensor][start - first..][..len])
    }

    /// First element of a tensor in the arena.
    pub(super) fn start(&self, tensor: usize) -> usize {
        self.arena.tensors()[tensor].offset
    }
}
