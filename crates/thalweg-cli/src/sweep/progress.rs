//! The output of a sweep while it runs.

use super::curves::{self, Curves, Key};
use super::folder::Folder;
use super::live::{Curve, Live, View};
use super::metric::Metric;
use super::pictures::Pictures;
use super::result::Outcome;
use crate::report::{Voice, is_screen, note};
use crate::stop;
use anyhow::{Context, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Write};
use std::time::{Duration, Instant};
use thalweg::checkpoint::Tensors;
use thalweg::sweep::{Bracket, Record, Status, Strategy, Summary, Sweep, Table};

/// The time between two lines that say how far the sweep is.
const TELL: Duration = Duration::from_secs(10);
/// The least time between two searches of the table for the best trial.
const LOOK: Duration = Duration::from_millis(100);
/// Curves that are shown behind the newest.
const SHOWN: usize = 64;

/// Everything that a sweep writes while it runs.
pub struct Progress {
    voice: Voice,
    metric: Metric,
    folder: Option<Folder>,
    table: Table,
    curves: Curves,
    about: Value,
    trials: usize,
    /// The length of all trainings together, in the sweep's unit, as far as it is known.
    planned: f64,
    made: u64,
    unit: &'static str,
    steps: u64,
    best: Option<Summary>,
    started: Instant,
    told: Instant,
    /// Whether stdout still has a reader.
    heard: bool,
    /// The view on a terminal, instead of lines.
    live: Option<Live>,
    /// When the table was searched last.
    looked: Option<Instant>,
    /// The best metric over the seconds since the start.
    climb: Curve,
    /// The training that made steps last.
    newest: Option<Key>,
}

impl Progress {
    pub fn new(
        voice: Voice,
        (metric, unit): (Metric, &'static str),
        sweep: &Sweep,
        mut folder: Option<Folder>,
        table: Table,
    ) -> Self {
        let curves = folder.as_mut().map(|folder| std::mem::take(&mut folder.earlier)).unwrap_or_default();
        let (now, best) = (Instant::now(), table.best());
        let live = (voice == Voice::Plain && is_screen()).then(Live::new);
        let trials = sweep.trials;
        let (about, planned) = (Value::Null, planned(sweep));
        Self {
            voice,
            metric,
            folder,
            table,
            curves,
            about,
            trials,
            planned,
            made: 0,
            unit,
            steps: 0,
            best,
            started: now,
            told: now,
            heard: true,
            live,
            looked: None,
            climb: Vec::new(),
            newest: None,
        }
    }

    /// Prints and writes the beginning of the sweep.
    pub fn begin(&mut self, about: &Value, data: &[String]) -> Result<()> {
        self.about = about.clone();
        let loud = |line: &&String| self.voice == Voice::Plain || line.starts_with("warning: ");
        data.iter().filter(loud).for_each(|line| note(line));
        if self.voice == Voice::Plain {
            let space = about["space"].as_str().unwrap_or("");
            note(&format!("sweep: {} trials over {space}, {} engine", self.trials, about["engine"].as_str().unwrap_or("")));
        }
        if let Some(folder) = &mut self.folder {
            folder.describe("running", about, None);
        }
        if self.voice.is_json() { self.print(&about.to_string()) } else { Ok(()) }
    }

    /// Takes a new row of the table.
    pub fn row(&mut self, record: &Record) {
        if let Some(folder) = &mut self.folder {
            folder.row(record);
        }
        // This cannot fail: the sweep's own table took the row before.
        let _ = self.table.push(record.clone());
        if self.voice.is_json() {
            let _ = self.print(&Table::json_line(record));
        }
        // To search the table after every row would take longer than small trainings.
        let is_due = self.looked.is_none_or(|looked| looked.elapsed() >= LOOK);
        if self.voice == Voice::Plain && record.metric.is_some() && is_due {
            self.look_for_best();
            self.looked = Some(Instant::now());
        }
    }

    /// The states of the lanes of an interrupted sweep.
    pub fn earlier_rungs(&mut self) -> Option<Tensors> {
        self.folder.as_mut().and_then(|folder| folder.states.take())
    }

    /// Writes the states of lanes before a rung, if there is a folder.
    pub fn rungs(&mut self, tensors: thalweg::Result<Tensors>) {
        if let Some(folder) = &mut self.folder {
            folder.states(tensors);
        }
    }

    /// Takes the number of steps that were made.
    pub fn steps(&mut self, steps: u64) {
        self.steps += steps;
    }

    /// Takes the state of a training.
    pub fn trained(&mut self, key: Key, made: u64, loss: f64) {
        let curve = self.curves.0.entry(key).or_default();
        // A resumed sweep repeats steps, so a training may be behind its own curve.
        let before = curve.range(..made).next_back().map_or(0, |(&before, _)| before);
        curve.insert(made, loss);
        self.made += made - before;
        self.newest = Some(key);
        if let Some(folder) = &mut self.folder {
            folder.curve(&curves::line(key, made, loss));
        }
    }

    /// The curves and the number of steps since the call before, for another machine to take over.
    pub fn handed_over(&mut self) -> String {
        let (steps, curves) = (std::mem::take(&mut self.steps), std::mem::take(&mut self.curves));
        format!("{steps}\n{}", curves.csv())
    }

    /// Takes what another machine has handed over.
    pub fn take_over(&mut self, text: &str) {
        self.steps += text.lines().next().and_then(|steps| steps.parse::<u64>().ok()).unwrap_or(0);
        for (key, curve) in Curves::read(text).0 {
            curve.into_iter().for_each(|(made, loss)| self.trained(key, made, loss));
        }
    }

    /// Reports how far the sweep is, if it is time.
    pub fn look(&mut self) {
        if self.live.is_some() {
            self.draw();
        } else if self.voice == Voice::Plain && self.told.elapsed() >= TELL {
            self.told = Instant::now();
            note(&self.line());
        }
    }

    fn look_for_best(&mut self) {
        let best = self.leaders(&self.table.summaries()).first().map(|&best| best.clone());
        let is_new = best.as_ref().map(|best| best.trial) != self.best.as_ref().map(|best| best.trial);
        self.best = best;
        let seconds = self.started.elapsed().as_secs_f64();
        self.climb.extend(self.best.as_ref().filter(|_| is_new).map(|best| (seconds, best.mean)));
        if self.live.is_some() {
            self.draw();
        } else if let (true, Voice::Plain, Some(best)) = (is_new, self.voice, &self.best) {
            self.told = Instant::now();
            let done = self.counts().iter().sum::<usize>();
            note(&format!(
                "best after {} {}: trial {}, {} {}: {} ({done} of {} trials done)",
                best.steps,
                self.unit,
                best.trial,
                self.metric.name(),
                self.metric.shown(best.mean),
                best.point,
                self.trials,
            ));
        }
    }

    /// Of the trials with the most steps, also running ones, those with the best metric so far, the best first.
    fn leaders<'a>(&self, summaries: &'a [Summary]) -> Vec<&'a Summary> {
        let goal = self.table.goal();
        // A trial of which not every fold has a metric has no steps.
        let finite = || {
            let measured = summaries.iter().filter(|summary| summary.mean.is_finite() && summary.steps > 0);
            measured.filter(|summary| summary.status != Status::Failed)
        };
        let farthest = finite().map(|summary| summary.steps).max();
        let mut leaders: Vec<&Summary> = finite().filter(|summary| Some(summary.steps) == farthest).collect();
        leaders.sort_by(|a, b| goal.cost(a.mean).total_cmp(&goal.cost(b.mean)));
        leaders
    }

    /// The numbers of complete, stopped and failed trials.
    fn counts(&self) -> [usize; 3] {
        let summaries = self.table.summaries();
        [Status::Complete, Status::Stopped, Status::Failed]
            .map(|status| summaries.iter().filter(|summary| summary.status == status).count())
    }

    /// Draws the view again if it is time, and if no answer to a signal was printed below it.
    fn draw(&mut self) {
        if stop::asked().is_some() || !self.live.as_ref().is_some_and(Live::is_due) {
            return;
        }
        let view = self.view();
        if let Some(live) = &mut self.live {
            live.draw(&view);
        }
    }

    fn view(&self) -> View {
        let [complete, stopped, failed] = self.counts();
        let summaries = self.table.summaries();
        let running = summaries.iter().filter(|summary| summary.status == Status::Running).count();
        let shown =
            |summary: &Summary| format!("{}  trial {}: {}", self.metric.shown(summary.mean), summary.trial, summary.point);
        View {
            running,
            complete,
            stopped,
            failed,
            trials: self.trials,
            share: self.made as f64 / self.planned,
            steps_per_second: self.steps as f64 / self.started.elapsed().as_secs_f64(),
            left: self.left(),
            best: self.leaders(&summaries).iter().take(5).map(|summary| shown(summary)).collect(),
            climb: self.climb.clone(),
            metric: self.metric.name().into(),
            losses: self.losses(),
            unit: self.unit,
        }
    }

    /// The training losses that are shown: those of the last trials, and that of the newest training at the end.
    fn losses(&self) -> Vec<Curve> {
        let points = |curve: &BTreeMap<u64, f64>| curve.iter().map(|(&at, &loss)| (at as f64, loss)).collect();
        let others = self.curves.0.iter().rev().filter(|(key, _)| Some(**key) != self.newest).take(SHOWN);
        let newest = self.newest.and_then(|key| self.curves.0.get(&key));
        others.map(|(_, curve)| curve).chain(newest).map(points).collect()
    }

    /// How long the rest of the sweep takes, if no trial is stopped.
    fn left(&self) -> Option<String> {
        let seconds = self.started.elapsed().as_secs_f64() * (self.planned / self.made.max(1) as f64 - 1.0);
        (seconds > 0.0).then(|| duration(seconds))
    }

    /// How far the sweep is, in one line.
    fn line(&self) -> String {
        let [complete, stopped, failed] = self.counts();
        let seconds = self.started.elapsed().as_secs_f64();
        let best = self.best.as_ref().map(|best| format!("; best {}", self.metric.shown(best.mean))).unwrap_or_default();
        let left = self.left().map(|left| format!(", {left} left at most")).unwrap_or_default();
        format!(
            "{complete} trials complete, {stopped} stopped, {failed} failed, of {}{best}; {:.0} model-steps/s{left}",
            self.trials,
            self.steps as f64 / seconds,
        )
    }

    /// Writes a file beside the tables, if there is a folder.
    pub fn file(&mut self, name: &str, text: &str) {
        if let Some(folder) = &mut self.folder {
            folder.file(name, text);
        }
    }

    /// Prints and writes the end of the sweep, well or not.
    pub fn end(&mut self, state: &str, outcome: &Outcome) -> Result<()> {
        if let Some(live) = &mut self.live {
            live.clear();
        }
        let seconds = self.started.elapsed().as_secs_f64();
        let result = outcome.json(self.steps, seconds);
        let mut printed = Ok(());
        if state == "finished" {
            let text = outcome.text(self.steps, seconds);
            printed = match self.voice.is_json() {
                true => self.print(&result.to_string()),
                false => text.iter().try_for_each(|line| self.print(line)),
            };
        }
        let importance = outcome.importance.as_deref();
        let pictures = Pictures { table: &self.table, curves: &self.curves, metric: self.metric, unit: self.unit, importance };
        let written = match &mut self.folder {
            Some(folder) => {
                folder.describe(state, &self.about, Some(&result));
                match pictures.all().context("cannot draw the sweep") {
                    Ok(pictures) => pictures.iter().for_each(|(name, picture)| folder.file(name, picture)),
                    Err(error) => folder.keep(Err(error)),
                }
                folder.finish()
            }
            None => Ok(()),
        };
        printed.and(written)
    }

    /// Prints a line on stdout. If nobody reads it any more, a sweep with files goes on without stdout.
    fn print(&mut self, line: &str) -> Result<()> {
        if !self.heard {
            return Ok(());
        }
        match (writeln!(io::stdout(), "{line}"), &self.folder) {
            (Err(error), Some(folder)) if error.kind() == ErrorKind::BrokenPipe => {
                self.heard = false;
                note(&format!("nobody reads stdout any more; the sweep goes on for {}", folder.directory().display()));
                Ok(())
            }
            (printed, _) => printed.context("cannot write to stdout"),
        }
    }
}

/// The length of all trainings together, if no trial is stopped early.
fn planned(sweep: &Sweep) -> f64 {
    let runs = sweep.folds.max(1) as f64 * sweep.seeds.len().max(1) as f64;
    let of_bracket = |bracket: Bracket| {
        let mut before = 0;
        let rung = |rung: &thalweg::sweep::Rung| {
            let more = (rung.steps - before) as f64;
            before = rung.steps;
            rung.trials as f64 * more
        };
        bracket.rungs.iter().map(rung).sum::<f64>()
    };
    let epochs = match &sweep.strategy {
        Strategy::Plain { steps }
        | Strategy::Stopping { steps, .. }
        | Strategy::Folds { steps, .. }
        | Strategy::Population { steps, .. } => sweep.trials as f64 * *steps as f64,
        Strategy::Halving(halving) => halving.bracket(sweep.trials).map_or(0.0, of_bracket),
        Strategy::Hyperband(hyperband) => {
            hyperband.brackets_of(sweep.trials).map_or(0.0, |brackets| brackets.into_iter().map(of_bracket).sum())
        }
    };
    epochs * runs
}

/// Seconds as text.
pub fn duration(seconds: f64) -> String {
    match seconds as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        seconds => format!("{} h {} min", seconds / 3600, seconds / 60 % 60),
    }
}
