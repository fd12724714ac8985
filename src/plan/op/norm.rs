//! Norms of gradients.

use crate::plan::{BufferId, Chunk};

/// Which norm of a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum NormKind {
    /// The root of the sum of squares.
    #[default]
    L2,
    /// The sum of absolute values.
    L1,
    /// The largest absolute value.
    Max,
    /// The number of elements that are not 0. No norm to clip by.
    Count,
}

impl NormKind {
    /// Whether its sums can leave the range of the float although all terms are in it.
    pub(crate) fn leaves_range(self) -> bool {
        matches!(self, Self::L2 | Self::L1)
    }

    /// How many times a power of two that multiplies the elements is in the sum.
    pub(crate) fn power(self) -> i32 {
        if self == Self::L2 { 2 } else { 1 }
    }

    /// Elements of [`Norm::partials`] for this many chunks.
    pub fn partials(self, chunks: usize) -> usize {
        if self.leaves_range() { chunks.saturating_mul(2) } else { chunks }
    }
}

/// Partial norms of each lane's gradients: the i-th is Σ g², Σ |g| or max |g| over the i-th chunk. Whatever is not finite stays
/// so in the partial norm. The chunks of frozen groups give 0.
///
/// Squares leave the range of a float before their roots do: in single precision from 1.8e19 on, and below 1e-19. So a sum has
/// a second value, behind the first ones of all chunks. Where the first value is infinite, or is tiny although not all elements
/// are 0, the second is the same sum over elements times a power of two that the engine fixes. Then the norm of every finite
/// gradient is known to full precision.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Norm {
    /// Which norm.
    pub kind: NormKind,
    /// The gradients.
    pub grads: BufferId,
    /// What each partial norm covers.
    pub chunks: Vec<Chunk>,
    /// One value per chunk, or two: see [`NormKind::partials`].
    pub partials: BufferId,
    /// One index per group: not 0 where the group is frozen.
    pub frozen: BufferId,
}

impl Norm {
    /// The norms of these chunks of gradients.
    pub fn new(kind: NormKind, grads: BufferId, chunks: Vec<Chunk>, partials: BufferId, frozen: BufferId) -> Self {
        Self { kind, grads, chunks, partials, frozen }
    }
}
