//! The states of all lanes in a file of the sweep's folder, as they are before each rung, so that `--resume` trains no rung
//! again that was complete.

use super::progress::Progress;
use crate::report::note;
use std::cell::RefCell;
use std::path::Path;
use std::time::{Duration, Instant};
use thalweg::Result;
use thalweg::checkpoint::{self, Tensors};
use thalweg::plan::Engine;
use thalweg::sweep::{Job, Record, Status, Table, Train};
use thalweg::train::{Population, Setup};

/// The name of the file.
pub const FILE: &str = "rungs.safetensors";
/// The text that says up to which step the rung goes that begins.
const STEPS: &str = "steps";
/// Beyond a few seconds, files take at most this part of the time.
const SHARE: u32 = 10;
const FREE: Duration = Duration::from_secs(5);

/// A population whose states are written before each rung.
pub struct Rungs<'a, E: Engine, S> {
    population: Population<'a, E, S>,
    progress: &'a RefCell<Progress>,
    /// The rung that began last.
    rung: Option<u64>,
    started: Instant,
    spent: Duration,
}

impl<'a, E: Engine<Float = f32>, S: FnMut(&Job) -> Result<Setup>> Rungs<'a, E, S> {
    /// Goes on from the file of an interrupted sweep, if there is one.
    pub fn new(mut population: Population<'a, E, S>, progress: &'a RefCell<Progress>) -> Self {
        let earlier = progress.borrow_mut().earlier_rungs();
        if let Some(Err(error)) = earlier.map(|tensors| population.load_tensors(&tensors)) {
            note(&format!("warning: {FILE}: {error}; trials are trained from their beginning"));
        }
        Self { population, progress, rung: None, started: Instant::now(), spent: Duration::ZERO }
    }

    /// Writes the states before a rung, unless there are none, or files have taken too much time so far.
    fn keep(&mut self, steps: u64) {
        let begins = self.rung.replace(steps) != Some(steps);
        let takes_long = self.spent > FREE && self.spent * SHARE > self.started.elapsed();
        if !begins || self.population.is_empty() || takes_long {
            return;
        }
        let start = Instant::now();
        let tensors = self.population.tensors().map(|mut tensors| {
            tensors.texts.insert(STEPS.into(), steps.to_string());
            tensors
        });
        self.progress.borrow_mut().rungs(tensors);
        self.spent += start.elapsed();
    }
}

impl<E: Engine<Float = f32>, S: FnMut(&Job) -> Result<Setup>> Train for Rungs<'_, E, S> {
    fn train(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>> {
        self.keep(steps);
        self.population.train(jobs, steps)
    }

    fn capacity(&self) -> usize {
        self.population.capacity()
    }

    fn copy(&mut self, from: u64, to: u64) -> Result<()> {
        self.population.copy(from, to)
    }

    fn forget(&mut self, trials: &[u64]) {
        self.population.forget(trials);
    }
}

/// The file of an interrupted sweep. Without a whole one, trials are trained from their beginning.
pub fn read(directory: &Path) -> Option<Tensors> {
    let path = directory.join(FILE);
    if !path.exists() {
        return None;
    }
    let read = checkpoint::read(&path);
    read.map_err(|error| note(&format!("warning: {error}; trials are trained from their beginning"))).ok()
}

/// What a population goes on from: the states before a round, and the rows of the rounds before that one. Members change from
/// round to round, so either is of no use without the other; then both are empty.
pub fn of_population(table: &Table, states: Option<Tensors>, every: u64) -> (Table, Option<Tensors>) {
    let empty = || Table::new(table.space().clone(), table.goal());
    let steps = states.as_ref().and_then(|states| states.texts.get(STEPS)?.parse::<u64>().ok());
    let round = steps.map_or(0, |steps| (steps / every.max(1)).saturating_sub(1));
    let has_result = |record: &&Record| record.metric.is_some() || record.status == Status::Failed;
    let of = |rung: u64| table.records().iter().filter(move |record| record.rung == rung);
    let members = of(0).count();
    if round == 0 || (0..round).any(|rung| of(rung).filter(has_result).count() != members) {
        note("a population is trained again from its beginning; its rows will be the same");
        return (empty(), None);
    }
    note(&format!("the population goes on with round {} of its members", round + 1));
    let mut kept = empty();
    for record in table.records().iter().filter(|record| record.rung < round) {
        // A table took it before.
        let _ = kept.push(record.clone());
    }
    (kept, states)
}
