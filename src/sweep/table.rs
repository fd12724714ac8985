//! The table of results: a row for every trial, fold, seed and rung.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use super::json::{Json, quoted};
use super::point::{Coordinate, Point};
use super::space::{COLUMNS, SearchSpace};
use super::study::{Goal, Outcome, Trial};
use crate::error::{Error, Result};

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
    const ALL: [(Self, &'static str); 4] =
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

    fn key(&self) -> Key {
        (self.trial, self.fold, self.seed, self.rung)
    }
}

/// Trial, fold, seed and rung: of two rows with the same key, the later one counts.
type Key = (u64, Option<u64>, Option<u64>, u64);

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
    space: SearchSpace,
    goal: Goal,
    records: Vec<Record>,
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

fn summary(records: &[&Record]) -> Summary {
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

/// Writing.
impl Table {
    /// The first line of the table as JSON lines: its space and goal.
    pub fn json_header(&self) -> String {
        format!("{{\"space\":{},\"goal\":\"{}\"}}", quoted(&self.space.to_string()), goal_name(self.goal))
    }

    /// A row as a line of JSON.
    pub fn json_line(record: &Record) -> String {
        let number = |number: Option<u64>| number.map_or("null".into(), |number| number.to_string());
        let setting = |(name, value): (&str, &Coordinate)| {
            let value = if let Coordinate::Text(text) = value { quoted(text) } else { value.to_string() };
            format!("{}:{value}", quoted(name))
        };
        let settings: Vec<String> = record.point.iter().map(setting).collect();
        format!(
            "{{\"trial\":{},\"parent\":{},\"fold\":{},\"seed\":{},\"rung\":{},\"steps\":{},\"metric\":{},\"status\":\"{}\",\"settings\":{{{}}}}}",
            record.trial,
            number(record.parent),
            number(record.fold),
            number(record.seed),
            record.rung,
            record.steps,
            record.metric.map_or("null".into(), |metric| format!("{metric:?}")),
            record.status,
            settings.join(",")
        )
    }

    /// The table as lines of JSON, each with its end.
    pub fn json_lines(&self) -> String {
        let rows = self.records.iter().map(Self::json_line);
        std::iter::once(self.json_header()).chain(rows).map(|line| line + "\n").collect()
    }

    /// The first line of the table as CSV: names of columns, the parameters last.
    pub fn csv_header(&self) -> String {
        let names = self.space.parameters().iter().map(|parameter| parameter.name.as_str());
        COLUMNS.into_iter().chain(names).collect::<Vec<_>>().join(",")
    }

    /// A row as a line of CSV. A missing value is an empty cell.
    pub fn csv_line(&self, record: &Record) -> String {
        let number = |number: Option<u64>| number.map_or(String::new(), |number| number.to_string());
        let mut cells = vec![
            record.trial.to_string(),
            number(record.parent),
            number(record.fold),
            number(record.seed),
            record.rung.to_string(),
            record.steps.to_string(),
            record.metric.map_or(String::new(), |metric| format!("{metric:?}")),
            record.status.to_string(),
        ];
        let value = |name: &str| record.point.get(name).map_or(String::new(), Coordinate::to_string);
        cells.extend(self.space.parameters().iter().map(|parameter| cell(&value(&parameter.name))));
        cells.join(",")
    }

    /// The table as CSV.
    pub fn csv(&self) -> String {
        let rows = self.records.iter().map(|record| self.csv_line(record));
        std::iter::once(self.csv_header()).chain(rows).map(|line| line + "\n").collect()
    }
}

fn goal_name(goal: Goal) -> &'static str {
    match goal {
        Goal::Minimize => "minimize",
        Goal::Maximize => "maximize",
    }
}

/// A cell in quotes where CSV needs them.
fn cell(text: &str) -> String {
    if text.contains(['"', ',']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.into() }
}

/// Reads a row; an error is a column and what is wrong there.
type ReadLine = fn(&SearchSpace, &str) -> Result<Record, (u64, String)>;

/// Reading.
impl Table {
    /// The table from lines of JSON, and an error for each line that is left out. `path` is for the errors.
    ///
    /// # Errors
    ///
    /// [`Error::Parse`] for line 1 if it is no header, or that of a table of another space or goal.
    pub fn read_json_lines(text: &str, path: &Path, space: SearchSpace, goal: Goal) -> Result<(Self, Vec<Error>)> {
        let mut table = Self::new(space, goal);
        let header = text.lines().next().unwrap_or("");
        let wrong = |reason: String| parse_error(path, 1, 1, reason);
        let json =
            Json::read(header).map_err(|(column, expected)| parse_error(path, 1, column, format!("{expected} expected")))?;
        let (Json::Text(space), Json::Text(goal)) = (json.field("space"), json.field("goal")) else {
            return Err(wrong("no first line of a table, which has its space and goal".into()));
        };
        if space.parse::<SearchSpace>().as_ref() != Ok(&table.space) {
            return Err(wrong(format!("a table of another space: {space}; this one is {}", table.space)));
        }
        if goal != goal_name(table.goal) {
            return Err(wrong(format!("a table of another goal: {goal}; this one is {}", goal_name(table.goal))));
        }
        let broken = table.take_lines(text, path, record_of_json);
        Ok((table, broken))
    }

    /// The table from CSV, and an error for each line that is left out. `path` is for the errors.
    ///
    /// CSV does not have the space: the names have to be those of `space`, and the values have to lie in their domains. A last
    /// line without its end is broken, since its last number may be cut short.
    ///
    /// # Errors
    ///
    /// [`Error::Parse`] for line 1 if its columns are not those of a table of this space.
    pub fn read_csv(text: &str, path: &Path, space: SearchSpace, goal: Goal) -> Result<(Self, Vec<Error>)> {
        let mut table = Self::new(space, goal);
        let header = text.lines().next().unwrap_or("");
        if header != table.csv_header() {
            let reason = format!("a table of another space, with columns {header}; this one has {}", table.csv_header());
            return Err(parse_error(path, 1, 1, reason));
        }
        // A number that was cut short still looks like a number, so a line without its end is not used.
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut broken = table.take_lines(&text[..whole], path, record_of_csv);
        if whole > 0 && whole < text.len() {
            broken.push(parse_error(path, text.lines().count() as u64, 1, "a line without its end".into()));
        }
        Ok((table, broken))
    }

    /// Adds the rows in the lines after the first. Broken lines are returned as errors.
    fn take_lines(&mut self, text: &str, path: &Path, read: ReadLine) -> Vec<Error> {
        let mut broken = Vec::new();
        for (i, line) in text.lines().enumerate().skip(1).filter(|(_, line)| !line.trim().is_empty()) {
            let record = read(&self.space, line);
            let pushed = record.and_then(|record| self.push(record).map_err(|error| (1, error.to_string())));
            if let Err((column, reason)) = pushed {
                broken.push(parse_error(path, i as u64 + 1, column, reason));
            }
        }
        broken
    }
}

fn parse_error(path: &Path, line: u64, column: u64, reason: String) -> Error {
    Error::Parse { path: path.into(), line, column, reason }
}

fn record_of_json(space: &SearchSpace, line: &str) -> Result<Record, (u64, String)> {
    let json = Json::read(line).map_err(|(column, expected)| (column, format!("{expected} expected")))?;
    let Json::Object(settings) = json.field("settings") else {
        return Err((1, "a row without settings".into()));
    };
    let mut point = Point::new();
    for (name, value) in settings {
        let value = match value {
            Json::Text(text) => Coordinate::Text(text.clone()),
            Json::Switch(switch) => Coordinate::Switch(*switch),
            Json::Number(number) => Coordinate::read(number),
            Json::Null | Json::Object(_) => return Err((1, format!("{name} has no value"))),
        };
        point.set(name, value);
    }
    let cell = |i: usize| match json.field(COLUMNS[i]) {
        Json::Null => Ok(String::new()),
        Json::Number(number) => Ok(number.clone()),
        Json::Text(text) => Ok(text.clone()),
        Json::Switch(_) | Json::Object(_) => Err((1, format!("{} is no number or text", COLUMNS[i]))),
    };
    let cells = (0..COLUMNS.len()).map(cell).collect::<Result<Vec<String>, _>>()?;
    record(space, &cells, &point, |_| 1)
}

fn record_of_csv(space: &SearchSpace, line: &str) -> Result<Record, (u64, String)> {
    let cells = cells(line).ok_or((1, "a quote that does not end".to_string()))?;
    let columns = COLUMNS.len() + space.parameters().len();
    if cells.len() != columns {
        return Err((1, format!("{} cells, {columns} expected", cells.len())));
    }
    let named = space.parameters().iter().zip(&cells[COLUMNS.len()..]).filter(|(_, cell)| !cell.is_empty());
    let point = named.fold(Point::new(), |point, (parameter, cell)| point.with(&parameter.name, Coordinate::read(cell)));
    record(space, &cells, &point, |i| i as u64 + 1)
}

/// The cells of a line, or `None` if a quote does not end.
fn cells(line: &str) -> Option<Vec<String>> {
    let (mut cells, mut cell, mut inside) = (Vec::new(), String::new(), false);
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        match c {
            '"' if inside && characters.peek() == Some(&'"') => cell.extend(characters.next()),
            '"' => inside = !inside,
            ',' if !inside => cells.push(std::mem::take(&mut cell)),
            c => cell.push(c),
        }
    }
    cells.push(cell);
    (!inside).then_some(cells)
}

/// The row that has these cells in the fixed columns; `column` says which column to name in an error.
fn record(
    space: &SearchSpace,
    cells: &[String],
    point: &Point,
    column: impl Fn(usize) -> u64,
) -> Result<Record, (u64, String)> {
    let wrong = |i: usize, expected: &str| (column(i), format!("{} = '{}', {expected} expected", COLUMNS[i], cells[i]));
    let optional = |i: usize| match cells[i].as_str() {
        "" => Ok(None),
        cell => cell.parse().map(Some).map_err(|_| wrong(i, "a whole number or nothing")),
    };
    let whole = |i: usize| cells[i].parse().map_err(|_| wrong(i, "a whole number"));
    let metric = match cells[6].as_str() {
        "" => None,
        cell => Some(cell.parse::<f64>().map_err(|_| wrong(6, "a number or nothing"))?),
    };
    let status = Status::ALL.iter().find(|(_, name)| *name == cells[7]);
    let status = status.map(|(status, _)| *status).ok_or_else(|| wrong(7, "running, complete, stopped or failed"))?;
    let point = space.taken(point).map_err(|error| (column(COLUMNS.len()), error.to_string()))?;
    let (trial, rung, steps) = (whole(0)?, whole(4)?, whole(5)?);
    Ok(Record { trial, parent: optional(1)?, fold: optional(2)?, seed: optional(3)?, rung, steps, metric, status, point })
}
