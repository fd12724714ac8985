//! A row of the table of results.

use super::point::Point;
use super::study::Trial;
use std::fmt;

/// The status of a row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Status {
    /// It is being trained, or waits to go on.
    Running,
    /// It was trained to the end.
    Complete,
    /// It was stopped early.
    Stopped,
    /// Its metric was not finite.
    Failed,
}

impl Status {
    pub(super) const ALL: [(Self, &'static str); 4] =
        [(Self::Running, "running"), (Self::Complete, "complete"), (Self::Stopped, "stopped"), (Self::Failed, "failed")];
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(status, _)| status == self).map_or("", |(_, name)| name);
        f.write_str(name)
    }
}

/// A row of the table: one training of a trial, up to a rung.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// The trial.
    pub trial: u64,
    /// The trial that this one was copied from, if it was.
    pub parent: Option<u64>,
    /// The fold that it was validated on, if there are folds.
    pub fold: Option<u64>,
    /// The seed that it started from, if there are several.
    pub seed: Option<u64>,
    /// The rung, counted from 0.
    pub rung: u64,
    /// Steps that it has made.
    pub steps: u64,
    /// Its metric, finite; `None` if it has none yet, or has failed.
    pub metric: Option<f64>,
    /// Its status.
    pub status: Status,
    /// The values of its parameters.
    pub point: Point,
}

impl Record {
    /// A row without fold, seed, parent and metric, at rung 0 and step 0, that is running.
    pub fn new(trial: &Trial) -> Self {
        Self {
            trial: trial.id,
            parent: None,
            fold: None,
            seed: None,
            rung: 0,
            steps: 0,
            metric: None,
            status: Status::Running,
            point: trial.point.clone(),
        }
    }

    /// The row with a metric after so many steps; one that is not finite makes the status `Failed`.
    pub fn scored(self, steps: u64, metric: f64, status: Status) -> Self {
        match metric.is_finite() {
            true => Self { steps, metric: Some(metric), status, ..self },
            false => Self { steps, metric: None, status: Status::Failed, ..self },
        }
    }

    pub(super) fn key(&self) -> Key {
        (self.trial, self.fold, self.seed, self.rung)
    }
}

/// Trial, fold, seed and rung: of two rows with the same key, the later one counts.
pub(super) type Key = (u64, Option<u64>, Option<u64>, u64);
