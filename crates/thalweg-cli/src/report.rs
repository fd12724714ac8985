//! The output of a training run: progress on stderr, JSON or a summary on stdout, files in a folder.

use crate::data;
use crate::out::Out;
use crate::record::Record;
use crate::score::{Aim, Score};
use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use serde_json::json;
use std::fmt;
use std::io::{self, ErrorKind, IsTerminal, Write};

const BAR: &str = "{msg} {wide_bar} {rate}, {eta} left";

/// Where training stands after an epoch.
#[derive(Debug, Clone, Copy)]
pub struct Epoch {
    /// Counted from 1.
    pub epoch: usize,
    /// Measured during the epoch.
    pub train: Score,
    /// After the epoch, on the rows that validate: those that were kept back, or the test rows.
    pub held: Score,
    /// Steps so far.
    pub steps: usize,
    /// Seconds of training so far.
    pub seconds: f64,
}

impl Epoch {
    /// Whether both losses are finite, so that training can go on.
    pub fn is_finite(&self) -> bool {
        self.train.loss.is_finite() && self.held.loss.is_finite()
    }

    /// Its numbers, in the order of [`Measures::columns`](crate::score::Measures::columns).
    pub fn row(&self, aim: Aim) -> Vec<f64> {
        let scores = self.train.values(aim).into_iter().chain(self.held.values(aim));
        std::iter::once(self.epoch as f64).chain(scores).chain([self.steps as f64, self.seconds]).collect()
    }
}

/// Which of the messages go to the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Voice {
    /// Lines on stderr, the result on stdout.
    Plain,
    /// The result on stdout, and only warnings and errors on stderr.
    Quiet,
    /// JSON on stdout.
    Json,
    /// JSON on stdout, and only warnings and errors on stderr.
    QuietJson,
    /// Only warnings and errors, on stderr.
    Silent,
}

/// Everything a run writes.
pub struct Report {
    voice: Voice,
    epochs: usize,
    bar: Option<ProgressBar>,
    out: Option<Out>,
    /// Whether stdout still has a reader.
    heard: bool,
}

/// Prints a line on stderr. It is no failure if nobody reads it.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

/// Whether stderr is a terminal on which lines can be overwritten.
pub fn is_screen() -> bool {
    io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb" && !term.is_empty())
}

impl Voice {
    pub fn new(json: bool, quiet: bool) -> Self {
        match (json, quiet) {
            (false, false) => Self::Plain,
            (false, true) => Self::Quiet,
            (true, false) => Self::Json,
            (true, true) => Self::QuietJson,
        }
    }

    pub fn is_json(self) -> bool {
        matches!(self, Self::Json | Self::QuietJson)
    }

    pub fn is_quiet(self) -> bool {
        matches!(self, Self::Quiet | Self::QuietJson | Self::Silent)
    }
}

impl Report {
    pub fn new(voice: Voice, epochs: usize, out: Option<Out>) -> Self {
        Self { voice, epochs, bar: None, out, heard: true }
    }

    /// Prints the data and the model, before anything else.
    pub fn data(&mut self, summary: &data::Summary, record: &Record) -> Result<()> {
        let mut lines = summary.lines();
        lines.extend(record.rates.lines());
        match self.voice {
            Voice::Plain => lines.iter().for_each(|line| note(line)),
            _ => lines.iter().filter(|line| line.starts_with("warning: ")).for_each(|line| note(line)),
        }
        if !self.voice.is_json() {
            return Ok(());
        }
        let mut object = summary.json();
        object["data"]["rates"] = record.rates.json();
        self.print(&object)
    }

    /// Takes the earlier epochs and steps of a resumed run.
    pub fn before(&mut self, epochs: &[Epoch], steps: usize) {
        if let Some(bar) = &self.bar {
            bar.set_position(steps as u64);
        }
        if let Some(out) = &mut self.out {
            out.before(epochs);
        }
    }

    /// Prints what `--watch` asks for after a step.
    pub fn watched(&mut self, step: u64, loss: Option<f64>, norms: &[(String, f64)]) -> Result<()> {
        let number = |x: f64| if x.is_finite() { json!(x) } else { json!(x.to_string()) };
        if self.voice.is_json() {
            let norms: serde_json::Map<_, _> = norms.iter().map(|(name, norm)| (name.clone(), number(*norm))).collect();
            return self.print(&json!({ "step": step, "loss": loss.map(number), "norms": norms }));
        }
        let norms: Vec<String> = norms.iter().map(|(name, norm)| format!("{name} {norm:.6e}")).collect();
        let loss = loss.map_or(String::new(), |loss| format!("loss {loss:.6e}, "));
        self.print(&format!("step {step}: {loss}norms: {}", norms.join(", ")))
    }

    /// Training begins.
    pub fn start(&mut self, steps_per_epoch: usize) {
        if is_screen() && !self.voice.is_quiet() {
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
    pub fn epoch(&mut self, done: Epoch, record: &Record) -> Result<()> {
        if let Some(out) = &mut self.out {
            out.epoch(done, &record.title(Some(&done)), || record.json("running", Some(&done)));
        }
        let Epoch { epoch, train, held, steps, seconds } = done;
        let measures = record.measures;
        if self.voice == Voice::Plain || self.bar.is_some() {
            let line = format!(
                "epoch {epoch}/{}: training {}; {} {}; {:.0} steps/s",
                self.epochs,
                train.said(measures.aim),
                measures.held_words(),
                held.said(measures.aim),
                steps as f64 / seconds,
            );
            match &self.bar {
                None => note(&line),
                Some(bar) => {
                    bar.println(line);
                    bar.set_message(format!("epoch {}/{}", (epoch + 1).min(self.epochs), self.epochs));
                }
            }
        }
        if !self.voice.is_json() {
            return Ok(());
        }
        let mut object = json!({ "epoch": epoch, "steps": steps, "seconds": seconds });
        train.put(measures.aim, "train_", &mut object);
        held.put(measures.aim, &format!("{}_", measures.held()), &mut object);
        self.print(&object)
    }

    /// Training has ended, well or not: removes the bar.
    pub fn close(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    /// Prints the result on stdout. It comes before the files, since the disk may be full.
    pub fn result(&mut self, record: &Record, last: &Epoch) -> Result<()> {
        if self.voice.is_json() {
            return self.print(&record.result(last));
        }
        self.print(&record.line(last))
    }

    /// Whether there is a folder for files.
    pub fn has_files(&self) -> bool {
        self.out.is_some()
    }

    /// A picture beside the curves.
    pub fn picture(&mut self, name: &str, text: &str) {
        if let Some(out) = &mut self.out {
            out.file(name, text);
        }
    }

    /// The files of the run, last of all.
    pub fn files(&mut self, record: &Record, state: &str, last: Option<&Epoch>) -> Result<()> {
        let Some(out) = &mut self.out else { return Ok(()) };
        if last.is_some() {
            out.draw(&record.title(last));
            out.describe(&record.json(state, last));
        }
        out.finish()
    }

    /// Prints a line on stdout. If nobody reads it any more, a run with files goes on without stdout.
    fn print(&mut self, line: &impl fmt::Display) -> Result<()> {
        if !self.heard || self.voice == Voice::Silent {
            return Ok(());
        }
        let print = || writeln!(io::stdout(), "{line}");
        let printed = self.bar.as_ref().map_or_else(print, |bar| bar.suspend(print));
        match (printed, &self.out) {
            (Err(error), Some(out)) if error.kind() == ErrorKind::BrokenPipe => {
                self.heard = false;
                note(&format!("nobody reads stdout any more; the run goes on for {}", out.directory().display()));
                Ok(())
            }
            (printed, _) => printed.context("cannot write to stdout"),
        }
    }
}
