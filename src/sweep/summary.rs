//! The results of a trial over its folds and seeds.

use super::point::Point;
use super::record::{Record, Status};
use std::collections::BTreeMap;

/// The results of a trial over its folds and seeds.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// The trial.
    pub trial: u64,
    /// The values of its parameters.
    pub point: Point,
    /// The highest rung that it has reached. The other fields are those of this rung.
    pub rung: u64,
    /// Steps that were made, the fewest of all folds and seeds.
    pub steps: u64,
    /// Folds times seeds that have a metric.
    pub runs: usize,
    /// Their mean metric; NaN without any.
    pub mean: f64,
    /// Their standard deviation, with the divisor n − 1; 0 for a single one.
    pub deviation: f64,
    /// `Failed` if one has failed, else `Running` if one runs, else `Stopped` if one was stopped, else `Complete`.
    pub status: Status,
}

/// The results of one trial, whose rows these are.
pub(super) fn summary(records: &[&Record]) -> Summary {
    let rung = records.iter().map(|record| record.rung).max().unwrap_or(0);
    // A fold that stopped or failed at an earlier rung is still the newest of its fold and seed.
    let mut newest: BTreeMap<(Option<u64>, Option<u64>), &Record> = BTreeMap::new();
    for record in records {
        let own = newest.entry((record.fold, record.seed)).or_insert(record);
        if record.rung >= own.rung {
            *own = record;
        }
    }
    let newest: Vec<&Record> = newest.into_values().collect();
    let has = |status: Status| newest.iter().any(|record| record.status == status);
    let status = [Status::Failed, Status::Running, Status::Stopped].into_iter().find(|status| has(*status));
    let metrics: Vec<f64> = newest.iter().filter_map(|record| record.metric).collect();
    let runs = metrics.len();
    let mean = metrics.iter().sum::<f64>() / runs as f64;
    let squares: f64 = metrics.iter().map(|metric| (metric - mean).powi(2)).sum();
    Summary {
        trial: records[0].trial,
        // A population changes the settings of a lane from rung to rung.
        point: newest.iter().max_by_key(|record| record.rung).map_or_else(Point::new, |record| record.point.clone()),
        rung,
        steps: newest.iter().map(|record| record.steps).min().unwrap_or(0),
        runs,
        mean,
        deviation: if runs > 1 { (squares / (runs - 1) as f64).sqrt() } else { 0.0 },
        status: status.unwrap_or(Status::Complete),
    }
}
