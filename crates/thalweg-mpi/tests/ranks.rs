//! Jobs of 1 to 4 ranks on this machine: their bits, and how they end.

use std::collections::BTreeSet;
use std::process::{Command, Output};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

const TRIAL: &str = env!("CARGO_BIN_EXE_trial");

/// One job at a time: jobs would slow each other down on few cores, and two `mpirun` may try to make the same folder.
static JOB: Mutex<()> = Mutex::new(());

fn mpirun(ranks: usize, args: &[&str]) -> (Output, Duration) {
    let _job = JOB.lock().unwrap_or_else(PoisonError::into_inner);
    let started = Instant::now();
    let mut command = Command::new("mpirun");
    command.args(["--allow-run-as-root", "--oversubscribe", "-n", &ranks.to_string(), TRIAL]).args(args);
    let output = command.output().expect("mpirun, of the packages openmpi-bin and libopenmpi-dev");
    (output, started.elapsed())
}

/// What the ranks of a job that ends well print: the same line on each.
fn outcome(ranks: usize, args: &[&str]) -> String {
    let (output, _) = mpirun(ranks, args);
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{ranks} ranks, {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), ranks, "{printed}");
    let different: BTreeSet<&str> = lines.iter().copied().collect();
    assert_eq!(different.len(), 1, "{printed}");
    lines[0].into()
}

fn alone(args: &[&str]) -> String {
    run_alone(&[&["alone"], args].concat())
}

fn run_alone(args: &[&str]) -> String {
    let output = Command::new(TRIAL).args(args).output().expect("the trial");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().into()
}

/// Checks that a job fails soon, and that this many ranks print the message.
fn fails(ranks: usize, args: &[&str], message: &str, on: usize) {
    let (output, took) = mpirun(ranks, args);
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success(), "{args:?} ended well");
    assert!(took < Duration::from_secs(10), "{args:?} took {took:?}");
    assert_eq!(printed.matches(message).count(), on, "{args:?}: {printed}");
}

/// 50 steps of each rule, with clip, momentum and accumulation. What is compared is a digest of the parameters after every step.
#[test]
fn any_number_of_ranks_has_the_bits_of_one_program() {
    let mut all = BTreeSet::new();
    for rule in ["sgd", "adamw", "lamb"] {
        let expected = alone(&[rule, "8", "50"]);
        assert!(expected.starts_with("50 applied, 0 skipped, "), "{expected}");
        assert!(!expected.contains(", 0 clipped"), "nothing was clipped: {expected}");
        for ranks in 1..=4 {
            assert_eq!(outcome(ranks, &["exact", rule, "8", "50"]), expected, "{rule} on {ranks}");
        }
        all.insert(expected);
    }
    assert_eq!(all.len(), 3, "rules have different ends: {all:?}");
}

/// The same with 4 Mi parameters, in tensors of odd lengths, with the state whole and in parts.
#[test]
fn four_mebi_parameters_have_the_bits_of_one_program() {
    let mut all = BTreeSet::new();
    for rule in ["large-sgd", "large-adamw", "large-lamb"] {
        let expected = alone(&[rule, "4", "50"]);
        assert!(expected.starts_with("50 applied, 0 skipped, ") && !expected.contains(", 0 clipped"), "{expected}");
        for ranks in 1..=4 {
            assert_eq!(outcome(ranks, &["exact", rule, "4", "50"]), expected, "{rule} on {ranks}");
        }
        if rule != "large-lamb" {
            for ranks in [3, 4] {
                assert_eq!(outcome(ranks, &["sharded", rule, "4", "50"]), expected, "{rule} in {ranks} parts");
            }
        }
        all.insert(expected);
    }
    assert_eq!(all.len(), 3, "rules have different ends: {all:?}");
}

/// Each rank has only the state of its part, and the bits of a program with all of it. LAMB is refused, as it needs norms of
/// whole tensors.
#[test]
fn sharded_state_has_the_bits_of_one_program() {
    for rule in ["sgd", "adamw", "scaled"] {
        let expected = alone(&[rule, "8", "20"]);
        for ranks in 1..=4 {
            assert_eq!(outcome(ranks, &["sharded", rule, "8", "20"]), expected, "{rule} on {ranks}");
        }
    }
    fails(2, &["sharded", "lamb", "8", "1"], "lamb cannot be combined with a part of the arena", 2);
}

/// Numbers of micro-batches that are neither a power of two nor a multiple of the ranks.
#[test]
fn odd_shares_have_the_bits_of_one_program() {
    let expected = alone(&["sgd", "7", "6"]);
    for ranks in [2, 3, 4] {
        assert_eq!(outcome(ranks, &["exact", "sgd", "7", "6"]), expected, "{ranks} ranks");
    }
}

/// A model of the library with running statistics and dropout, in two lanes, by the library's trainer: parameters, statistics and
/// what is measured. The last step of an epoch has fewer micro-batches than the others, and the last batch fewer rows.
#[test]
fn trainers_on_any_number_of_ranks_have_the_bits_of_one() {
    let mut all = BTreeSet::new();
    for rule in ["adamw", "lamb"] {
        let expected = run_alone(&["alone-training", rule, "2"]);
        assert!(expected.starts_with("10 steps"), "{expected}");
        for ranks in 1..=4 {
            assert_eq!(outcome(ranks, &["training", rule, "8", "2"]), expected, "{rule} on {ranks}");
        }
        if rule != "lamb" {
            assert_eq!(outcome(3, &["training-parts", rule, "8", "2"]), expected, "{rule} in parts");
        }
        all.insert(expected);
    }
    assert_eq!(all.len(), 2, "rules have different ends: {all:?}");
    // Five ranks share the four micro-batches of an epoch's last step.
    let expected = run_alone(&["alone-training", "sgd", "1"]);
    assert_eq!(outcome(5, &["training", "sgd", "8", "1"]), expected);
    assert!(outcome(5, &["training-fast", "sgd", "8", "1"]).starts_with("6 steps"));
}

/// A folder of this test run that is removed in the end.
struct Folder(std::path::PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("thalweg-mpi-{name}-{}", std::process::id())))
    }

    fn text(&self) -> &str {
        self.0.to_str().expect("a path in Unicode")
    }

    fn copied(&self, name: &str) -> Self {
        let copy = Self::new(name);
        std::fs::create_dir_all(&copy.0).expect("a folder");
        for file in self.files() {
            std::fs::copy(self.0.join(&file), copy.0.join(&file)).expect("a copy");
        }
        copy
    }

    fn files(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).expect("the folder").flatten();
        let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Each rank writes its ranges. What was saved on some ranks, with all state on each or with parts of it, goes on with any number
/// of ranks, in the middle of an epoch.
#[test]
fn checkpoints_in_parts_go_on_with_any_number_of_ranks() {
    let whole = Folder::new("whole");
    let expected = outcome(2, &["parts", whole.text(), "8", "2"]);
    assert!(expected.starts_with("10 steps"), "{expected}");
    for (scenario, ranks, others) in [("parts-sharded", 4, &[1, 2, 3][..]), ("parts", 3, &[4])] {
        let saved = Folder::new("saved");
        let before = outcome(ranks, &[scenario, saved.text(), "8", "1"]);
        assert!(before.starts_with("6 steps"), "{before}");
        assert_eq!(saved.files().len(), ranks + 1, "{:?}", saved.files());
        for &other in others {
            let copy = saved.copied("copy");
            let scenario = if other == 2 { "parts-sharded" } else { "parts" };
            assert_eq!(outcome(other, &[scenario, copy.text(), "8", "2"]), expected, "{ranks} then {other}");
        }
        // A part that is missing, or of another save.
        let part = format!("step-000000000006-part-1-of-{ranks}.safetensors");
        let copy = saved.copied("copy");
        std::fs::remove_file(copy.0.join(&part)).expect("the part");
        let message = format!("{part}: elements ");
        fails(3, &["parts", copy.text(), "8", "2"], &message, 3);
        drop(copy);
        let copy = saved.copied("copy");
        drop(saved);
        let saved = Folder::new("saved");
        outcome(ranks, &[scenario, saved.text(), "8", "1"]);
        std::fs::copy(saved.0.join(&part), copy.0.join(&part)).expect("a copy");
        fails(2, &["parts", copy.text(), "8", "2"], "are missing: it is of another save", 2);
    }
}

#[test]
fn mpi_s_own_sum_keeps_ranks_together() {
    for ranks in 1..=4 {
        let found = outcome(ranks, &["fast", "adamw", "8", "10"]);
        assert!(found.starts_with("10 applied, 0 skipped"), "{found}");
    }
}

/// One micro-batch of the last rank is not finite in step 3: all ranks skip that step, as one program does.
#[test]
fn a_bad_gradient_on_one_rank_skips_the_step_on_all() {
    for rule in ["sgd", "scaled"] {
        let expected = outcome(1, &["bad-gradient", rule, "8", "5"]);
        assert!(expected.starts_with("4 applied, 1 skipped, "), "{expected}");
        for ranks in [2, 3] {
            assert_eq!(outcome(ranks, &["bad-gradient", rule, "8", "5"]), expected, "{rule} on {ranks}");
        }
    }
}

#[test]
fn ranks_that_differ_are_an_error_that_says_where() {
    for (scenario, message) in [
        ("other-data", "rank 2 differs in its data: digest "),
        ("other-settings", "rank 2 differs in its settings: digest "),
        ("one-more", "rank 2 differs in its batch: 17; rank 0 has nothing"),
        ("no-engine", "rank 2 failed: no adapter"),
        ("fails", "rank 2 failed: the list of samples"),
        ("diverges", "rank 2 has other parameters than rank 0 after 3 steps"),
    ] {
        fails(3, &[scenario, "sgd", "8", "5"], message, 3);
    }
    fails(3, &["exact", "sgd", "2", "5"], "3 ranks cannot share 2 micro-batches", 3);
    fails(1, &["twice"], "MPI cannot be started: it is running in this process already", 1);
}

/// `mpirun` finds a killed rank; the watchdog of the others, 4 s here, finds one that hangs.
#[test]
fn a_dead_rank_ends_the_job() {
    fails(3, &["killed", "sgd", "8", "5"], "exited on signal 9", 1);
    let (output, took) = mpirun(3, &["hangs", "sgd", "8", "5"]);
    let printed = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && took < Duration::from_secs(10), "{took:?}: {printed}");
    assert!(
        printed.contains("another rank did not answer in 4 s; it is dead, or slower than the watchdog allows"),
        "{printed}"
    );
}

const COMMAND: &str = env!("CARGO_BIN_EXE_thalweg-mpi");

fn train(ranks: usize, args: &[&str]) -> String {
    let _job = JOB.lock().unwrap_or_else(PoisonError::into_inner);
    let mut command = Command::new("mpirun");
    command.args([
        "--allow-run-as-root",
        "--oversubscribe",
        "-n",
        &ranks.to_string(),
        COMMAND,
        "train",
        "--hidden",
        "16",
        "--set",
        "lr=0.01",
    ]);
    let output = command.args(args).output().expect("mpirun");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Two epochs on 4 ranks, then a third on 1, 2 and 3 ranks: the parameters are those of three epochs on 2 ranks, and the model
/// has learnt.
#[test]
fn any_number_of_ranks_goes_on_from_a_checkpoint() {
    let folder = std::env::temp_dir().join(format!("thalweg-mpi-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("run.safetensors");
    let file = file.to_str().expect("a path in Unicode");
    let last = |text: &str| {
        text.lines().rfind(|line| line.starts_with("epoch")).and_then(|line| line.split(' ').next_back().map(String::from))
    };
    let whole = train(2, &["--epochs", "3"]);
    train(4, &["--epochs", "2", "--save", file]);
    for ranks in 1..=3 {
        let found = train(ranks, &["--epochs", "3", "--resume", file]);
        assert_eq!(last(&found), last(&whole), "{ranks} ranks: {found}{whole}");
        assert_eq!(found.lines().filter(|line| line.starts_with("epoch")).count(), 1, "{found}");
    }
    let accuracy: f64 =
        whole.lines().last().and_then(|line| line.strip_prefix("test accuracy ")?.parse().ok()).expect("an accuracy");
    assert!(accuracy > 0.5, "{whole}");
    std::fs::remove_dir_all(folder).expect("the folder");
}

/// A rank of `train` is killed in the third epoch. The job ends in time, and fewer ranks go on from the last checkpoint to the
/// parameters of a run that nothing happened to.
#[test]
#[cfg(target_os = "linux")]
fn fewer_ranks_go_on_after_one_was_killed() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;
    let folder = std::env::temp_dir().join(format!("thalweg-mpi-killed-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let file = folder.join("run.safetensors");
    let file = file.to_str().expect("a path in Unicode");
    {
        let _job = JOB.lock().unwrap_or_else(PoisonError::into_inner);
        let mut command = Command::new("mpirun");
        command.args(["--allow-run-as-root", "--oversubscribe", "-n", "4", COMMAND, "train", "--hidden", "16"]);
        command.args(["--set", "lr=0.01", "--epochs", "100000", "--save", file]);
        let mut job = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mpirun");
        let mut lines = BufReader::new(job.stdout.take().expect("its output")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.starts_with("epoch   2")), "it got to its second epoch");
        let (rank, started) = (*ranks_of(COMMAND).last().expect("a rank that runs"), Instant::now());
        let killed = Command::new("kill").args(["-KILL", &rank.to_string()]).status().expect("kill");
        assert!(killed.success());
        let status = job.wait().expect("the job's end");
        let took = started.elapsed();
        assert!(!status.success() && took < Duration::from_secs(10), "{status} after {took:?}");
        let mut said = String::new();
        job.stderr.take().expect("its messages").read_to_string(&mut said).expect("text");
        assert!(said.contains("exited on signal 9"), "{said}");
    }
    // The job may have come further before it was killed. An epoch has 6 steps.
    let resumed = train(3, &["--epochs", "1", "--resume", file]);
    let step = resumed.split_once("from step ").and_then(|(_, rest)| rest.split_once(" on")?.0.parse::<usize>().ok());
    let epochs = step.filter(|step| step.is_multiple_of(6) && *step >= 12).expect("whole epochs") / 6 + 2;
    let found = train(3, &["--epochs", &epochs.to_string(), "--resume", file]);
    let whole = train(2, &["--epochs", &epochs.to_string()]);
    let epoch = |text: &str| {
        text.lines()
            .rfind(|line| line.starts_with("epoch"))
            .map(|line| line.rsplit_once(' ').map(|(_, digest)| digest.to_string()))
    };
    assert_eq!(epoch(&found), epoch(&whole), "{found}{whole}");
    std::fs::remove_dir_all(folder).expect("the folder");
}

/// The processes that run a program.
#[cfg(target_os = "linux")]
fn ranks_of(program: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("processes").filter_map(|entry| entry.ok());
    let runs = |id: &u32| std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|path| path.as_os_str() == program);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(runs).collect()
}

#[test]
fn wrong_usage_is_an_error() {
    for (args, message) in [
        (&["train", "--epoch", "3"][..], "unknown option --epoch; known: --rule"),
        (&["train", "--epochs"], "--epochs wants a value"),
        (&["train", "--epochs", "0"], "--epochs wants at least 1"),
        (&["train", "--batch", "100"], "--batch 100 is no multiple of --micro-batches 8"),
        (&["train", "--rule", "adamm"], "unknown rule 'adamm'"),
        (&["train", "--resume", "/nowhere"], "/nowhere"),
        (&["bench", "--what", "nothing"], "--what takes exchange and step, not nothing"),
    ] {
        let _job = JOB.lock().unwrap_or_else(PoisonError::into_inner);
        let output = Command::new(COMMAND).args(args).output().expect("the command");
        let printed = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && printed.contains(message), "{args:?}: {printed}");
    }
}
