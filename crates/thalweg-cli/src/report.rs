//! What a training run tells: progress on stderr, JSON or a summary on stdout, a table and curves in a directory.

use crate::{curve, data};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use thalweg::Metrics;

const COLUMNS: &str = "epoch,train_loss,train_accuracy,test_loss,test_accuracy,steps,seconds\n";
const BAR: &str = "{msg} {wide_bar} {rate}, {eta} left";

/// Where training stands after an epoch.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// As met during the epoch.
    pub train: Metrics,
    /// After the epoch.
    pub test: Metrics,
    /// Steps so far.
    pub steps: usize,
    /// Seconds of training so far.
    pub seconds: f64,
}

/// The end of a run.
pub struct Summary {
    pub last: Epoch,
    pub engine: &'static str,
    pub adapter: String,
}

/// Everything a run writes.
pub struct Report {
    json: bool,
    epochs: usize,
    bar: Option<ProgressBar>,
    out: Option<Out>,
}

/// The files of a run, and the epochs that they show.
struct Out {
    directory: PathBuf,
    table: File,
    epochs: Vec<Epoch>,
}

/// A line on stderr, whether or not anybody reads it.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

impl Report {
    /// Makes the files, so that a directory that cannot be written stops the run before it starts.
    pub fn new(json: bool, epochs: usize, out: Option<&Path>) -> Result<Self> {
        Ok(Self { json, epochs, bar: None, out: out.map(Out::new).transpose()? })
    }

    /// What is trained on what, before anything else.
    pub fn data(&self, summary: &data::Summary) -> Result<()> {
        if self.json {
            return self.print(&summary.json());
        }
        summary.lines().iter().for_each(|line| note(line));
        Ok(())
    }

    /// Training begins.
    pub fn start(&mut self, steps_per_epoch: usize) {
        if io::stderr().is_terminal() {
            let bar = ProgressBar::new(self.epochs as u64 * steps_per_epoch as u64);
            let rate = |state: &ProgressState, out: &mut dyn fmt::Write| {
                let _ = write!(out, "{:.0} steps/s", state.per_sec());
            };
            if let Ok(style) = ProgressStyle::with_template(BAR) {
                bar.set_style(style.with_key("rate", rate));
            }
            bar.set_message(format!("epoch 1/{}", self.epochs));
            self.bar = Some(bar);
        }
    }

    /// A step is done.
    pub fn step(&self) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
        }
    }

    /// An epoch is done.
    pub fn epoch(&mut self, done: Epoch) -> Result<()> {
        if let Some(out) = &mut self.out {
            out.epoch(done)?;
        }
        let Epoch { epoch, train, test, steps, seconds } = done;
        match &self.bar {
            Some(bar) if epoch < self.epochs => {
                bar.set_message(format!("epoch {}/{}, loss {:.4}", epoch + 1, self.epochs, train.loss));
            }
            None if !self.json => note(&format!(
                "epoch {epoch}/{}: training loss {:.4}, accuracy {:.2} %; test loss {:.4}, accuracy {:.2} %; {:.0} steps/s",
                self.epochs,
                train.loss,
                100.0 * train.accuracy,
                test.loss,
                100.0 * test.accuracy,
                steps as f64 / seconds,
            )),
            _ => {}
        }
        if !self.json {
            return Ok(());
        }
        self.print(&json!({
            "epoch": epoch,
            "train_loss": train.loss,
            "train_accuracy": train.accuracy,
            "test_loss": test.loss,
            "test_accuracy": test.accuracy,
            "steps": steps,
            "seconds": seconds,
        }))
    }

    /// Training ended, well or not: takes the bar away and draws the curves of the epochs there were.
    pub fn close(&mut self) -> Result<()> {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        match &self.out {
            Some(out) if !out.epochs.is_empty() => out.draw(),
            _ => Ok(()),
        }
    }

    /// The result, last of all.
    pub fn summary(&self, summary: &Summary) -> Result<()> {
        let Summary { last: Epoch { train, test, steps, seconds, .. }, engine, adapter } = summary;
        if self.json {
            return self.print(&json!({
                "test_accuracy": test.accuracy,
                "train_loss": train.loss,
                "seconds": seconds,
                "engine": engine,
                "adapter": adapter,
                "steps": steps,
            }));
        }
        self.print(&format_args!(
            "test accuracy {:.2} %, training loss {:.4}; {steps} steps in {seconds:.2} s on {adapter}",
            100.0 * test.accuracy,
            train.loss,
        ))
    }

    /// A line on stdout. Fails if nobody reads it.
    fn print(&self, line: &impl fmt::Display) -> Result<()> {
        let print = || writeln!(io::stdout(), "{line}");
        self.bar.as_ref().map_or_else(print, |bar| bar.suspend(print)).context("cannot write to stdout")
    }
}

impl Out {
    fn new(directory: &Path) -> Result<Self> {
        let make = || {
            fs::create_dir_all(directory)?;
            let mut table = File::create(directory.join("metrics.csv"))?;
            table.write_all(COLUMNS.as_bytes())?;
            Ok(table)
        };
        let table = make().map_err(|error| unwritable(directory, error))?;
        Ok(Self { directory: directory.into(), table, epochs: Vec::new() })
    }

    /// Adds a line to the table, in one write, so that it is whole whenever the run ends.
    fn epoch(&mut self, done: Epoch) -> Result<()> {
        let Epoch { epoch, train, test, steps, seconds } = done;
        let [train_loss, test_loss] = [train.loss, test.loss];
        let [train_accuracy, test_accuracy] = [train.accuracy, test.accuracy];
        let line = format!("{epoch},{train_loss},{train_accuracy},{test_loss},{test_accuracy},{steps},{seconds}\n");
        self.table.write_all(line.as_bytes()).map_err(|error| unwritable(&self.directory, error))?;
        self.epochs.push(done);
        Ok(())
    }

    fn draw(&self) -> Result<()> {
        let picture = curve::draw(&self.epochs).context("cannot draw the curves")?;
        fs::write(self.directory.join("curve.svg"), picture).map_err(|error| unwritable(&self.directory, error))
    }
}

fn unwritable(directory: &Path, error: io::Error) -> anyhow::Error {
    anyhow::anyhow!("{}: {error}; --out takes a directory that can be written", directory.display())
}
