//! The folder of a sweep: its tables, to which lines are appended as they come, and run.json.

use super::args::{Args, Strategy};
use super::curves::Curves;
use super::cut::Cut;
use super::design::Design;
use super::rungs;
use crate::out::{self, Out, no_folder, replace, unwritten};
use crate::report::note;
use crate::{Usage, version};
use anyhow::{Result, anyhow, bail};
use serde_json::{Value, json};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use thalweg::checkpoint::{Tensors, write};
use thalweg::sweep::{Record, Strategy as Plan, Table};

/// The names of the tables.
const LINES: &str = "trials.jsonl";
const CSV: &str = "trials.csv";
const CURVES: &str = "curves.csv";
const RUN: &str = "run.json";
const CURVES_HEADER: &str = "trial,fold,seed,epoch,train_loss\n";

/// The folder of a sweep.
pub struct Folder {
    directory: PathBuf,
    /// Held until the sweep ends.
    _lock: Option<File>,
    lines: File,
    csv: File,
    curves: File,
    /// The curves of the interrupted sweep.
    pub earlier: Curves,
    /// The states of its lanes.
    pub states: Option<Tensors>,
    /// An empty table, which formats lines.
    table: Table,
    /// The first failure to write.
    failure: Option<anyhow::Error>,
}

impl Folder {
    /// Opens the folder. With `--resume` its table is read; otherwise it must not have one.
    pub fn new(given: &Path, args: &Args, design: &Design, cut: &Cut) -> Result<(Option<Self>, Table)> {
        let directory = if args.new_dir { Out::free(given)? } else { given.to_path_buf() };
        if directory != given {
            note(&format!("{} has files; this sweep writes into {}", given.display(), directory.display()));
        }
        let path = |name: &str| directory.join(name);
        let mut table = Table::new(design.space.clone(), args.metric().goal());
        let exists = path(LINES).exists() || path(CSV).exists();
        let mut states = None;
        if args.resume {
            same_sweep(&path(RUN), args, cut)?;
            table = read(&directory, table)?;
            states = rungs::read(&directory);
            if let (Plan::Population { every, .. }, false) = (&design.sweep.strategy, table.records().is_empty()) {
                (table, states) = rungs::of_population(&table, states, *every);
            }
        } else if exists {
            let told = directory.display();
            return Err(Usage(format!(
                "{told} has the trials of a sweep: --resume goes on with it, --new-dir takes a folder beside it"
            ))
            .into());
        }
        fs::create_dir_all(&directory).map_err(|error| no_folder(&directory, error))?;
        let lock = out::lock(&directory)?;
        let earlier =
            if args.resume { Curves::read(&fs::read_to_string(path(CURVES)).unwrap_or_default()) } else { Curves::default() };
        // The tables are written anew, as the last line of a killed sweep may be incomplete.
        let open = |name: &str, text: String| {
            replace(&path(name), text.as_bytes())?;
            OpenOptions::new().append(true).open(path(name)).map_err(|error| unwritten(&path(name), &error))
        };
        let lines = open(LINES, table.json_lines())?;
        let csv = open(CSV, table.csv())?;
        let curves = open(CURVES, CURVES_HEADER.to_string() + &earlier.csv())?;
        let own = table.clone();
        let folder = Self { directory, _lock: lock, lines, csv, curves, earlier, states, table: own, failure: None };
        Ok((Some(folder), table))
    }

    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Appends a row to both tables, each in one write. A failure to write does not end the sweep.
    pub fn row(&mut self, record: &Record) {
        let line = Table::json_line(record) + "\n";
        let written = self.lines.write_all(line.as_bytes()).map_err(|error| unwritten(&self.directory.join(LINES), &error));
        self.keep(written);
        let line = self.table.csv_line(record) + "\n";
        let written = self.csv.write_all(line.as_bytes()).map_err(|error| unwritten(&self.directory.join(CSV), &error));
        self.keep(written);
    }

    /// Appends a point of a training curve.
    pub fn curve(&mut self, line: &str) {
        let written = self.curves.write_all(line.as_bytes()).map_err(|error| unwritten(&self.directory.join(CURVES), &error));
        self.keep(written);
    }

    /// Writes run.json.
    pub fn describe(&mut self, state: &str, about: &Value, result: Option<&Value>) {
        let command: Vec<String> = std::env::args_os().map(|arg| arg.to_string_lossy().into_owned()).collect();
        let mut object = json!({ "command": command, "state": state, "versions": version::object(), "result": result });
        if let (Some(object), Some(about)) = (object.as_object_mut(), about.as_object()) {
            object.extend(about.clone());
        }
        self.file(RUN, &format!("{object:#}\n"));
    }

    /// Writes the states of lanes.
    pub fn states(&mut self, tensors: thalweg::Result<Tensors>) {
        let written = tensors.and_then(|tensors| write(self.directory.join(rungs::FILE), &tensors));
        self.keep(written.map_err(anyhow::Error::from));
    }

    /// Writes a whole file into the folder.
    pub fn file(&mut self, name: &str, text: &str) {
        let written = replace(&self.directory.join(name), text.as_bytes());
        self.keep(written);
    }

    /// Returns the first failure to write, if there was one.
    pub fn finish(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    /// Keeps the first failure, and notes it on stderr.
    pub fn keep(&mut self, written: Result<()>) {
        if let (Err(error), None) = (written, &self.failure) {
            note(&format!("warning: {error:#}; the sweep goes on"));
            self.failure = Some(error);
        }
    }
}

/// The table of an interrupted sweep. Broken lines are noted and left out.
fn read(directory: &Path, empty: Table) -> Result<Table> {
    let (lines, csv) = (directory.join(LINES), directory.join(CSV));
    let text = |path: &Path| fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let (space, goal) = (empty.space().clone(), empty.goal());
    let (table, broken) = match (text(&lines), text(&csv)) {
        (Ok(text), _) => Table::read_json_lines(&text, &lines, space, goal),
        (Err(_), Ok(text)) => Table::read_csv(&text, &csv, space, goal),
        (Err(error), Err(_)) => bail!("{}: {error}; there is no sweep to go on with", lines.display()),
    }
    .map_err(|error| Usage(error.to_string()))?;
    broken.iter().for_each(|error| note(&format!("warning: {error}; the line is left out")));
    Ok(table)
}

/// Checks that the interrupted sweep had the same settings and data. Without its run.json nothing is checked.
fn same_sweep(path: &Path, args: &Args, cut: &Cut) -> Result<()> {
    let Ok(text) = fs::read_to_string(path) else { return Ok(()) };
    let before: Value = serde_json::from_str(&text).map_err(|error| anyhow!("{}: {error}", path.display()))?;
    // If trials are drawn in batches, the number of trials may be raised.
    let free = !matches!(args.strategy, Strategy::Halving | Strategy::Hyperband | Strategy::Population);
    let (settings, data) = (args.settings(), cut.json());
    for (kind, now) in [("settings", &settings), ("data", &data)] {
        for (name, value) in now.as_object().into_iter().flatten() {
            let was = &before[kind][name];
            if was != value && !(free && name == "trials") {
                let text = format!("--resume: {name} was {was} and is {value} now; another sweep needs another --out");
                return Err(Usage(text).into());
            }
        }
    }
    Ok(())
}
