//! The command line on ranks: training and searches whose results do not depend on their number.

use crate::jobs::{COMMAND, Folder, TRIAL, job, run, text};
use serde_json::Value;
use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};
use thalweg::checkpoint::{Tensors, read};

/// A small perceptron, for a short time.
const TRAIN: [&str; 10] = ["train", "--hidden", "16", "--batch", "256", "--dropout", "0.1", "--lr", "0.02", "-q"];

/// Trains on ranks, and returns what was printed.
#[track_caller]
fn train(ranks: usize, args: &[&str]) -> String {
    let (output, _) = run(ranks, COMMAND, &[&TRAIN[..], args].concat());
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Goes on with a run.
#[track_caller]
fn resume(ranks: usize, args: &[&str]) {
    let (output, _) = run(ranks, COMMAND, &[&["train", "-q", "--resume"], args].concat());
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
}

/// What a run has come to: all but the seconds that it took.
fn came_to(file: &str) -> BTreeMap<String, Vec<u8>> {
    let tensors: Tensors = read(file).expect("the file");
    let own = tensors.iter().filter(|(name, _)| !name.starts_with("run."));
    own.map(|(name, tensor)| (name.to_string(), tensor.bytes.to_vec())).collect()
}

/// Two epochs on 4 ranks, then a third on 1, 2 and 3 ranks: the state is that of three epochs on 2 ranks, and the model has
/// learnt.
#[test]
fn any_number_of_ranks_trains_and_goes_on() {
    let folder = Folder::new("train");
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let [whole, part, rest] = ["whole", "part", "rest"].map(|name| format!("{}/{name}.safetensors", folder.text()));
    let printed = train(2, &["--epochs", "3", "--save", &whole, "--json"]);
    let lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(lines.len(), 5, "rank 0 alone reports: {printed}");
    assert!(lines[4]["test_accuracy"].as_f64() > Some(0.5), "{printed}");
    train(4, &["--epochs", "2", "--save", &part]);
    assert_ne!(came_to(&part), came_to(&whole));
    for ranks in 1..=3 {
        resume(ranks, &[&part, "--epochs", "3", "--save", &rest]);
        assert_eq!(came_to(&rest), came_to(&whole), "{ranks} ranks");
    }
}

/// Ranks share the rows that validate and those that test; what is printed is that of one.
#[test]
fn what_is_measured_does_not_depend_on_the_number_of_ranks() {
    let measured = |ranks: usize| -> Vec<Value> {
        let printed = train(ranks, &["--epochs", "2", "--val-split", "0.3", "--json"]);
        let mut lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
        lines.iter_mut().for_each(|line| line["seconds"] = Value::Null);
        lines
    };
    let expected = measured(1);
    assert!(expected.iter().any(|line| line["val_accuracy"].is_f64()), "{expected:?}");
    assert!(expected.iter().any(|line| line["test_accuracy"].is_f64()), "{expected:?}");
    for ranks in 2..=4 {
        assert_eq!(measured(ranks), expected, "{ranks} ranks");
    }
}

/// Three ranks write each its part of the checkpoints, with all of the optimizer's state or with a part of it. Any number of
/// ranks goes on from them, and the model that rank 0 saves is that of a run without parts.
#[test]
fn checkpoints_and_state_may_be_in_parts() {
    let folder = Folder::new("in-parts");
    std::fs::create_dir_all(&folder.0).expect("a folder");
    let [two, three, found] = ["two", "three", "found"].map(|name| format!("{}/{name}.safetensors", folder.text()));
    train(1, &["--epochs", "2", "--save", &two]);
    train(1, &["--epochs", "3", "--save", &three]);
    for (in_parts, others) in [("checkpoints", [(1, "nothing"), (4, "state")]), ("state", [(1, "nothing"), (2, "checkpoints")])]
    {
        let kept = Folder::new(in_parts);
        train(3, &["--epochs", "2", "--parts", in_parts, "--checkpoint", kept.text(), "--every", "6", "--save", &found]);
        assert_eq!(came_to(&found), came_to(&two), "{in_parts}");
        let files = kept.files();
        for step in ["06", "12"] {
            let parts = files.iter().filter(|name| name.starts_with(&format!("step-0000000000{step}-part")));
            assert_eq!(parts.count(), 4, "{files:?}");
        }
        assert_eq!(came_to(&format!("{}/best.safetensors", kept.text())), came_to(&two), "the best of {in_parts}");
        for (ranks, as_parts) in others {
            let copy = kept.copied("copy");
            resume(ranks, &[copy.text(), "--epochs", "3", "--parts", as_parts, "--save", &found]);
            assert_eq!(came_to(&found), came_to(&three), "{in_parts}, then {as_parts} on {ranks}");
        }
        // One machine without MPI says who can read them.
        let (_, _guard) = job(1, COMMAND, &[]);
        let output = Command::new(TRIAL).args(["thalweg", "train", "--epochs", "3", "--resume", kept.text()]).output();
        let printed = text(&output.expect("the trial").stderr);
        assert!(printed.contains("thalweg-mpi train --resume goes on with it"), "{printed}");
        drop(_guard);
        std::fs::remove_file(kept.0.join("step-000000000012-part-1-of-3.safetensors")).expect("the part");
        let (output, took) = run(2, COMMAND, &["train", "-q", "--resume", kept.text(), "--epochs", "3"]);
        let printed = text(&output.stderr);
        assert!(!output.status.success() && took < Duration::from_secs(10), "{took:?}: {printed}");
        assert_eq!(printed.matches("part-1-of-3.safetensors: elements ").count(), 2, "{printed}");
    }
}

/// A rank is killed after some epochs. The job ends in time, and fewer ranks go on from the last checkpoint to the state of a
/// run that nothing happened to.
#[test]
#[cfg(target_os = "linux")]
fn fewer_ranks_go_on_after_one_was_killed() {
    use std::io::{BufRead, BufReader, Read};
    use std::process::Stdio;
    let folder = Folder::new("killed");
    let [checkpoints, whole] = ["checkpoints", "whole.safetensors"].map(|name| format!("{}/{name}", folder.text()));
    {
        let keep = ["--epochs", "2000", "--json", "--checkpoint", &checkpoints, "--every", "6"];
        let (mut command, _guard) = job(4, COMMAND, &[&TRAIN[..], &keep].concat());
        let mut job = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("mpirun");
        let mut lines = BufReader::new(job.stdout.take().expect("its output")).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("\"epoch\":3,")), "it got to its third epoch");
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
    let newest = *thalweg::checkpoint::Folder::steps(&checkpoints).expect("steps").last().expect("a checkpoint");
    let until = (newest / 6 * 6 + 6).to_string();
    let rest = format!("{}/rest.safetensors", folder.text());
    resume(3, &[&checkpoints, "--until", &until, "--save", &rest]);
    train(2, &["--epochs", "2000", "--until", &until, "--save", &whole]);
    assert_eq!(came_to(&rest), came_to(&whole), "from step {newest} to {until}");
}

/// The processes that run a program.
#[cfg(target_os = "linux")]
fn ranks_of(program: &str) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").expect("processes").filter_map(|entry| entry.ok());
    let runs = |id: &u32| std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|path| path.as_os_str() == program);
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(runs).collect()
}

/// A search over two models, with folds.
const SWEEP: [&str; 15] = [
    "sweep",
    "--space",
    "lr=log:1e-3:1e-1",
    "--space",
    "hidden=choice:8,16",
    "--strategy",
    "halving",
    "--trials",
    "9",
    "--epochs",
    "4",
    "--eta",
    "2",
    "--folds=2",
    "-q",
];

fn sweep(ranks: usize, out: &Folder, more: &[&str]) {
    let (output, _) = run(ranks, COMMAND, &[&SWEEP[..], &["--out", out.text()], more].concat());
    assert!(output.status.success(), "{ranks}: {}", text(&output.stderr));
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// The search of `thalweg sweep` on one machine.
fn sweep_of_one_machine(out: &Folder) {
    let output = Command::new(TRIAL).arg("thalweg").args(SWEEP).args(["--out", out.text()]).output().expect("the trial");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn a_sweep_on_ranks_has_the_table_of_one_machine() {
    let expected = Folder::new("alone");
    sweep_of_one_machine(&expected);
    for ranks in [1, 2, 4] {
        let found = Folder::new("sweep");
        sweep(ranks, &found, &[]);
        for table in ["trials.csv", "trials.jsonl"] {
            assert_eq!(found.read(table), expected.read(table), "{table} of {ranks}");
        }
        // Its lines come wave by wave.
        assert_eq!(sorted(&found.read("curves.csv")), sorted(&expected.read("curves.csv")), "{ranks} ranks");
        let [of_ranks, of_one] = [&found, &expected].map(|folder| {
            let run: Value = serde_json::from_str(&folder.read("run.json")).expect("JSON");
            (run["state"].clone(), run["result"]["best"].clone(), run["result"]["refit"].clone())
        });
        assert_eq!(of_ranks, of_one, "{ranks} ranks");
    }
}

/// The last row of each trial, fold, seed and rung.
fn rows(folder: &Folder) -> BTreeMap<String, String> {
    let key = |line: &str| {
        let row: Value = serde_json::from_str(line).expect(line);
        format!("{} {} {} {}", row["trial"], row["fold"], row["seed"], row["rung"])
    };
    folder.read("trials.jsonl").lines().skip(1).map(|line| (key(line), line.to_string())).collect()
}

/// A rank dies in the middle of a sweep; fewer ranks go on with its table, and train what has no result from its seed.
#[test]
#[cfg(target_os = "linux")]
fn a_sweep_goes_on_after_a_rank_has_died() {
    let (expected, found) = (Folder::new("expected"), Folder::new("died"));
    sweep_of_one_machine(&expected);
    let results = || std::fs::read_to_string(found.0.join("trials.jsonl")).map_or(0, |text| text.matches("running").count());
    {
        let (mut command, _guard) = job(3, COMMAND, &[&SWEEP[..], &["--out", found.text(), "--lanes", "1"]].concat());
        command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
        let mut job = command.spawn().expect("mpirun");
        let scored = || results() > 18;
        while !scored() && job.try_wait().expect("the job").is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        let rank = *ranks_of(COMMAND).last().expect("the sweep runs");
        assert!(Command::new("kill").args(["-KILL", &rank.to_string()]).status().expect("kill").success());
        assert!(!job.wait().expect("the job's end").success());
    }
    assert_ne!(rows(&found), rows(&expected), "it was not done yet");
    sweep(2, &found, &["--resume", "--lanes", "1"]);
    assert_eq!(rows(&found), rows(&expected));
}

/// Two ranks with other options, and two with other data.
#[test]
fn ranks_that_are_started_differently_are_told_so() {
    for (own, message) in [
        (["--lr", "0.1"], "rank 1 differs in its options: "),
        (["--test-fraction", "0.3"], "rank 1 differs in its options: "),
        (["--micro-batches", "4"], "rank 1 differs in its steps: 4 micro-batches, Exact; rank 0 has 8 micro-batches, Exact"),
        (["--reduce", "fast"], "rank 1 differs in its steps: 8 micro-batches, Fast; rank 0 has 8 micro-batches, Exact"),
    ] {
        let (mut command, _guard) = job(1, COMMAND, &["train", "--epochs", "1", "-q", ":", "-n", "1", COMMAND, "train"]);
        let output = command.args(["--epochs", "1", "-q"]).args(own).output().expect("mpirun");
        let printed = text(&output.stderr);
        assert!(!output.status.success(), "{printed}");
        assert_eq!(printed.matches(message).count(), 2, "{own:?}: {printed}");
    }
    let (output, took) = run(9, COMMAND, &["train", "--epochs", "1", "-q"]);
    assert!(!output.status.success() && took < Duration::from_secs(60), "{took:?}");
    let message = "9 ranks cannot share 8 micro-batches: ask for at least as many, or for fewer ranks";
    assert!(text(&output.stderr).contains(message), "{}", text(&output.stderr));
}

#[test]
fn wrong_usage_is_an_error() {
    for (args, message) in [
        (&["train", "--epoch", "3"][..], "unexpected argument '--epoch'"),
        (&["train", "--micro-batches"], "--micro-batches wants a value"),
        (&["train", "--micro-batches", "0"], "--micro-batches wants at least 1"),
        (&["train", "--reduce", "slow"], "--reduce slow: reduce is slow, expected exact or fast"),
        (&["train", "--parts", "all"], "--parts all: what is in parts is all, expected nothing, checkpoints or state"),
        (&["train", "--parts", "state", "--reduce", "fast"], "--parts state: ranks that have parts add up exactly"),
        (&["train", "--parts", "state", "--rule", "lamb"], "lamb cannot be combined with a part of the arena"),
        (&["train", "--batch", "100"], "a batch of 100 rows is no multiple of --micro-batches 8"),
        (&["train", "--drop-last"], "--drop-last: a step on ranks may have fewer micro-batches"),
        (&["train", "--rule", "adamm"], "unknown rule 'adamm'"),
        (&["train", "--resume", "/nowhere"], "/nowhere"),
        (&["train", "--adapter", ",a"], "its entry is empty"),
        (&["train", "--watchdog", "0"], "--watchdog needs a number of seconds above 0"),
        (&["sweep", "--space", "lr=log:1e-3:1e-1", "--strategy", "population"], "population runs on one machine"),
        (&["bench", "--what", "nothing"], "--what takes exchange and step, not nothing"),
        (&["rules"], "mpirun -n RANKS thalweg-mpi train"),
    ] {
        let (_, _guard) = job(1, COMMAND, &[]);
        let output = Command::new(COMMAND).args(args).output().expect("the command");
        let printed = text(&output.stderr);
        assert!(!output.status.success() && printed.contains(message), "{args:?}: {printed}");
    }
    // An entry of the list for each rank of a machine.
    let (output, _) = run(2, COMMAND, &["train", "--adapter", "a,", "--epochs", "1"]);
    assert!(text(&output.stderr).contains("rank 1 is number 1 on its machine, and its entry is empty"));
}
