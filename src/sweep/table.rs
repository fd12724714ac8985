//! The table of results: a row for every trial, fold, seed and rung.

use super::record::{Key, Record, Status};
use super::space::SearchSpace;
use super::study::{Goal, Outcome, Trial};
use super::summary::{Summary, summary};
use crate::error::{Error, Result};
use std::collections::BTreeMap;

/// The results of a sweep: every trial with its values, fold, rung, metric, steps, status and parent.
///
/// It can be written as CSV, or as lines of JSON of which the first has the space and the goal, and read again from both. A
/// broken line is reported and left out. Lines may be appended as they come: a later row of the same trial, fold, seed and rung
/// replaces the earlier one.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Goal, Random, Record, SearchSpace, Status, Study, Table};
///
/// let space: SearchSpace = "lr=log:1e-4:1e-1; rule=choice:adam,sgd".parse()?;
/// let mut study = Study::new(space.clone(), Goal::Maximize, Random::default());
/// let mut table = Table::new(space.clone(), Goal::Maximize);
/// for trial in study.ask(2)? {
///     for (fold, accuracy) in [(0, 0.9), (1, 0.94)] {
///         let record = Record { fold: Some(fold), ..Record::new(&trial) };
///         table.push(record.scored(100, accuracy - 0.1 * trial.id as f64, Status::Complete))?;
///     }
/// }
/// let best = table.best().unwrap();
/// assert_eq!((best.trial, best.runs), (0, 2));
/// assert!((best.mean - 0.92).abs() < 1e-12 && (best.deviation - 0.02 * 2.0_f64.sqrt()).abs() < 1e-12);
///
/// let (read, broken) = Table::read_json_lines(&table.json_lines(), "table.jsonl".as_ref(), space, Goal::Maximize)?;
/// assert_eq!((read, broken.len()), (table, 0));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub(super) space: SearchSpace,
    pub(super) goal: Goal,
    pub(super) records: Vec<Record>,
    /// Where the row of each key is.
    places: BTreeMap<Key, usize>,
}

impl Table {
    /// A table without rows.
    pub fn new(space: SearchSpace, goal: Goal) -> Self {
        Self { space, goal, records: Vec::new(), places: BTreeMap::new() }
    }

    /// Adds a row, or replaces that of the same trial, fold, seed and rung.
    ///
    /// # Errors
    ///
    /// Those of [`SearchSpace::check`], and [`Error::Setting`] for a metric that is not finite, for one of a failed row, and
    /// for a missing one of a row that is complete or stopped.
    pub fn push(&mut self, mut record: Record) -> Result<()> {
        record.point = self.space.taken(&record.point)?;
        let allowed = match (record.status, record.metric) {
            (_, Some(metric)) if !metric.is_finite() => "finite",
            (Status::Failed, Some(_)) => "none, as it has failed",
            (Status::Complete | Status::Stopped, None) => "there, as it is complete or stopped",
            _ => {
                let place = *self.places.entry(record.key()).or_insert(self.records.len());
                match self.records.get_mut(place) {
                    Some(own) => *own = record,
                    None => self.records.push(record),
                }
                return Ok(());
            }
        };
        let metric = record.metric.map_or("none".into(), |metric| metric.to_string());
        Err(Error::setting(&format!("metric of trial {}", record.trial), metric, allowed))
    }

    /// The rows, in the order in which their keys came first.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The rows of a trial by fold, then by seed, then by rung.
    pub fn rows_of(&self, trial: u64) -> impl Iterator<Item = &Record> {
        let last = (trial, Some(u64::MAX), Some(u64::MAX), u64::MAX);
        self.places.range((trial, None, None, 0)..=last).map(|(_, &place)| &self.records[place])
    }

    /// The row of the same trial, fold, seed and rung, if there is one.
    pub(super) fn own(&self, row: &Record) -> Option<&Record> {
        self.places.get(&row.key()).map(|&place| &self.records[place])
    }

    /// Whether metrics should be small or large.
    pub fn goal(&self) -> Goal {
        self.goal
    }

    /// The space of the points.
    pub fn space(&self) -> &SearchSpace {
        &self.space
    }

    /// Each trial over its folds and seeds, by number.
    pub fn summaries(&self) -> Vec<Summary> {
        let mut trials: BTreeMap<u64, Vec<&Record>> = BTreeMap::new();
        self.records.iter().for_each(|record| trials.entry(record.trial).or_default().push(record));
        trials.into_values().map(|records| summary(&records)).collect()
    }

    /// The trial with the best mean over folds and seeds of those that were trained to the end; if there are none, of those
    /// that were stopped after the most steps. Of equal ones the one with the lower number is better. A failed trial is never
    /// the best.
    pub fn best(&self) -> Option<Summary> {
        let summaries = self.summaries();
        let of = |status: Status| summaries.iter().filter(move |summary| summary.status == status);
        let farthest = of(Status::Stopped).map(|summary| summary.steps).max();
        let mut rivals: Vec<&Summary> = of(Status::Complete).collect();
        if rivals.is_empty() {
            rivals = of(Status::Stopped).filter(|summary| Some(summary.steps) == farthest).collect();
        }
        let best = self.goal.ranking(rivals.iter().map(|summary| summary.mean)).first().copied()?;
        Some(rivals[best].clone())
    }

    /// The trials for [`Study::resume`](super::Study::resume), each with the point with which it began, which is that of its
    /// lowest rung.
    pub fn trials(&self) -> Vec<Trial> {
        let mut asked: BTreeMap<u64, &Record> = BTreeMap::new();
        for record in &self.records {
            let own = asked.entry(record.trial).or_insert(record);
            if record.rung < own.rung {
                *own = record;
            }
        }
        let trial = |summary: Summary| {
            let outcome = match summary.status {
                Status::Running => Outcome::Running,
                Status::Complete => Outcome::Complete(summary.mean),
                Status::Stopped => Outcome::Stopped { step: summary.steps, metric: summary.mean },
                Status::Failed => Outcome::Failed,
            };
            Trial { id: summary.trial, point: asked[&summary.trial].point.clone(), outcome }
        };
        self.summaries().into_iter().map(trial).collect()
    }
}
