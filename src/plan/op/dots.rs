//! Inner products of vectors.

use crate::plan::{BufferId, Chunk, View};

/// `partials[l·R + r, c] = Σ left_l[i] · right_r[i]` over the elements `i` of the c-th chunk; R is the number of vectors on the
/// right. Vectors are buffers of one arena, and may be the same ones on both sides.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Dots {
    /// Left factors.
    pub left: Vec<BufferId>,
    /// Right factors.
    pub right: Vec<BufferId>,
    /// What each partial sum covers.
    pub chunks: Vec<Chunk>,
    /// One row per product, one column per chunk.
    pub partials: View,
}

impl Dots {
    /// The products of each vector on the left with each on the right.
    pub fn new(left: Vec<BufferId>, right: Vec<BufferId>, chunks: Vec<Chunk>, partials: View) -> Self {
        Self { left, right, chunks, partials }
    }
}
