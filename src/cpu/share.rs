//! Parts of one operation, shared out among threads.

use std::sync::{Mutex, PoisonError};

/// Works on parts in their order, each by whichever thread is free: threads are at neighbouring places in memory at any time, which
/// it serves faster than places far apart.
pub(super) fn in_order<T>(parts: impl Iterator<Item = T> + Send, work: impl Fn(T) + Sync) {
    let parts = Mutex::new(parts);
    let next = || parts.lock().unwrap_or_else(PoisonError::into_inner).next();
    let until_none_is_left = || {
        while let Some(part) = next() {
            work(part);
        }
    };
    on_threads(rayon::current_num_threads(), &until_none_is_left);
}

/// Calls `f` once on each of so many threads, or several times on a thread where others are busy. Unlike a broadcast it allocates
/// nothing.
fn on_threads(threads: usize, f: &(impl Fn() + Sync)) {
    if threads > 1 {
        rayon::join(f, || on_threads(threads - 1, f));
    } else {
        f();
    }
}
