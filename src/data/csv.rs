//! Comma-separated files: features, then the label.

use std::collections::BTreeMap;
use std::path::Path;

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use super::source::{self, refused};
use super::{Dataset, MAX_CLASSES};
use crate::error::{Error, Result};

/// Reads a CSV file, plain or gzipped: one row per line, the label in the last column.
///
/// The first line is a header exactly when its first field is not a number. Where every label is a number, the labels are the
/// classes and must be integers from 0 (`3.0` is 3). Otherwise they are names, and the classes are the distinct names in order.
/// Blanks around a field do not count, lines without any content neither.
///
/// # Examples
///
/// ```
/// let path = std::env::temp_dir().join(format!("thalweg-csv-{}.csv", std::process::id()));
/// std::fs::write(&path, "length,width,species\n5.1,3.5,setosa\n6.3,3.3,iris\n")?;
/// let data = thalweg::data::csv::read(&path)?;
/// assert_eq!(data.features, [5.1, 3.5, 6.3, 3.3]);
/// assert_eq!((data.labels, data.class_names), (vec![1, 0], vec!["iris".into(), "setosa".into()]));
/// # std::fs::remove_file(&path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
///
/// [`Error::Parse`] with line and column for a row of another length, fewer than two columns, a feature that is not a finite
/// number, a label that is empty, negative, fractional or too large, and text that is not UTF-8. [`Error::File`] for a file that
/// cannot be read or holds no rows.
pub fn read(path: impl AsRef<Path>) -> Result<Dataset> {
    let path = path.as_ref();
    parse(path, &source::bytes(path)?)
}

/// Reads the text of a CSV file; `path` is for the messages.
pub(super) fn parse(path: &Path, text: &[u8]) -> Result<Dataset> {
    let file = File { path, text };
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(text);
    let (mut features, mut labels, mut width) = (Vec::new(), Vec::new(), None);
    let mut record = StringRecord::new();
    while reader.read_record(&mut record).map_err(|error| file.unreadable(error))? {
        let first = width.is_none();
        let fields = *width.get_or_insert(record.len());
        file.check_length(&record, fields)?;
        let header = first && record[0].parse::<f32>().is_err();
        if !header {
            labels.push(file.row(&record, &mut features)?);
        }
    }
    let Some(fields) = width else { return Err(refused(path, "the file is empty")) };
    if labels.is_empty() {
        return Err(refused(path, "a header and no rows"));
    }
    let (labels, class_names) = file.classes(&labels, fields)?;
    let mut data = Dataset::new(features, fields - 1, labels).map_err(|error| refused(path, error))?;
    data.class_names = class_names;
    Ok(data)
}

/// A label as it stands in the file.
struct Label {
    text: String,
    /// Where its row starts.
    offset: usize,
}

/// The file being read, for the messages.
struct File<'a> {
    path: &'a Path,
    text: &'a [u8],
}

impl File<'_> {
    fn check_length(&self, record: &StringRecord, fields: usize) -> Result<()> {
        let found = record.len();
        if found != fields {
            let reason = format!("{found} fields found, {fields} expected as in the first line");
            return Err(self.error(offset(record), found.min(fields), reason));
        }
        if found < 2 {
            let reason = "1 column found, at least 2 expected: features and the label, separated by commas";
            return Err(self.error(offset(record), 0, reason));
        }
        Ok(())
    }

    /// Appends the features of a row and returns its label.
    fn row(&self, record: &StringRecord, features: &mut Vec<f32>) -> Result<Label> {
        let last = record.len() - 1;
        for (column, field) in record.iter().take(last).enumerate() {
            match field.parse::<f32>() {
                Ok(x) if x.is_finite() => features.push(x),
                _ => return Err(self.error(offset(record), column, format!("'{field}' is not a finite number"))),
            }
        }
        if record[last].is_empty() {
            return Err(self.error(offset(record), last, "the label is empty"));
        }
        Ok(Label { text: record[last].into(), offset: offset(record) })
    }

    /// The class of each label, and the names of the classes if the labels are text.
    fn classes(&self, labels: &[Label], fields: usize) -> Result<(Vec<u32>, Vec<String>)> {
        let numbers: Option<Vec<f64>> = labels.iter().map(|label| label.text.parse().ok()).collect();
        let Some(numbers) = numbers else { return Ok(by_name(labels)) };
        let class = |(label, number): (&Label, &f64)| {
            class(*number)
                .map_err(|reason| self.error(label.offset, fields - 1, format!("the label '{}' {reason}", label.text)))
        };
        let classes: Result<Vec<u32>> = labels.iter().zip(&numbers).map(class).collect();
        Ok((classes?, Vec::new()))
    }

    /// An error in the row that starts at `offset`, in a column that counts from 0.
    fn error(&self, offset: usize, column: usize, reason: impl Into<String>) -> Error {
        let (line, column) = (line(self.text, offset), column as u64 + 1);
        Error::Parse { path: self.path.into(), line, column, reason: reason.into() }
    }

    fn unreadable(&self, error: csv::Error) -> Error {
        match error.kind() {
            ErrorKind::Utf8 { pos: Some(pos), err } => self.error(pos.byte() as usize, err.field(), "not UTF-8 text"),
            _ => refused(self.path, error),
        }
    }
}

/// The class that a number names, or what is wrong with it.
fn class(number: f64) -> Result<u32, String> {
    if !number.is_finite() || number.fract() != 0.0 {
        Err("is not an integer".into())
    } else if number < 0.0 {
        Err("is negative; classes count from 0".into())
    } else if number >= MAX_CLASSES as f64 {
        Err(format!("is above {}, the largest class", MAX_CLASSES - 1))
    } else {
        Ok(number as u32)
    }
}

/// Numbers the distinct texts in their order.
fn by_name(labels: &[Label]) -> (Vec<u32>, Vec<String>) {
    let mut numbers: BTreeMap<&str, u32> = labels.iter().map(|label| (label.text.as_str(), 0)).collect();
    for (number, entry) in (0..).zip(numbers.values_mut()) {
        *entry = number;
    }
    let classes = labels.iter().map(|label| numbers[label.text.as_str()]).collect();
    (classes, numbers.into_keys().map(String::from).collect())
}

fn offset(record: &StringRecord) -> usize {
    record.position().map_or(0, |position| position.byte() as usize)
}

/// The line, from 1, of the row at `offset`.
///
/// Counted here, since the reader's own position stands before the blank lines (and the `\n` of a `\r\n`) that it will skip.
fn line(text: &[u8], offset: usize) -> u64 {
    let blank = text.iter().skip(offset).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let before = text.get(..offset + blank).unwrap_or(text);
    let ends = before.iter().enumerate().filter(|&(i, &byte)| match byte {
        b'\n' => true,
        b'\r' => before.get(i + 1) != Some(&b'\n'),
        _ => false,
    });
    ends.count() as u64 + 1
}
