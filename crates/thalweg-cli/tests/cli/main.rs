//! The command line, run as its users run it.

mod bench;
mod data;
mod engine;
mod files;
mod messages;
mod models;
mod picture;
mod predict;
mod regression;
mod resume;
mod rules;
mod runs;
mod schedules;
mod sweep;
mod train;
mod usage;

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use tempfile::TempDir;

const EPOCH_KEYS: [&str; 7] = ["epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "steps", "seconds"];
const LAST_KEYS: [&str; 36] = [
    "rule",
    "settings",
    "lr",
    "others",
    "clip_norm",
    "state",
    "epochs",
    "batch",
    "drop_last",
    "model",
    "hidden",
    "activation",
    "dropout",
    "augment",
    "val_split",
    "patience",
    "raw_targets",
    "seed",
    "threads",
    "epochs_run",
    "steps",
    "seconds",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "best_epoch",
    "best_test_accuracy",
    "best_test_loss",
    "engine",
    "adapter",
    "data",
    "task",
    "parameters",
    "rates",
    "versions",
];

/// A finished run.
#[derive(Debug)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    /// The lines of a successful run's stdout, all of which must be JSON.
    fn json(&self) -> Vec<Value> {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
    }

    /// The lines of `train --json` after the first one, which is about data and run.
    fn epochs(&self) -> Vec<Value> {
        let mut lines = self.json();
        assert_eq!(keys(&lines.remove(0)), BTreeSet::from(["data"]), "{self:?}");
        lines
    }

    /// The first line of `train --json`.
    fn data(&self) -> Value {
        self.json()[0]["data"].clone()
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_thalweg"));
    // Without this variable, some Vulkan drivers complain on stderr.
    command.args(args).env("XDG_RUNTIME_DIR", std::env::temp_dir()).stdin(Stdio::null());
    command
}

fn finish(mut command: Command) -> Ran {
    let output = command.output().expect("the program starts");
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("output is UTF-8"));
    Ran { code: output.status.code(), out, err }
}

fn thalweg(args: &[&str]) -> Ran {
    finish(command(args))
}

/// `train` on the CPU engine with these further arguments, as JSON without the first object, which is about data and run.
fn trained(args: &[&str]) -> Vec<Value> {
    thalweg(&[&["train", "--engine", "cpu", "--json"], args].concat()).epochs()
}

fn keys(object: &Value) -> BTreeSet<&str> {
    object.as_object().expect("an object").keys().map(String::as_str).collect()
}

/// The last epoch's loss and accuracy on the test data.
fn last_test(lines: &[Value]) -> (f64, f64) {
    let epoch = &lines[lines.len() - 2];
    (epoch["test_loss"].as_f64().expect("a number"), epoch["test_accuracy"].as_f64().expect("a number"))
}

/// Removes what differs between two runs on the same data: seconds, and the paths of the data.
fn without_seconds(mut lines: Vec<Value>) -> Vec<Value> {
    for line in lines.iter_mut().filter_map(Value::as_object_mut) {
        ["seconds", "data"].iter().for_each(|key| drop(line.remove(*key)));
    }
    lines
}
