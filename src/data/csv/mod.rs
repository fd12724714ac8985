//! Tables as text: comma-separated values and their kin.
//!
//! [`read`] reads a file with the defaults. [`Options`] say which column is the label, which are not features, and what to do
//! with missing cells. They return a [`Table`], which can be split, or joined with a test file of the same columns; its
//! [`Reading`] says how the file was understood.
//!
//! | what | how it is read |
//! | --- | --- |
//! | delimiter | a comma; semicolons, tabs, or one or more blanks where they separate the lines |
//! | counts | a first line of the numbers of rows and features and the names of the classes, as scikit-learn's files have it, is not a row |
//! | header | the first line, if it does not fit the lines below it: text over numbers, or `0,1,2,…` with a label that no row has |
//! | label | the last column; it must be said if a header names another column `label`, `class`, `target` or `y`, or if the first column looks like classes (a few values, each in at least 5 rows and less than 95 % of them) and the last holds numbers that do not |
//! | numbers | the labels as they are, where [`Learn`] says so |
//! | classes | else the distinct labels, integers by value, before texts in their order; more than 10 integers need 20 rows each on average, or the same number of rows, 5 or more, else they are a quantity |
//! | features | numbers as they are; a column of text has a feature per distinct text, 1 where the row has it and else 0 |
//! | index | a first column of distinct integers without a name, as pandas writes it, is left out |
//! | missing | an empty cell, `NA`, `N/A`, `NaN`, `null`, `?`; see [`Missing`]. A missing label is an error unless its row is dropped |
//!
//! Blanks around a cell and lines without content are ignored.

mod columns;
mod form;
mod label;
mod survey;
mod table;
mod text;

use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use super::Dataset;
use super::source::Content;
use crate::error::{Error, Result};
pub use form::Form;
pub use table::{Reading, Table};
use text::Text;

/// Reads a CSV file, plain or gzipped, with the default [`Options`].
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
/// Those of [`Options::read`].
pub fn read(path: impl AsRef<Path>) -> Result<Dataset> {
    Options::default().read(path)?.dataset()
}

/// Which column is the label.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// The first.
    First,
    /// The last.
    Last,
    /// The one of this name in the header; else, if it is a number, the one of this number, counted from 1.
    Named(String),
}

impl FromStr for Target {
    type Err = Error;

    /// `first`, `last`, or a name or number.
    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "first" => Self::First,
            "last" => Self::Last,
            name => Self::Named(name.into()),
        })
    }
}

/// Whether the first line is a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Header {
    /// It is a header if it does not fit the lines below it.
    #[default]
    Auto,
    /// It is a header.
    Yes,
    /// It is a row.
    No,
}

/// What the label's column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Learn {
    /// Classes. What looks like a quantity is an error.
    #[default]
    Classes,
    /// Numbers that are to be predicted (regression).
    Numbers,
    /// Classes, unless it holds numbers that look like a quantity and do not just count the rows.
    Auto,
}

/// What becomes of a row with a cell whose value is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// It is an error.
    #[default]
    Error,
    /// The row is left out.
    Drop,
    /// The cell gets the mean of its column over the training rows; in a column of text, it is none of the texts.
    Mean,
}

/// How a table is read.
///
/// # Examples
///
/// ```
/// use thalweg::data::csv::{Missing, Options, Target};
///
/// let text = "kind;mass;place\nmoon;1.5;a\nstar;NA;b\nstar;2;a\n";
/// let options = Options { target: Some(Target::First), missing: Missing::Drop, ..Default::default() };
/// let table = options.read_from("moons.csv", text.as_bytes())?;
/// assert_eq!(table.reading().dropped, 1);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Which column is the label. Default: the last, unless the header names another.
    pub target: Option<Target>,
    /// What the label's column holds. Default: classes.
    pub learn: Learn,
    /// Whether the first line is a header. Default: decided by what stands below it.
    pub header: Header,
    /// What separates cells, an ASCII character; a blank stands for one or more blanks or tabs. Default: guessed.
    pub delimiter: Option<u8>,
    /// Columns that are not features, by name or number from 1.
    pub ignore: Vec<String>,
    /// What to do with missing cells. Default: an error.
    pub missing: Missing,
    /// Features are numbers of rows of a table that has so many, as an embedding wants them: whole numbers below that. Default:
    /// any numbers.
    pub indices: Option<u32>,
    /// The most bytes of memory for text and features. Default: 8 GiB.
    pub max_memory: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            target: None,
            learn: Learn::Classes,
            header: Header::Auto,
            delimiter: None,
            ignore: Vec::new(),
            missing: Missing::Error,
            indices: None,
            max_memory: 8 << 30,
        }
    }
}

impl Options {
    /// Reads a file, plain or gzipped.
    ///
    /// # Errors
    ///
    /// [`Error::Parse`] with line and column for a row of another length, fewer than two columns, text that is not UTF-8, a
    /// first line that may or may not be a header, a cell in a column of numbers that is not a number, has a decimal comma, is
    /// not finite or is beyond f32, a feature that is no index where they are to be, a missing cell, and a label that is
    /// missing or a fraction. [`Error::File`] for a file that cannot be read, is not text, needs more memory than allowed, or
    /// has no rows; also for a column that does not exist, a label column that is in doubt, has a single label or looks like a
    /// quantity, and a column with too many texts for categories.
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Table> {
        let path = path.as_ref();
        self.table(path, Content::open(path)?)
    }

    /// Reads a stream; `name` is for the messages.
    ///
    /// # Errors
    ///
    /// As [`Options::read`].
    pub fn read_from(&self, name: impl AsRef<Path>, stream: impl Read) -> Result<Table> {
        let name = name.as_ref();
        self.table(name, Content::new(name, stream)?)
    }

    fn table(&self, path: &Path, content: Content) -> Result<Table> {
        Table::read(&Text::read(path, content, self.delimiter, self.max_memory)?, self)
    }
}
