//! Parts of one operation, shared out among threads.

use super::pool;
use crate::error::Result;
use crate::plan::Workers;
use std::sync::OnceLock;

/// Elements that one task looks at: long enough to pay for its start, short enough to share out evenly.
pub(super) const GRAIN: usize = 32_768;

/// Floats that a thread copies at once.
const COPIED: usize = 1 << 19;

/// How many threads may work at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Threads(usize);

impl Threads {
    /// The caller alone.
    pub(super) const ONE: Self = Self(1);

    /// At least one.
    pub(super) fn new(count: usize) -> Self {
        Self(count.max(1))
    }

    /// As many as work at an operation by contract.
    pub(super) fn of(workers: Workers) -> Self {
        Self::new(workers.count())
    }

    pub(super) fn count(self) -> usize {
        self.0
    }

    /// For an operation by contract.
    pub(super) fn workers(self) -> Workers {
        Workers::new(self.0, pool::run)
    }

    pub(super) fn several(self) -> bool {
        self.0 > 1
    }

    /// [`Workers::in_order`] with these threads.
    pub(super) fn in_order<T>(self, count: usize, parts: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync) {
        self.workers().in_order(count, parts, work);
    }

    /// [`Threads::in_order`] with work that may fail: an error of any part.
    pub(super) fn try_in_order<T>(
        self,
        count: usize,
        parts: impl Iterator<Item = T> + Send,
        work: impl Fn(T) -> Result<()> + Sync,
    ) -> Result<()> {
        let failed = OnceLock::new();
        self.in_order(count, parts, |part| {
            if let Err(error) = work(part) {
                let _ = failed.set(error);
            }
        });
        failed.into_inner().map_or(Ok(()), Err)
    }

    /// Copies as many floats, large arrays by all threads: one alone does not reach the memory's bandwidth, and memory that is
    /// used for the first time takes the system long.
    pub(super) fn copy<F: Copy + Send + Sync>(self, from: &[F], to: &mut [F]) {
        let parts = to.chunks_mut(COPIED).zip(from.chunks(COPIED));
        self.in_order(from.len().div_ceil(COPIED), parts, |(to, from)| to.copy_from_slice(from));
    }
}
