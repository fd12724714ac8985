//! Directions of matrices, made orthogonal.

use crate::plan::BufferId;
use crate::rule::Orthogonal;

/// Makes the directions of matrices of one shape orthogonal, in place, as [`Orthogonal`] says. A matrix whose norm is 0
/// becomes 0.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Orthogonalise {
    /// An arena, read and written.
    pub directions: BufferId,
    /// Two per tensor, the first the norm of its direction; from [`Factors`](super::Factors).
    pub norms: BufferId,
    /// First element in the arena, and place among the norms.
    pub matrices: Vec<[usize; 2]>,
    /// Rows of each matrix.
    pub rows: usize,
    /// Columns of each matrix.
    pub columns: usize,
    /// Coefficients, iterations and what follows.
    pub how: Orthogonal,
    /// For intermediate results: two buffers that hold the matrices, two that hold as many squares of their shorter side.
    pub scratch: [BufferId; 4],
}

impl Orthogonalise {
    /// Of matrices of this many rows and columns.
    pub fn new(
        directions: BufferId,
        norms: BufferId,
        matrices: Vec<[usize; 2]>,
        [rows, columns]: [usize; 2],
        how: Orthogonal,
        scratch: [BufferId; 4],
    ) -> Self {
        Self { directions, norms, matrices, rows, columns, how, scratch }
    }
}
