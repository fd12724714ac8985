//! What `train` learns from: where it comes from, and what was read.

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use thalweg::data::{self, Dataset, Scaler};

/// The part of each class that is kept for testing where the data bring no test set.
const TEST_FRACTION: f64 = 0.2;
/// Classes that are listed by name.
const LISTED: usize = 12;

/// The options that say what to read.
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    /// `digits` (part of the program); a directory with the four IDX files of MNIST; or a CSV file whose last column is the
    /// label, of which a fifth becomes the test set. All may be gzipped
    #[arg(long, value_name = "digits|DIR|FILE", default_value = "digits")]
    data: PathBuf,
}

/// Data that are ready to train on.
pub struct Data {
    pub train: Dataset,
    pub test: Dataset,
    pub read: Read,
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Read {
    /// As it was given.
    pub source: String,
    /// The names of the classes, and how many rows each has in training and testing together.
    pub classes: Vec<(String, usize)>,
    pub features: usize,
    pub train_rows: usize,
    pub test_rows: usize,
}

/// What is trained on the data.
#[derive(Debug, Clone)]
pub struct Run {
    pub steps_per_epoch: usize,
    pub batch: usize,
    pub parameters: usize,
    pub rule: &'static str,
    /// The rule's own rate, before any schedule.
    pub lr: Option<f64>,
    pub engine: &'static str,
}

/// What a run starts from: the first line that it prints.
#[derive(Debug, Clone)]
pub struct Summary {
    pub read: Read,
    pub run: Run,
}

impl DataArgs {
    /// Training and test part, scaled.
    pub fn load(&self, seed: u64) -> Result<Data> {
        let source: &Path = &self.data;
        let built_in = source.as_os_str() == "digits";
        if !built_in && !source.exists() {
            let takes = "--data takes digits, a directory with the four IDX files of MNIST, or a CSV file";
            bail!("{}: no such file or directory; {takes}", source.display());
        }
        let (all, test) = if built_in { (data::digits(), None) } else { data::read(source)? };
        let images = built_in || test.is_some();
        let (mut train, mut test) = match test {
            Some(test) => (all, test),
            None => all.split(TEST_FRACTION, seed).with_context(|| format!("{} has too few rows", source.display()))?,
        };
        let read = Read {
            source: source.display().to_string(),
            classes: classes(&train, &test),
            features: train.width,
            train_rows: train.rows(),
            test_rows: test.rows(),
        };
        let scaler = if images { Scaler::range(&train)? } else { Scaler::standard(&train)? };
        scaler.apply(&mut train)?;
        scaler.apply(&mut test)?;
        Ok(Data { train, test, read })
    }
}

/// The classes of two parts with their names and numbers of rows.
fn classes(train: &Dataset, test: &Dataset) -> Vec<(String, usize)> {
    let mut rows = vec![0; train.classes];
    train.labels.iter().chain(&test.labels).for_each(|&label| rows[label as usize] += 1);
    let name = |class: usize| train.class_names.get(class).cloned().unwrap_or_else(|| class.to_string());
    rows.into_iter().enumerate().map(|(class, rows)| (name(class), rows)).collect()
}

impl Summary {
    /// For people: one line for the data, one for the run.
    pub fn lines(&self) -> [String; 2] {
        let Self { read, run } = self;
        let listed: Vec<String> = read.classes.iter().take(LISTED).map(|(name, rows)| format!("{name} ({rows})")).collect();
        let more = if read.classes.len() > LISTED { ", …" } else { "" };
        let rate = run.lr.map(|lr| format!(" at a rate of {}", short(lr))).unwrap_or_default();
        let (train, test) = (read.train_rows, read.test_rows);
        [
            format!(
                "data: {}, {} rows of {} features in {} classes: {}{more}; {train} rows to train on, {test} to test on",
                read.source,
                train + test,
                read.features,
                read.classes.len(),
                listed.join(", "),
            ),
            format!(
                "run: {} steps of {} rows per epoch, {} parameters, {}{rate}, {} engine",
                run.steps_per_epoch, run.batch, run.parameters, run.rule, run.engine,
            ),
        ]
    }

    /// The first object of `--json`.
    pub fn json(&self) -> Value {
        let Self { read, run } = self;
        let classes: Vec<Value> = read.classes.iter().map(|(name, rows)| json!({ "name": name, "rows": rows })).collect();
        json!({ "data": {
            "source": read.source,
            "rows": read.train_rows + read.test_rows,
            "features": read.features,
            "classes": classes,
            "train_rows": read.train_rows,
            "test_rows": read.test_rows,
            "steps_per_epoch": run.steps_per_epoch,
            "batch": run.batch,
            "parameters": run.parameters,
            "rule": run.rule,
            "lr": run.lr,
            "engine": run.engine,
        } })
    }
}

/// A number without long runs of zeros.
fn short(x: f64) -> String {
    if x == 0.0 || (1e-4..1e5).contains(&x.abs()) { x.to_string() } else { format!("{x:e}") }
}
