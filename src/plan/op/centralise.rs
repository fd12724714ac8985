//! Means of lines, taken out of gradients.

use crate::plan::BufferId;

/// `grads[e] −= mean of its line`, for lines of equal length in each tensor.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Centralise {
    /// Gradients, read and written.
    pub grads: BufferId,
    /// The lines: first element in the arena, and elements.
    pub lines: Vec<[usize; 2]>,
}

impl Centralise {
    /// Of these lines.
    pub fn new(grads: BufferId, lines: Vec<[usize; 2]>) -> Self {
        Self { grads, lines }
    }
}
