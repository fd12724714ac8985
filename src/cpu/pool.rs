//! Threads of the crate's own, which help the caller of a job.
//!
//! Rayon would not do: a thread that waits inside it takes other tasks of its pool meanwhile. Suppose a host steps optimizers
//! in tasks of a parallel iterator, each behind a lock. A thread could then hold a lock and wait for a task that needs the same
//! lock. So a caller here works only at its own job, and then sleeps until its helpers are done.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// The threads of the process. They are started once an engine wants them, and stay.
static POOL: Pool = Pool {
    state: Mutex::new(State { jobs: Vec::new(), helpers: 0, asleep: 0 }),
    posted: AtomicUsize::new(0),
    awake: Condvar::new(),
};

struct Pool {
    state: Mutex<State>,
    /// Jobs that were posted so far: helpers that are awake look at this without the lock.
    posted: AtomicUsize,
    /// Wakes helpers that are asleep.
    awake: Condvar,
}

struct State {
    /// Jobs whose callers still work, the oldest first.
    jobs: Vec<&'static Job<'static>>,
    helpers: usize,
    asleep: usize,
}

/// Jobs for which there is room without an allocation: one per thread that steps an optimizer at a time.
const ROOM: usize = 256;

/// Rounds in which a thread looks for work, or for the end of it, before it sleeps: together some tens of microseconds, the
/// time from one operation of a step to the next.
const ROUNDS: usize = 64;

/// Something to do. It lies on the caller's stack.
struct Job<'a> {
    work: &'a (dyn Fn() + Sync),
    /// How many helpers may still begin.
    places: AtomicUsize,
    /// How many helpers work at it. It changes under the pool's lock.
    inside: AtomicUsize,
    /// What the first helper panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    /// Wakes the caller.
    done: &'a Condvar,
}

thread_local! {
    /// Wakes this thread, when it waits for its helpers.
    static DONE: Condvar = const { Condvar::new() };
}

/// Makes sure that there are this many helpers, or as many as the system can start.
pub(super) fn start(helpers: usize) {
    let mut state = POOL.lock();
    state.jobs.reserve(ROOM);
    while state.helpers < helpers {
        if let Err(error) = thread::Builder::new().name("thalweg".into()).spawn(help) {
            log::warn!("{} threads instead of {helpers} help the CPU engine: {error}", state.helpers);
            return;
        }
        state.helpers += 1;
    }
}

/// Calls `work` on this thread, and on up to this many helpers that are free. Returns when all calls have returned; a panic in
/// one of them goes on here. Nothing is allocated.
pub(super) fn run(helpers: usize, work: &(dyn Fn() + Sync)) {
    if helpers == 0 {
        return work();
    }
    DONE.with(|done| {
        let (places, inside) = (AtomicUsize::new(helpers), AtomicUsize::new(0));
        let job = Job { work, places, inside, panic: Mutex::new(None), done };
        let posted = Posted::new(&job);
        work();
        drop(posted);
        if let Some(panic) = job.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    });
}

/// A job that helpers can find. When this is dropped, also by a panic, none is at it any more.
struct Posted<'a>(&'a Job<'a>);

impl<'a> Posted<'a> {
    fn new(job: &'a Job<'a>) -> Self {
        let posted = Self(job);
        #[expect(unsafe_code, reason = "helpers live longer than what they help with")]
        // SAFETY: helpers reach the job through the list alone, and count themselves as inside under the lock under which they
        // take it from there. `drop` takes it off the list and waits until nobody is inside, so no helper has it when the
        // borrow ends; nothing can forget `posted` in between, as it does not leave `run`.
        let lasting: &'static Job<'static> = unsafe { std::mem::transmute::<&Job<'_>, &'static Job<'static>>(job) };
        let mut state = POOL.lock();
        state.jobs.push(lasting);
        let asleep = state.asleep.min(job.places.load(Ordering::Relaxed));
        drop(state);
        POOL.posted.fetch_add(1, Ordering::Release);
        (0..asleep).for_each(|_| POOL.awake.notify_one());
        posted
    }
}

impl Drop for Posted<'_> {
    fn drop(&mut self) {
        let job = self.0;
        let mut state = POOL.lock();
        state.jobs.retain(|other| !std::ptr::addr_eq(*other, job));
        drop(state);
        for_a_while(|| job.inside.load(Ordering::Acquire) == 0);
        // The last helper may still hold the lock after it has counted itself out, and use the job. Taking the lock waits for
        // it.
        let mut state = POOL.lock();
        while job.inside.load(Ordering::Acquire) > 0 {
            state = job.done.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes a place at the oldest job that has one.
    fn begin(&self) -> Option<&'static Job<'static>> {
        let job = self.jobs.iter().find(|job| job.places.load(Ordering::Relaxed) > 0)?;
        job.places.fetch_sub(1, Ordering::Relaxed);
        job.inside.fetch_add(1, Ordering::Relaxed);
        Some(job)
    }
}

/// What a helper does for ever.
fn help() {
    let mut state = POOL.lock();
    loop {
        if let Some(job) = state.begin() {
            drop(state);
            if let Err(panic) = catch_unwind(AssertUnwindSafe(job.work)) {
                job.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
            }
            state = POOL.lock();
            // Once the lock is free the caller may return, so this is the last use of the job.
            if job.inside.fetch_sub(1, Ordering::Release) == 1 {
                job.done.notify_one();
            }
            continue;
        }
        let seen = POOL.posted.load(Ordering::Acquire);
        drop(state);
        let found = for_a_while(|| POOL.posted.load(Ordering::Acquire) != seen);
        state = POOL.lock();
        if !found && state.jobs.iter().all(|job| job.places.load(Ordering::Relaxed) == 0) {
            state.asleep += 1;
            state = POOL.awake.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.asleep -= 1;
        }
    }
}

/// Looks whether something has happened, for some time, and leaves the processor to others in between.
fn for_a_while(happened: impl Fn() -> bool) -> bool {
    for _ in 0..ROUNDS {
        for _ in 0..16 {
            if happened() {
                return true;
            }
            std::hint::spin_loop();
        }
        thread::yield_now();
    }
    happened()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    fn counted(helpers: usize) -> u32 {
        let calls = AtomicU32::new(0);
        run(helpers, &|| {
            calls.fetch_add(1, Ordering::Relaxed);
        });
        calls.into_inner()
    }

    #[test]
    fn the_caller_works_and_at_most_so_many_helpers() {
        start(3);
        for helpers in [0, 1, 3, 9] {
            for _ in 0..200 {
                assert!((1..=helpers as u32 + 1).contains(&counted(helpers)));
            }
        }
        // A caller that is slow leaves time for a helper to come twice.
        for _ in 0..10 {
            let (caller, calls) = (thread::current().id(), AtomicU32::new(0));
            run(2, &|| {
                calls.fetch_add(1, Ordering::Relaxed);
                if thread::current().id() == caller {
                    thread::sleep(std::time::Duration::from_millis(5));
                }
            });
            assert!(calls.into_inner() <= 3);
        }
    }

    /// All of them wait for each other, so they all run at the same time.
    #[test]
    fn helpers_work_beside_the_caller() {
        start(3);
        let met = std::sync::Barrier::new(4);
        run(3, &|| {
            met.wait();
        });
    }

    #[test]
    fn jobs_inside_jobs_end() {
        start(3);
        let calls = AtomicU32::new(0);
        run(3, &|| {
            for _ in 0..50 {
                run(2, &|| {
                    calls.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        assert!(calls.into_inner() >= 50);
    }

    /// Of a helper, of the caller, of all: it goes on at the caller, once the others are done, and the pool works as before.
    #[test]
    fn a_panic_goes_on_at_the_caller_and_hangs_nothing() {
        start(3);
        let caller = thread::current().id();
        let (both, finished) = (std::sync::Barrier::new(2), AtomicU32::new(0));
        let panics: [&(dyn Fn(bool) -> bool + Sync); 3] = [&|is_caller| is_caller, &|is_caller| !is_caller, &|_| true];
        for (round, panics) in panics.iter().enumerate() {
            let panic = catch_unwind(AssertUnwindSafe(|| {
                run(1, &|| {
                    both.wait();
                    assert!(!panics(thread::current().id() == caller), "round {round}");
                    finished.fetch_add(1, Ordering::Relaxed);
                });
            }));
            let panic = panic.expect_err("a panic");
            assert_eq!(panic.downcast_ref::<String>(), Some(&format!("round {round}")));
            assert!(counted(1) >= 1);
        }
        assert_eq!(finished.into_inner(), 2);
    }
}
