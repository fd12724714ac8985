//! Signals that end a run: after the first, training stops at the next step; the second ends the program at once.

use crate::data;
use crate::report::note;
use anyhow::{Context, Result};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

/// Ctrl-C.
const INTERRUPT: i32 = 2;

/// The first signal that came; 0 if none came.
static SIGNAL: AtomicI32 = AtomicI32::new(0);

/// Whether a listener runs already: one command may call another one that trains.
static LISTENING: AtomicBool = AtomicBool::new(false);

/// The signal that asked for an end, if one did.
pub fn asked() -> Option<i32> {
    Some(SIGNAL.load(Ordering::Relaxed)).filter(|&signal| signal != 0)
}

/// The exit code that shells give to a program that a signal ended.
pub fn code(signal: i32) -> u8 {
    128 + signal as u8
}

/// Answers a signal. This runs on a thread of its own, so that the answer comes at once, however long a step takes.
fn received(signal: i32) {
    if data::is_loading() {
        note("interrupted while reading the data");
        std::process::exit(code(signal).into());
    }
    if SIGNAL.swap(signal, Ordering::Relaxed) != 0 {
        std::process::exit(code(signal).into());
    }
    note("stopping after this step (again to end at once)");
}

/// Listens for Ctrl-C, for SIGTERM (docker stop, Slurm) and for SIGHUP (a closed terminal), unless SIGHUP is ignored, as under
/// `nohup`.
pub fn listen() -> Result<()> {
    if LISTENING.swap(true, Ordering::Relaxed) { Ok(()) } else { start() }
}

#[cfg(unix)]
fn start() -> Result<()> {
    use signal_hook::consts::{SIGHUP, SIGTERM};
    let wanted = [INTERRUPT, SIGTERM, SIGHUP].into_iter().filter(|&signal| signal != SIGHUP || !is_ignored(signal));
    let mut signals = signal_hook::iterator::Signals::new(wanted).context("cannot listen for signals")?;
    let listener = std::thread::Builder::new().name("signals".into());
    listener.spawn(move || signals.forever().for_each(received)).context("cannot listen for signals")?;
    Ok(())
}

/// Whether this process was started with a signal ignored. Known on Linux only.
#[cfg(unix)]
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    mask >> (signal - 1) & 1 == 1
}

#[cfg(not(unix))]
fn start() -> Result<()> {
    ctrlc::set_handler(|| received(INTERRUPT)).context("cannot listen for Ctrl-C")
}
