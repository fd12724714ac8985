//! Starts jobs, one at a time, and looks at how they end.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The program of trials, and that of the command line.
pub const TRIAL: &str = env!("CARGO_BIN_EXE_trial");
pub const COMMAND: &str = env!("CARGO_BIN_EXE_thalweg-mpi");

/// One job at a time: jobs would slow each other down on few cores, and two `mpirun` may try to make the same folder.
static JOB: Mutex<()> = Mutex::new(());

/// The command that starts a job, which nobody else does as long as the guard lives.
pub fn job(ranks: usize, program: &str, args: &[&str]) -> (Command, MutexGuard<'static, ()>) {
    let guard = JOB.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe", "-n", &ranks.to_string(), program]).args(args);
    (command, guard)
}

/// Runs a job to its end.
pub fn run(ranks: usize, program: &str, args: &[&str]) -> (Output, Duration) {
    let (mut command, _guard) = job(ranks, program, args);
    let started = Instant::now();
    let output = command.output().expect("mpirun, of the packages openmpi-bin and libopenmpi-dev");
    (output, started.elapsed())
}

/// What a trial prints whose ranks end well: the same line on each.
pub fn outcome(ranks: usize, args: &[&str]) -> String {
    let (output, _) = run(ranks, TRIAL, args);
    let printed = text(&output.stdout);
    assert!(output.status.success(), "{ranks} ranks, {args:?}: {}", text(&output.stderr));
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), ranks, "{printed}");
    let different: BTreeSet<&str> = lines.iter().copied().collect();
    assert_eq!(different.len(), 1, "{printed}");
    lines[0].into()
}

/// What a trial without `mpirun` prints.
pub fn alone(args: &[&str]) -> String {
    let output = Command::new(TRIAL).args(args).output().expect("the trial");
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().into()
}

/// Checks that a trial fails soon, and that this many ranks print the message.
#[track_caller]
pub fn fails(ranks: usize, args: &[&str], message: &str, on: usize) {
    let (output, took) = run(ranks, TRIAL, args);
    let printed = text(&output.stderr);
    assert!(!output.status.success(), "{args:?} ended well");
    assert!(took < Duration::from_secs(10), "{args:?} took {took:?}");
    assert_eq!(printed.matches(message).count(), on, "{args:?}: {printed}");
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder of this test run that is removed in the end.
pub struct Folder(pub PathBuf);

impl Folder {
    /// A folder that is not there yet.
    pub fn new(name: &str) -> Self {
        let folder = Self(std::env::temp_dir().join(format!("thalweg-mpi-{name}-{}", std::process::id())));
        let _ = std::fs::remove_dir_all(&folder.0);
        folder
    }

    pub fn text(&self) -> &str {
        self.0.to_str().expect("a path in Unicode")
    }

    pub fn copied(&self, name: &str) -> Self {
        let copy = Self::new(name);
        std::fs::create_dir_all(&copy.0).expect("a folder");
        for file in self.files() {
            std::fs::copy(self.0.join(&file), copy.0.join(&file)).expect("a copy");
        }
        copy
    }

    pub fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the folder").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).expect(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
