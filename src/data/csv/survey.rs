//! What each column of a table holds as a whole, and whether the first line is a header.

use csv::StringRecord;

use super::Header;
use super::text::{Text, offset};
use crate::data::cell::{Cell, quoted};
use crate::error::{Error, Result};

/// Names of columns that hold the label.
const LABELS: [&str; 6] = ["label", "labels", "class", "classes", "target", "y"];

pub(super) fn names_a_label(name: &str) -> bool {
    LABELS.contains(&name.to_lowercase().as_str())
}

/// The cells of one column.
#[derive(Debug, Clone, Default)]
pub(super) struct Column {
    pub numbers: usize,
    pub texts: usize,
    pub commas: usize,
    pub missing: usize,
    /// The first and the last number, if each cell is one more than the cell before.
    counting: Option<(f64, f64)>,
    /// Whether the first line's cell is in another line too.
    first_again: bool,
}

impl Column {
    fn add(&mut self, text: &str) {
        let (cell, above) = (Cell::of(text), self.cells());
        self.counting = match (cell, self.counting) {
            (Cell::Number(x), _) if above == 0 => Some((x, x)),
            (Cell::Number(x), Some((start, last))) if x == last + 1.0 => Some((start, x)),
            _ => None,
        };
        *match cell {
            Cell::Missing => &mut self.missing,
            Cell::Number(_) => &mut self.numbers,
            Cell::Comma => &mut self.commas,
            Cell::Text => &mut self.texts,
        } += 1;
    }

    fn cells(&self) -> usize {
        self.numbers + self.texts + self.commas + self.missing
    }

    /// Puts a cell above the others.
    fn add_above(&mut self, text: &str) {
        let mut above = Self::default();
        above.add(text);
        self.counting = match (above.counting, self.counting) {
            (Some((x, _)), Some((start, last))) if start == x + 1.0 => Some((x, last)),
            (counting, _) if self.cells() == 0 => counting,
            _ => None,
        };
        self.numbers += above.numbers;
        self.texts += above.texts;
        self.commas += above.commas;
        self.missing += above.missing;
    }

    /// Whether it holds 0, 1, 2, … or 1, 2, 3, …
    pub fn counts_rows(&self) -> bool {
        self.counting.is_some_and(|(start, last)| (start == 0.0 || start == 1.0) && last > start)
    }

    /// Whether it holds numbers, perhaps with some mistakes.
    pub fn is_numeric(&self) -> bool {
        self.numbers > 0 && self.numbers >= self.texts
    }
}

/// What a first pass over a table finds.
pub(super) struct Survey {
    /// The cells of the first line, header or not.
    pub first: Vec<String>,
    first_offset: usize,
    /// Rows, without a header.
    pub rows: usize,
    /// The contents of the columns, without a header.
    pub columns: Vec<Column>,
    pub header: bool,
}

impl Survey {
    /// Looks at every cell. If the first line names the label (`named`), it is a header; otherwise `label` is the label's
    /// column.
    pub fn new(text: &Text, header: Header, named: Option<&str>, label: impl Fn(usize) -> usize) -> Result<Self> {
        let mut survey = Self { first: Vec::new(), first_offset: 0, rows: 0, columns: Vec::new(), header: false };
        text.rows(|record| {
            survey.add(record);
            Ok(())
        })?;
        if survey.first.is_empty() {
            return Err(text.refused("the file is empty"));
        }
        let is_named = || survey.first.iter().any(|name| named == Some(name));
        survey.header = match header {
            Header::Yes => true,
            Header::No => false,
            Header::Auto => is_named() || survey.has_header(text, label(survey.first.len()))?,
        };
        if survey.header && survey.rows == 0 {
            return Err(text.refused("a header and no rows"));
        }
        if !survey.header {
            survey.rows += 1;
            survey.columns.iter_mut().zip(&survey.first).for_each(|(column, first)| column.add_above(first));
        }
        Ok(survey)
    }

    fn add(&mut self, record: &StringRecord) {
        if self.first.is_empty() {
            self.first = record.iter().map(String::from).collect();
            self.first_offset = offset(record);
            self.columns = vec![Column::default(); record.len()];
            return;
        }
        self.rows += 1;
        for ((column, cell), first) in self.columns.iter_mut().zip(record).zip(&self.first) {
            column.add(cell);
            column.first_again |= cell == first;
        }
    }

    /// Whether the first line is a header, because it does not fit the lines below it.
    fn has_header(&self, text: &Text, label: usize) -> Result<bool> {
        let cells: Vec<Cell> = self.first.iter().map(|cell| Cell::of(cell)).collect();
        if self.rows == 0 {
            return Ok(matches!(cells[0], Cell::Text));
        }
        let misfit = (0..cells.len()).find(|&c| cells[c] == Cell::Text && self.columns[c].is_numeric());
        let numbers = cells.iter().filter(|cell| matches!(cell, Cell::Number(_))).count();
        if let Some(misfit) = misfit {
            let again = (0..cells.len()).any(|c| cells[c] == Cell::Text && self.columns[c].first_again);
            return match numbers {
                0 => Ok(true),
                _ if again => Ok(false),
                1 if count(&cells) => Ok(true),
                2.. if ascend(&cells) => Ok(true),
                _ => Err(self.doubtful(text, misfit, "is text over a column of numbers, and numbers stand beside it")),
            };
        }
        let new = |c: usize| !self.columns[c].first_again && cells[c] != Cell::Missing;
        if !self.columns.iter().any(Column::is_numeric) {
            return Ok(self.rows > 1 && (0..cells.len()).all(|c| new(c) || cells[c] == Cell::Missing));
        }
        if new(label) && (names_a_label(&self.first[label]) || numbers > 2 && count(&cells)) {
            return Ok(true);
        }
        if numbers > 3 && count(&cells) {
            let last = cells.len() - 1;
            return Err(self.doubtful(text, last, "is the last of a line that counts its columns"));
        }
        Ok(false)
    }

    /// The error that asks whether the first line is a header.
    fn doubtful(&self, text: &Text, column: usize, why: &str) -> Error {
        let cell = quoted(&self.first[column]);
        text.error(self.first_offset, column, format!("{cell} {why}: is this line a header? Say it with `header`, yes or no"))
    }
}

/// Whether the numbers are integers from 0, each larger than the one before, as the names of columns are.
fn ascend(cells: &[Cell]) -> bool {
    let numbers: Vec<f64> = numbers(cells).collect();
    numbers.iter().all(|x| x.fract() == 0.0 && *x >= 0.0) && numbers.windows(2).all(|pair| pair[0] < pair[1])
}

/// Whether the numbers are 0, 1, 2, …, as pandas names columns without a name.
fn count(cells: &[Cell]) -> bool {
    numbers(cells).zip(0..).all(|(x, i)| x == f64::from(i))
}

fn numbers(cells: &[Cell]) -> impl Iterator<Item = f64> {
    cells.iter().filter_map(|cell| match cell {
        Cell::Number(x) => Some(*x),
        _ => None,
    })
}
