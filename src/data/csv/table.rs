//! A table as features and classes.

use csv::StringRecord;
use std::io::Read;
use std::path::Path;

use super::columns::{Columns, Feature, Kind};
use super::label::{Labels, Meaning, Predicted, Wrong};
use super::survey::Survey;
use super::text::{Text, offset};
use super::{Missing, Options, Target};
use crate::data::Dataset;
use crate::data::cell::{Cell, quoted};
use crate::data::source::{Content, refused};
use crate::error::{Error, Result};

/// A table that was read, not yet split.
#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    /// Missing cells hold 0.
    data: Dataset,
    /// The row and the feature of each missing cell.
    holes: Vec<(usize, usize)>,
    columns: Columns,
    meaning: Meaning,
    reading: Reading,
    source: String,
}

/// How the file was understood.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Reading {
    /// Whether the first line was a header.
    pub header: bool,
    /// Whether the line before it, or before the rows, counted rows and features and named the classes, as scikit-learn's files
    /// have it.
    pub counts: bool,
    /// What separates cells.
    pub delimiter: char,
    /// The label's column: its number from 1, and its name if it has one.
    pub label: String,
    /// Columns of text, and the texts that became features.
    pub categories: Vec<(String, Vec<String>)>,
    /// Columns that are not features, with the reason if the options did not ask for it.
    pub left_out: Vec<String>,
    /// Rows that were left out for a missing cell.
    pub dropped: usize,
    /// Missing cells that were filled in.
    pub filled: usize,
    /// Warnings about what can be learned but may not be meant.
    pub warnings: Vec<String>,
}

impl Table {
    pub(super) fn read(text: &Text, options: &Options) -> Result<Self> {
        let named = match &options.target {
            Some(Target::Named(name)) if name.parse::<usize>().is_err() => Some(&**name),
            _ => None,
        };
        let label = |width: usize| match &options.target {
            Some(Target::First) => 0,
            Some(Target::Named(name)) => name.parse().ok().filter(|number| (1..=width).contains(number)).unwrap_or(width) - 1,
            _ => width - 1,
        };
        let survey = Survey::new(text, options.header, named, label)?;
        let columns = Columns::new(text, &survey, options)?;
        let cells = survey.rows.saturating_mul(columns.width());
        check_memory(text, cells, options.max_memory)?;
        let rows = Rows::read(text, &columns, options, cells)?;
        if rows.dropped == survey.rows {
            let reason = format!("all {} rows have a missing cell, so `missing` = drop leaves none", rows.dropped);
            return Err(text.refused(reason));
        }
        let meaning = rows.labels.meaning(options.learn).map_err(|wrong| blame(text, &columns, wrong))?;
        let predicted = rows.labels.predicted(&meaning).map_err(|wrong| blame(text, &columns, wrong))?;
        let mut data = data_of(rows.features, columns.width(), predicted, &meaning);
        data.check().map_err(|error| text.refused(error))?;
        let mut reading = reading(text, &columns);
        if let Meaning::Classes(classes) = &meaning {
            let counted = (0..).zip(&classes.names).all(|(number, name)| number.to_string() == *name);
            let names = text.class_names();
            if counted && names.len() == classes.names.len() {
                data.class_names = names.to_vec();
            }
            reading.warnings.extend(rows.labels.doubts(&classes.names));
        }
        if !survey.header && rows.labels.only_first() {
            let label = quoted(&survey.first[columns.target]);
            reading
                .warnings
                .push(format!("the first line alone has the label {label}: if it is a header, say so with `header`"));
        }
        (reading.dropped, reading.filled) = (rows.dropped, rows.filled);
        let source = text.path().display().to_string();
        Ok(Self { data, holes: rows.holes, columns, meaning, reading, source })
    }

    /// Columns, and what their labels stand for.
    pub(super) fn parts(&self) -> (&Columns, &Meaning) {
        (&self.columns, &self.meaning)
    }

    /// How the file was understood.
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// All rows. Missing cells get the mean over all of them.
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::check`].
    pub fn dataset(mut self) -> Result<Dataset> {
        let means = self.means(&(0..self.data.rows()).collect::<Vec<_>>());
        self.fill(&means);
        self.data.check()?;
        Ok(self.data)
    }

    /// As [`Dataset::split`]. Missing cells get the mean over the training part.
    ///
    /// # Errors
    ///
    /// [`Error::File`] if no class has enough rows for one in the test part, and those of [`Dataset::split`].
    pub fn split(mut self, test_fraction: f64, seed: u64) -> Result<(Dataset, Dataset)> {
        let [train, test] = self.data.parts(test_fraction, seed).map_err(|error| self.too_few(error, test_fraction))?;
        let means = self.means(&train);
        self.fill(&means);
        Ok((self.data.select(&train), self.data.select(&test)))
    }

    /// All rows as the training part, and the rows of a second file with the same columns as the test part. If this table has a
    /// header, the second has one too, and its columns may come in another order. A text that no training row has is none of
    /// the column's texts. Missing cells get the mean over the training part. Also returns how the second file was understood.
    ///
    /// # Errors
    ///
    /// As [`Options::read`], and a column or a class that this table does not have.
    pub fn with_test(self, path: impl AsRef<Path>, options: &Options) -> Result<(Dataset, Dataset, Reading)> {
        let path = path.as_ref();
        self.with_test_of(path, Content::open(path)?, options)
    }

    /// [`Table::with_test`] with a stream; `name` is for the messages.
    ///
    /// # Errors
    ///
    /// As [`Table::with_test`].
    pub fn with_test_from(
        self,
        name: impl AsRef<Path>,
        stream: impl Read,
        options: &Options,
    ) -> Result<(Dataset, Dataset, Reading)> {
        let name = name.as_ref();
        self.with_test_of(name, Content::new(name, stream)?, options)
    }

    fn with_test_of(mut self, path: &Path, content: Content, options: &Options) -> Result<(Dataset, Dataset, Reading)> {
        let text = Text::read(path, content, options.delimiter, options.max_memory)?;
        let columns = self.columns.of_test(&text, &self.source)?;
        let rows = Rows::read(&text, &columns, options, 0)?;
        if rows.labels.rows.is_empty() {
            return Err(refused(path, "no rows"));
        }
        let predicted = rows.labels.predicted(&self.meaning).map_err(|wrong| blame(&text, &columns, wrong))?;
        let mut reading = Reading { dropped: rows.dropped, filled: rows.filled, ..reading(&text, &columns) };
        if rows.unknown > 0 {
            let warning = match rows.unknown {
                1 => "1 cell has a text that no training row has, and counts for none".into(),
                unknown => format!("{unknown} cells have a text that no training row has, and count for none"),
            };
            reading.warnings.push(warning);
        }
        let means = self.means(&(0..self.data.rows()).collect::<Vec<_>>());
        self.fill(&means);
        let class_names = self.data.class_names.clone();
        let mut test = Dataset { class_names, ..data_of(rows.features, columns.width(), predicted, &self.meaning) };
        rows.holes.iter().for_each(|&(row, feature)| test.features[row * test.width + feature] = means[feature]);
        test.check().map_err(|error| refused(path, error))?;
        self.data.check()?;
        Ok((self.data, test, reading))
    }

    /// Puts means into the missing cells.
    fn fill(&mut self, means: &[f32]) {
        let width = self.data.width;
        self.holes.iter().for_each(|&(row, feature)| self.data.features[row * width + feature] = means[feature]);
    }

    /// The mean of each feature over those of the rows that have a value; 0 if none has.
    fn means(&self, rows: &[usize]) -> Vec<f32> {
        let width = self.data.width;
        let (mut sums, mut known) = (vec![0.0; width], vec![rows.len(); width]);
        let mut among = vec![false; self.data.rows()];
        for &row in rows {
            among[row] = true;
            // Missing cells hold 0.
            sums.iter_mut().zip(&self.data.features[row * width..]).for_each(|(sum, &x)| *sum += f64::from(x));
        }
        self.holes.iter().filter(|hole| among[hole.0]).for_each(|hole| known[hole.1] -= 1);
        sums.iter().zip(known).map(|(sum, known)| (sum / known.max(1) as f64) as f32).collect()
    }

    /// Why a part of a split is empty.
    fn too_few(&self, error: Error, test_fraction: f64) -> Error {
        let Error::Empty { .. } = error else { return error };
        if self.data.is_regression() {
            return Error::File { path: self.source.clone().into(), reason: format!("too few rows: {error}") };
        }
        let mut rows = vec![0; self.data.classes];
        self.data.labels.iter().for_each(|&label| rows[label as usize] += 1);
        let most = rows.into_iter().max().unwrap_or(0);
        let label = &self.reading.label;
        let reason = match most {
            1 => format!("every class has one row: is {label} an identifier? Say with `target` which column is the label"),
            _ => format!(
                "too few rows: no class has more than {most}, of which {test_fraction} for testing (`test_fraction`) is no row"
            ),
        };
        Error::File { path: self.source.clone().into(), reason: format!("{reason}; {error}") }
    }
}

/// Rows of features with what is to be predicted.
pub(super) fn data_of(features: Vec<f32>, width: usize, predicted: Predicted, meaning: &Meaning) -> Dataset {
    let Predicted { labels, targets } = predicted;
    match meaning {
        Meaning::Classes(classes) => {
            let class_names = classes.names.clone();
            Dataset { features, width, labels, classes: class_names.len(), class_names, ..Dataset::default() }
        }
        Meaning::Numbers => Dataset { features, width, targets, target_width: 1, ..Dataset::default() },
    }
}

/// Features and labels of all rows.
#[derive(Default)]
pub(super) struct Rows {
    pub features: Vec<f32>,
    pub labels: Labels,
    pub holes: Vec<(usize, usize)>,
    pub dropped: usize,
    pub filled: usize,
    /// Cells with a text that is not a category.
    unknown: usize,
}

impl Rows {
    pub fn read(text: &Text, columns: &Columns, options: &Options, cells: usize) -> Result<Self> {
        let mut rows = Self { features: Vec::with_capacity(cells), ..Self::default() };
        let mut header = columns.names.is_some();
        text.rows(|record| {
            if std::mem::take(&mut header) {
                return Ok(());
            }
            check_memory(text, rows.features.len(), options.max_memory)?;
            rows.add(text, columns, options, record)
        })?;
        Ok(rows)
    }

    fn add(&mut self, text: &Text, columns: &Columns, options: &Options, record: &StringRecord) -> Result<()> {
        let label = &record[columns.target];
        let mut used = columns.features.iter().map(|feature| feature.column).chain([columns.target]);
        if options.missing == Missing::Drop && used.any(|column| is_missing(&record[column])) {
            self.dropped += 1;
            return Ok(());
        }
        if is_missing(label) {
            let reason = format!("the label {}; `missing` = drop leaves such rows out", absence(label));
            return Err(text.error(offset(record), columns.target, reason));
        }
        self.add_features(text, columns, options, record)?;
        self.labels.push(label, offset(record));
        Ok(())
    }

    /// Appends the features of a row.
    pub fn add_features(&mut self, text: &Text, columns: &Columns, options: &Options, record: &StringRecord) -> Result<()> {
        let start = self.features.len();
        for feature in &columns.features {
            let cell = &record[feature.column];
            let fits = options.indices.map_or(Ok(()), |rows| expect_index(cell, feature, rows));
            let added = fits.and_then(|()| self.feature(cell, feature, options.missing, start));
            added.map_err(|reason| text.error(offset(record), feature.column, reason))?;
        }
        Ok(())
    }

    /// Whether a cell means a missing value.
    pub fn is_missing(cell: &str) -> bool {
        is_missing(cell)
    }

    /// Appends the features of a cell in the row whose features begin at `start`.
    fn feature(&mut self, cell: &str, feature: &Feature, missing: Missing, start: usize) -> Result<(), String> {
        match &feature.kind {
            Kind::Number => match cell.parse::<f32>() {
                Ok(x) if x.is_finite() => self.features.push(x),
                _ => {
                    expect_missing(cell, missing)?;
                    self.holes.push((self.labels.rows.len(), self.features.len() - start));
                    self.filled += 1;
                    self.features.push(0.0);
                }
            },
            Kind::Category(texts) => {
                let found = texts.binary_search_by(|text| text.as_str().cmp(cell));
                if found.is_err() && is_missing(cell) {
                    expect_missing(cell, missing)?;
                    self.filled += 1;
                } else {
                    self.unknown += usize::from(found.is_err());
                }
                self.features.extend((0..texts.len()).map(|i| f32::from(u8::from(found == Ok(i)))));
            }
        }
        Ok(())
    }
}

fn is_missing(cell: &str) -> bool {
    Cell::of(cell) == Cell::Missing
}

/// A missing cell in words.
fn absence(cell: &str) -> String {
    if cell.is_empty() { "is empty".into() } else { format!("{} stands for a missing value", quoted(cell)) }
}

/// What is wrong with a cell that is to be the number of a row of a table.
fn expect_index(cell: &str, feature: &Feature, rows: u32) -> Result<(), String> {
    let whole = |x: &f64| x.fract() == 0.0 && (0.0..f64::from(rows)).contains(x);
    let found = cell.parse().ok().filter(whole).filter(|_| feature.kind == Kind::Number);
    let last = rows.saturating_sub(1);
    found.map(drop).ok_or_else(|| format!("{} is no index: features are whole numbers from 0 to {last}", quoted(cell)))
}

/// What is wrong with a cell that is not a finite number, unless it is missing and may be.
fn expect_missing(cell: &str, missing: Missing) -> Result<(), String> {
    match Cell::of(cell) {
        Cell::Missing if missing == Missing::Mean => Ok(()),
        Cell::Missing => {
            let ways = "`missing` = drop leaves such rows out, mean fills in the mean of the column";
            Err(format!("the cell {}; {ways}", absence(cell)))
        }
        Cell::Number(_) if cell.contains(|c: char| c.is_ascii_digit()) => {
            Err(format!("{} is beyond the numbers of single precision, which end at 3.4e38", quoted(cell)))
        }
        Cell::Number(_) => Err(format!("{} is not a finite number", quoted(cell))),
        Cell::Comma => Err(format!("{} has a decimal comma; numbers are written with a point", quoted(cell))),
        Cell::Text => Err(format!("{} is not a number", quoted(cell))),
    }
}

/// Checks that the text and twice the features fit into memory: there are two copies of them while they are split.
fn check_memory(text: &Text, cells: usize, max: u64) -> Result<()> {
    let features = 4 * cells as u128;
    let needed = features + features.max(text.size() as u128);
    if needed > u128::from(max) {
        let what = format!("text and features take {needed} bytes of memory, {max} are allowed (`max_memory`)");
        return Err(text.refused(what));
    }
    Ok(())
}

/// The error for a wrong label.
pub(super) fn blame(text: &Text, columns: &Columns, wrong: Wrong) -> Error {
    match wrong.offset {
        Some(offset) => text.error(offset, columns.target, wrong.reason),
        None => text.refused(format!("{} {}", columns.name(columns.target), wrong.reason)),
    }
}

pub(super) fn reading(text: &Text, columns: &Columns) -> Reading {
    let category = |feature: &Feature| match &feature.kind {
        Kind::Number => None,
        Kind::Category(texts) => Some((columns.name(feature.column), texts.clone())),
    };
    Reading {
        header: columns.names.is_some(),
        counts: !text.class_names().is_empty(),
        delimiter: char::from(text.delimiter()),
        label: columns.name(columns.target),
        categories: columns.features.iter().filter_map(category).collect(),
        left_out: columns.left_out.clone(),
        warnings: columns.doubts.clone(),
        ..Reading::default()
    }
}
