//! Threads that may work at one operation.

use std::sync::{Mutex, PoisonError};

/// Threads that may work at one operation: the caller's, and those that an engine lends it.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    count: usize,
    /// Calls a function on this thread, and on up to this many others; returns when all have returned.
    run: fn(usize, &(dyn Fn() + Sync)),
}

impl Workers {
    /// The caller alone.
    pub const ONE: Self = Self { count: 1, run: |_, work| work() };

    pub(crate) fn new(count: usize, run: fn(usize, &(dyn Fn() + Sync))) -> Self {
        Self { count, run }
    }

    /// How many they are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Works on `count` parts in their order, each on whichever thread is free. So at any time all threads are at neighbouring
    /// places in memory, which is faster than at places far apart.
    pub fn in_order<T>(&self, count: usize, parts: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync) {
        let helpers = self.count.min(count).saturating_sub(1);
        if helpers == 0 {
            return parts.for_each(work);
        }
        let parts = Mutex::new(parts);
        let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
        (self.run)(helpers, &|| {
            while let Some(part) = next() {
                work(part);
            }
        });
    }
}
