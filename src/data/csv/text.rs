//! The text of a table: its rows and their places in it.

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};
use std::path::Path;

use crate::data::cell::{Cell, quoted};
use crate::data::source::{Content, refused};
use crate::error::{Error, Result};

/// The delimiter is guessed by this many bytes at the beginning.
const SAMPLE: usize = 1 << 16;

/// A text of cells.
pub(super) struct Text<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
    /// Where the rows begin.
    start: usize,
    delimiter: u8,
    /// Names of the classes 0, 1, … from a line of counts.
    class_names: Vec<String>,
    /// The fewest columns: features and a label.
    least: usize,
}

impl<'a> Text<'a> {
    /// Reads all of the content. The delimiter is guessed if none is given.
    pub fn read(path: &'a Path, content: Content, delimiter: Option<u8>, max: u64) -> Result<Self> {
        let mut first = true;
        let bytes = content.all(max, |block| {
            let what = foreign(block, std::mem::take(&mut first));
            what.map_or(Ok(()), |what| Err(refused(path, format!("{what}, where the text of a table is expected"))))
        })?;
        let mut bytes = bytes;
        let delimiter = delimiter.unwrap_or_else(|| guess(&bytes[..bytes.len().min(SAMPLE)]));
        if delimiter == b' ' {
            squeeze(&mut bytes);
        }
        Ok(Self { path, bytes, start: 0, delimiter, class_names: Vec::new(), least: 2 }.without_counts())
    }

    /// The same text, in which a single column is enough.
    pub fn unlabelled(self) -> Self {
        Self { least: 1, ..self }
    }

    /// Leaves out a first line that counts rows and features and names the classes, as the files of scikit-learn have it.
    fn without_counts(self) -> Self {
        let len = self.bytes.iter().position(|&byte| byte == b'\n').map_or(self.bytes.len(), |end| end + 1);
        let Ok(line) = std::str::from_utf8(&self.bytes[..len]) else { return self };
        let cells: Vec<&str> = line.trim().split(char::from(self.delimiter)).map(str::trim).collect();
        let [rows, features, names @ ..] = &cells[..] else { return self };
        let (Ok(rows), Ok(features)) = (rows.parse::<usize>(), features.parse::<usize>()) else { return self };
        if names.len() < 2 || names.iter().any(|name| Cell::of(name) != Cell::Text) {
            return self;
        }
        let class_names = names.iter().map(|name| name.to_string()).collect();
        let rest = Self { start: len, class_names, ..self };
        let mut found = (0, 0);
        let count = |record: &StringRecord| {
            found = (found.0 + 1, record.len());
            Ok(())
        };
        match rest.rows(count) {
            Ok(()) if found == (rows, features.saturating_add(1)) => rest,
            _ => Self { start: 0, class_names: Vec::new(), ..rest },
        }
    }

    /// Names of the classes 0, 1, …, if the text has a line of counts.
    pub fn class_names(&self) -> &[String] {
        &self.class_names
    }

    pub fn path(&self) -> &'a Path {
        self.path
    }

    pub fn delimiter(&self) -> u8 {
        self.delimiter
    }

    /// Bytes of memory.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Calls `each` with every row that has any content, the first line among them. All are as long as the first.
    pub fn rows(&self, mut each: impl FnMut(&StringRecord) -> Result<()>) -> Result<()> {
        let mut builder = ReaderBuilder::new();
        builder.has_headers(false).flexible(true).trim(Trim::All).delimiter(self.delimiter);
        let mut reader = builder.from_reader(&self.bytes[self.start..]);
        let (mut record, mut width) = (StringRecord::new(), None);
        while reader.read_record(&mut record).map_err(|error| self.unreadable(error))? {
            if record.iter().all(str::is_empty) {
                continue;
            }
            let expected = *width.get_or_insert(record.len());
            self.check_length(&record, expected)?;
            each(&record)?;
        }
        Ok(())
    }

    fn check_length(&self, record: &StringRecord, expected: usize) -> Result<()> {
        let found = record.len();
        if found != expected {
            let mut reason = format!("{found} fields found, {expected} expected as in the first line");
            if let Some(column) = record.iter().position(|cell| cell.contains('\n')) {
                reason += &format!("; column {} goes over several lines: is its quote closed?", column + 1);
            }
            return Err(self.error(offset(record), found.min(expected), reason));
        }
        if found < self.least {
            let by = name(self.delimiter);
            let reason =
                format!("1 column found, at least 2 expected: features and the label, separated by {by} (`delimiter`)");
            return Err(self.error(offset(record), 0, reason));
        }
        Ok(())
    }

    /// An error in the row that starts at `offset`, in a column that counts from 0.
    pub fn error(&self, offset: usize, column: usize, reason: impl Into<String>) -> Error {
        let (line, column) = (self.line(offset), column as u64 + 1);
        Error::Parse { path: self.path.into(), line, column, reason: reason.into() }
    }

    /// An error of the whole text.
    pub fn refused(&self, reason: impl ToString) -> Error {
        refused(self.path, reason)
    }

    fn unreadable(&self, error: csv::Error) -> Error {
        match error.kind() {
            ErrorKind::Utf8 { pos: Some(pos), err } => self.error(pos.byte() as usize, err.field(), "not UTF-8 text"),
            _ => refused(self.path, error),
        }
    }

    /// The line, from 1, of the row at `offset` in the rows.
    ///
    /// Lines are counted here, since the reader's own position is before the blank lines (and the `\n` of a `\r\n`) that it
    /// will skip.
    pub fn line(&self, offset: usize) -> u64 {
        let offset = self.start + offset;
        let blank = self.bytes.iter().skip(offset).take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        let before = self.bytes.get(..offset + blank).unwrap_or(&self.bytes);
        let ends = before.iter().enumerate().filter(|&(i, &byte)| match byte {
            b'\n' => true,
            b'\r' => before.get(i + 1) != Some(&b'\n'),
            _ => false,
        });
        ends.count() as u64 + 1
    }
}

/// Where a row starts.
pub(super) fn offset(record: &StringRecord) -> usize {
    record.position().map_or(0, |position| position.byte() as usize)
}

/// What a block of bytes is, if it is not text.
fn foreign(block: &[u8], first: bool) -> Option<&'static str> {
    match block {
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if first => Some("UTF-16, which can be saved as UTF-8"),
        [b'P', b'K', 3, 4, ..] if first => Some("a ZIP archive or a spreadsheet"),
        [b'P', b'A', b'R', b'1', ..] if first => Some("a Parquet file"),
        [0, 0, 8, 1 | 3, ..] if first => Some("an IDX file, which is read with its folder"),
        _ => block.contains(&0).then_some("binary data"),
    }
}

/// The delimiter in words.
pub(super) fn name(delimiter: u8) -> String {
    match delimiter {
        b',' => "commas".into(),
        b';' => "semicolons".into(),
        b'\t' => "tabs".into(),
        b' ' => "blanks".into(),
        other => quoted(&char::from(other).to_string()),
    }
}

/// Replaces blanks and tabs in a row by one blank, and removes them at the ends of lines, so that blanks separate cells. Quoted
/// text stays.
fn squeeze(bytes: &mut Vec<u8>) {
    let (mut kept, mut within, mut gap, mut begins) = (0, false, false, true);
    for i in 0..bytes.len() {
        let byte = bytes[i];
        if matches!(byte, b' ' | b'\t') && !within {
            gap = true;
            continue;
        }
        let ends = matches!(byte, b'\n' | b'\r') && !within;
        if gap && !begins && !ends {
            bytes[kept] = b' ';
            kept += 1;
        }
        within ^= byte == b'"';
        bytes[kept] = byte;
        kept += 1;
        (gap, begins) = (false, ends);
    }
    bytes.truncate(kept);
}

/// Guesses the delimiter: semicolons or tabs, if they separate every line alike and any commas look like decimal marks; blanks,
/// if they separate every line alike and there is nothing else; otherwise commas.
fn guess(sample: &[u8]) -> u8 {
    let lines = counts(sample);
    let comma = even(&lines, 0);
    let other = [(1, b';'), (2, b'\t')].into_iter().find(|&(which, delimiter)| {
        let apart = even(&lines, which);
        apart && (!comma || commas_are_decimal(sample, delimiter))
    });
    match other {
        Some((_, delimiter)) => delimiter,
        None if lines.iter().all(|line| line[0] == 0 && line[1] == 0) => {
            let mut squeezed = sample.to_vec();
            squeeze(&mut squeezed);
            if even(&counts(&squeezed), 3) { b' ' } else { b',' }
        }
        None => b',',
    }
}

/// Whether the first line has this delimiter, and most lines have as many of it.
fn even(lines: &[[usize; 4]], which: usize) -> bool {
    let first = lines.first().map_or(0, |line| line[which]);
    first > 0 && 2 * lines.iter().filter(|line| line[which] == first).count() > lines.len()
}

/// Commas, semicolons, tabs and blanks outside quotes, in each line with content.
fn counts(sample: &[u8]) -> Vec<[usize; 4]> {
    let (mut lines, mut line, mut within, mut content) = (Vec::new(), [0; 4], false, false);
    for &byte in sample.iter().chain(b"\n") {
        match byte {
            b'"' => within = !within,
            b'\n' | b'\r' if !within => {
                if std::mem::take(&mut content) {
                    lines.push(line);
                }
                line = [0; 4];
            }
            _ if within => {}
            b',' => line[0] += 1,
            b';' => line[1] += 1,
            b'\t' => line[2] += 1,
            b' ' => line[3] += 1,
            _ => {}
        }
        content |= !byte.is_ascii_whitespace();
    }
    lines
}

/// Whether at least half of the cells with a comma would be numbers with a point in its place.
fn commas_are_decimal(sample: &[u8], delimiter: u8) -> bool {
    let mut builder = ReaderBuilder::new();
    let mut reader = builder.has_headers(false).flexible(true).trim(Trim::All).delimiter(delimiter).from_reader(sample);
    let (mut commas, mut decimal) = (0, 0);
    for record in reader.records().filter_map(|record| record.ok()) {
        for cell in record.iter().filter(|cell| cell.contains(',')) {
            commas += 1;
            decimal += usize::from(Cell::of(cell) == Cell::Comma);
        }
    }
    2 * decimal >= commas
}
