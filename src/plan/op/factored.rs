//! Second moments by rows and columns.

use crate::plan::{BufferId, Moments};

/// Second moments of gradients g, in the scale of the step, with the rate w and the floor that a factored rule's row starts
/// with:
///
/// ```text
/// R += w · (mean of g² over the row − R)            one per row
/// C += w · (mean of g² over the column − C)         one per column
/// divisor = max(mean of R, floor)                   one per matrix
/// V += w · (g² − V)                                 one per element of a vector
/// ```
///
/// Where `live` of the current row is 0, all of them stay.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Factored {
    /// The gradients.
    pub grads: BufferId,
    /// The rows of this step, one per group.
    pub current: BufferId,
    /// What is read and written.
    pub moments: Moments,
    /// Sums over tiles, as many as [`Moments::partials`] says.
    pub partials: BufferId,
}

impl Factored {
    /// Of these gradients.
    pub fn new(grads: BufferId, current: BufferId, moments: Moments, partials: BufferId) -> Self {
        Self { grads, current, moments, partials }
    }
}
