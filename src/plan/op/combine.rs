//! Linear combinations of vectors.

use crate::plan::{BufferId, View};

/// `output = Σ_k coefficients[k] · term_k`, element-wise; the coefficients are a lane's own floats. Vectors are buffers of one
/// arena.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Combine {
    /// What is added up, at least one.
    pub terms: Vec<BufferId>,
    /// One per term.
    pub coefficients: View,
    /// What is written; no term.
    pub output: BufferId,
}

impl Combine {
    /// The sum of terms, each times its coefficient.
    pub fn new(terms: Vec<BufferId>, coefficients: View, output: BufferId) -> Self {
        Self { terms, coefficients, output }
    }
}
