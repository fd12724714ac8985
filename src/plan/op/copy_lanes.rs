//! Lanes that take over others.

use crate::plan::BufferId;

/// In each of the buffers, lane `k` takes over what lane `from[k]` holds: winners over losers of a population, or the lanes
/// that go on over those that have ended.
///
/// A lane stays as it is if its own number stands in its place, or the number of no lane. One that takes over another is no
/// source: whoever names it stays too. So the result does not depend on the order of the copies.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CopyLanes {
    /// What is copied: buffers of each lane, with elements of any kind.
    pub buffers: Vec<BufferId>,
    /// One index per lane, in a buffer that the lanes share.
    pub from: BufferId,
}

impl CopyLanes {
    /// Copies these buffers, lane `k` from lane `from[k]`.
    pub fn new(buffers: Vec<BufferId>, from: BufferId) -> Self {
        Self { buffers, from }
    }
}
