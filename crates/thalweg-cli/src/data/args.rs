//! The options that say what to learn from, and how it is read.

use super::{Data, LOADING, Read, STDIN, is_stdin, reachable, stdin, with_flags};
use crate::numbers::real;
use crate::{Usage, memory};
use anyhow::{Result, anyhow};
use clap::ValueEnum;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use thalweg::data::csv::{Header, Learn, Missing, Options, Target};
use thalweg::data::{self, Dataset, idx};

/// The part of each class that is kept for testing where nothing else is said.
const TEST_FRACTION: f64 = 0.2;

/// The options that say what to read.
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    /// `digits` (part of the program); a directory with the four IDX files of MNIST; a CSV file, of which a fifth becomes the
    /// test set; or `-`, such a file on standard input. All may be gzipped
    #[arg(long, value_name = "digits|DIR|FILE|-", default_value = "digits")]
    data: PathBuf,

    /// CSV: the label's column, a name of the header, a number from 1, `first` or `last` [default: last, unless the header
    /// names another column label, class, target or y]
    #[arg(long, value_name = "COLUMN", value_parser = target)]
    target: Option<Target>,

    /// What is learned: classes, or numbers (regression). `auto`: classes, unless the label's column of a CSV file holds a
    /// quantity
    #[arg(long, value_enum, value_name = "auto|classification|regression", default_value_t, hide_possible_values = true)]
    task: TaskChoice,

    /// CSV: whether the first line is a header; `auto` looks whether it fits the lines below
    #[arg(long, value_enum, value_name = "auto|yes|no", default_value_t, hide_possible_values = true)]
    header: HeaderChoice,

    /// CSV: what separates cells: one character, `tab`, or `space` for one or more blanks [default: a comma, a semicolon, a tab
    /// or blanks, whichever separates the lines]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<u8>,

    /// CSV: columns that are no features, by name or number from 1; may be repeated
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    ignore: Vec<String>,

    /// CSV: what becomes of a row with a missing cell (empty, NA, NaN, null, ?): an error, left out, or filled with the mean of
    /// the column over the training rows
    #[arg(long, value_enum, value_name = "error|drop|mean", default_value_t, hide_possible_values = true)]
    missing: MissingChoice,

    /// CSV: a second file with the same columns as test set, or `-` for standard input
    #[arg(long, value_name = "FILE|-", conflicts_with = "test_fraction")]
    test: Option<PathBuf>,

    /// The part of each class that becomes the test set, above 0 and below 1 [default: 0.2]
    #[arg(long, value_name = "X", value_parser = real, allow_negative_numbers = true)]
    test_fraction: Option<f64>,

    /// Most memory that data, network and rule may take, such as 500M or 2G [default: what the machine has left]
    #[arg(long, value_name = "BYTES", value_parser = memory::bytes, allow_negative_numbers = true)]
    max_memory: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum TaskChoice {
    #[default]
    Auto,
    Classification,
    Regression,
}

impl From<TaskChoice> for Learn {
    fn from(choice: TaskChoice) -> Self {
        match choice {
            TaskChoice::Auto => Self::Auto,
            TaskChoice::Classification => Self::Classes,
            TaskChoice::Regression => Self::Numbers,
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum HeaderChoice {
    #[default]
    Auto,
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum MissingChoice {
    #[default]
    Error,
    Drop,
    Mean,
}

impl From<MissingChoice> for Missing {
    fn from(choice: MissingChoice) -> Self {
        match choice {
            MissingChoice::Error => Self::Error,
            MissingChoice::Drop => Self::Drop,
            MissingChoice::Mean => Self::Mean,
        }
    }
}

impl DataArgs {
    /// Bytes that data, network and rule may take.
    pub fn memory(&self) -> Option<u64> {
        self.max_memory.or_else(thalweg::cpu::available_memory)
    }

    /// Training and test part as they were read.
    pub fn load(&self, seed: u64, indices: Option<u32>, quiet: bool) -> Result<Data> {
        self.check()?;
        check_missing(self.missing, indices)?;
        LOADING.store(true, Ordering::Relaxed);
        let loaded = self.read(seed, indices, quiet);
        LOADING.store(false, Ordering::Relaxed);
        let (mut train, mut test, mut read) = loaded.map_err(|error| match error.downcast::<thalweg::Error>() {
            Ok(error) => anyhow!(with_flags(&error.to_string())),
            Err(error) => error,
        })?;
        if self.task == TaskChoice::Regression && !train.is_regression() {
            [&mut train, &mut test].into_iter().for_each(as_numbers);
            read.learn_numbers(&train, &test);
        }
        check_indices("training", &train, indices)?;
        check_indices("test", &test, indices)?;
        Ok(Data { train, validation: None, test, read })
    }

    /// Whether the options fit each other and what is read.
    fn check(&self) -> Result<()> {
        if let Some(fraction) = self.test_fraction {
            let fits = fraction > 0.0 && fraction < 1.0;
            thalweg::range::require(fits, "test_fraction", fraction, "above 0 and below 1")
                .map_err(|e| Usage(e.to_string()))?;
        }
        if is_stdin(&self.data) && self.test.as_deref().is_some_and(is_stdin) {
            return Err(Usage("--data and --test are both standard input, which can be read once".into()).into());
        }
        let built_in = self.is_built_in();
        if !built_in && !self.data.is_dir() {
            return Ok(());
        }
        let source = if built_in { "the digits" } else { "a directory of IDX files" };
        let given = [
            ("target", self.target.is_some()),
            ("header", self.header != HeaderChoice::Auto),
            ("delimiter", self.delimiter.is_some()),
            ("ignore", !self.ignore.is_empty()),
            ("missing", self.missing != MissingChoice::Error),
            ("test", self.test.is_some()),
            ("test-fraction", self.test_fraction.is_some() && !built_in),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some(("test-fraction", _)) => {
                Err(Usage("--test-fraction has no use: a directory of IDX files has a test set".into()).into())
            }
            Some((name, _)) => Err(Usage(format!("--{name} is for CSV files, and --data is {source}")).into()),
            None => Ok(()),
        }
    }

    fn is_built_in(&self) -> bool {
        self.data.as_os_str() == "digits"
    }

    fn options(&self, indices: Option<u32>) -> Options {
        let header = match self.header {
            HeaderChoice::Auto => Header::Auto,
            HeaderChoice::Yes => Header::Yes,
            HeaderChoice::No => Header::No,
        };
        let missing: Missing = self.missing.into();
        let max_memory = self.memory().unwrap_or(Options::default().max_memory);
        let (target, ignore) = (self.target.clone(), self.ignore.clone());
        Options { target, learn: self.task.into(), header, delimiter: self.delimiter, ignore, missing, indices, max_memory }
    }

    fn read(&self, seed: u64, indices: Option<u32>, quiet: bool) -> Result<(Dataset, Dataset, Read)> {
        let fraction = self.test_fraction.unwrap_or(TEST_FRACTION);
        let split = |data: &Dataset| match data.is_regression() {
            true => format!("{fraction} of the rows"),
            false => format!("{fraction} of each class"),
        };
        if self.is_built_in() {
            let (train, test) = data::digits().split(fraction, seed)?;
            let read = Read::new("digits".into(), split(&train), &train, &test);
            return Ok((train, test, read));
        }
        let source = if is_stdin(&self.data) { STDIN.into() } else { self.data.display().to_string() };
        if self.data.is_dir() {
            let (train, test) = idx::read_directory_within(&self.data, self.memory().unwrap_or(u64::MAX))?;
            let read = Read::new(source, "its own test files".into(), &train, &test);
            return Ok((train, test, read));
        }
        let options = self.options(indices);
        let table = if is_stdin(&self.data) {
            options.read_from(STDIN, stdin(quiet))?
        } else {
            reachable(&self.data, "--data takes digits, a directory with the four IDX files of MNIST, a CSV file")?;
            options.read(&self.data)?
        };
        let (csv, form) = (table.reading().clone(), table.form());
        let (train, test, from, csv_test) = match &self.test {
            None => {
                let (train, test) = table.split(fraction, seed)?;
                let split = split(&train);
                (train, test, split, None)
            }
            Some(path) if is_stdin(path) => {
                let (train, test, reading) = table.with_test_from(STDIN, stdin(quiet), &options)?;
                (train, test, STDIN.into(), Some(reading))
            }
            Some(path) => {
                reachable(path, "--test takes a CSV file")?;
                let (train, test, reading) = table.with_test(path, &options)?;
                (train, test, path.display().to_string(), Some(reading))
            }
        };
        let read = Read { csv: Some(csv), csv_test, form: Some(form), ..Read::new(source, from, &train, &test) };
        Ok((train, test, read))
    }
}

/// Indices have no mean that could stand for a missing one.
pub fn check_missing(missing: MissingChoice, indices: Option<u32>) -> Result<()> {
    match indices.filter(|_| missing == MissingChoice::Mean) {
        Some(_) => Err(Usage("--missing mean: the model takes features as indices, which have no mean".into()).into()),
        None => Ok(()),
    }
}

/// Whether all features are numbers of rows of a table that has so many. Those of CSV files are checked where they are read, by
/// line.
pub fn check_indices(what: &str, data: &Dataset, indices: Option<u32>) -> Result<()> {
    let Some(rows) = indices else { return Ok(()) };
    let fits = |x: &f32| x.fract() == 0.0 && (0.0..f64::from(rows)).contains(&f64::from(*x));
    let Some(at) = data.features.iter().position(|x| !fits(x)) else { return Ok(()) };
    let (row, column) = (at / data.width + 1, at % data.width + 1);
    let place = format!("{what} data, row {row}, column {column}");
    let allowed = format!("a whole number from 0 to {}, as the model's first layer is an embedding", rows.saturating_sub(1));
    Err(thalweg::Error::setting(&place, data.features[at], &allowed).into())
}

/// Images whose labels are numbers that are to be predicted: those of the classes' names, or else of the classes.
pub fn as_numbers(data: &mut Dataset) {
    if data.is_regression() {
        return;
    }
    let number = |label: u32| data.class_names.get(label as usize).and_then(|name| name.parse().ok()).unwrap_or(label as f32);
    let targets = data.labels.iter().map(|&label| number(label)).collect();
    (data.targets, data.target_width) = (targets, 1);
    (data.labels, data.classes, data.class_names) = (Vec::new(), 0, Vec::new());
}

fn target(text: &str) -> Result<Target, String> {
    if text.is_empty() {
        return Err("a column has a name, a number from 1, or is first or last".into());
    }
    text.parse().map_err(|error: thalweg::Error| error.to_string())
}

pub fn delimiter(text: &str) -> Result<u8, String> {
    let byte = match text {
        "tab" | "\\t" => Some(b'\t'),
        "comma" => Some(b','),
        "semicolon" => Some(b';'),
        "space" | "blank" => Some(b' '),
        _ => text.as_bytes().first().copied().filter(|_| text.len() == 1),
    };
    let separates = |byte: &u8| byte.is_ascii() && !byte.is_ascii_alphanumeric() && !b"\"\r\n.+-".contains(byte);
    byte.filter(separates).ok_or_else(|| "not a character that can separate cells, such as ',', ';', '|', tab or space".into())
}
