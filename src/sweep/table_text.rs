//! The table as CSV and as lines of JSON: written, and read again.

use super::json::{Json, quoted};
use super::point::{Coordinate, Point};
use super::record::{Record, Status};
use super::space::{COLUMNS, SearchSpace};
use super::study::Goal;
use super::table::Table;
use crate::error::{Error, Result};
use std::path::Path;

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
