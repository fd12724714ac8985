//! The data of `train`: where they come from, and what was read.

use crate::numbers::real;
use crate::{Usage, memory};
use anyhow::{Result, anyhow, bail};
use clap::ValueEnum;
use serde_json::{Value, json};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use thalweg::data::csv::{Form, Header, Missing, Options, Reading, Target};
use thalweg::data::{self, Dataset, Scaler, idx, quoted};

/// The part of each class that is kept for testing by default.
const TEST_FRACTION: f64 = 0.2;
/// The most classes and texts that are listed by name.
const LISTED: usize = 12;

/// The options that say what to read.
#[derive(Debug, clap::Args)]
pub struct DataArgs {
    /// `digits` (part of the program); a directory with the four IDX files of MNIST; a CSV file, of which a fifth becomes the
    /// test set; or `-` for a CSV file on standard input. All may be gzipped
    #[arg(long, value_name = "digits|DIR|FILE|-", default_value = "digits")]
    data: PathBuf,

    /// CSV: the label's column, a name of the header, a number from 1, `first` or `last` [default: last, unless the header names another
    /// column label, class, target or y]
    #[arg(long, value_name = "COLUMN", value_parser = target)]
    target: Option<Target>,

    /// CSV: whether the first line is a header; `auto` looks whether it fits the lines below
    #[arg(long, value_enum, value_name = "auto|yes|no", default_value_t, hide_possible_values = true)]
    header: HeaderChoice,

    /// CSV: what separates cells: one character, `tab`, or `space` for one or more blanks [default: a comma, a semicolon, a tab or
    /// blanks, whichever separates the lines]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<u8>,

    /// CSV: columns that are not features, by name or number from 1; may be repeated
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    ignore: Vec<String>,

    /// CSV: what to do with a row that has a missing cell (empty, NA, NaN, null, ?): report an error, drop the row, or fill the
    /// cell with the mean of its column over the training rows
    #[arg(long, value_enum, value_name = "error|drop|mean", default_value_t, hide_possible_values = true)]
    missing: MissingChoice,

    /// CSV: a second file with the same columns as test set, or `-` for standard input
    #[arg(long, value_name = "FILE|-", conflicts_with = "test_fraction")]
    test: Option<PathBuf>,

    /// The part of each class that becomes the test set, above 0 and below 1 [default: 0.2]
    #[arg(long, value_name = "X", value_parser = real, allow_negative_numbers = true)]
    test_fraction: Option<f64>,

    /// The most memory for data, network and rule, such as 500M or 2G [default: what the machine has free]
    #[arg(long, value_name = "BYTES", value_parser = memory::bytes, allow_negative_numbers = true)]
    max_memory: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum HeaderChoice {
    #[default]
    Auto,
    Yes,
    No,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum MissingChoice {
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

/// The options of the rows for a trained model.
#[derive(Debug, clap::Args)]
pub struct RowArgs {
    /// `digits`; a directory with the four IDX files of MNIST, of which the test files are used; a CSV file; or `-` for a CSV
    /// file on standard input. All may be gzipped
    #[arg(long, value_name = "digits|DIR|FILE|-")]
    data: Option<PathBuf>,

    /// CSV: what separates cells: one character, `tab`, or `space` for one or more blanks [default: whichever separates the lines]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<u8>,

    /// CSV: what to do with a row that has a missing cell (empty, NA, NaN, null, ?): report an error, drop the row, or fill the
    /// cell with the mean of its column over the rows on which the model was trained
    #[arg(long, value_enum, value_name = "error|drop|mean", default_value_t, hide_possible_values = true)]
    missing: MissingChoice,

    /// The most memory for the data, such as 500M or 2G [default: what the machine has free]
    #[arg(long, value_name = "BYTES", value_parser = memory::bytes, allow_negative_numbers = true)]
    max_memory: Option<u64>,
}

impl RowArgs {
    pub fn is_given(&self) -> bool {
        self.data.is_some()
    }

    /// Rows with their labels, not scaled. `form` is that of the model's table, `means` has the values for missing cells.
    pub fn labelled(&self, form: Option<&Form>, means: &[f64], quiet: bool) -> Result<Dataset> {
        match self.source(form)? {
            Source::Whole(data) => Ok(*data),
            Source::Table(path, form) => {
                let means: Vec<f32> = means.iter().map(|&mean| mean as f32).collect();
                let (data, _) = match is_stdin(path) {
                    true => form.rows_from(STDIN, stdin(quiet), &means, &self.options()),
                    false => form.rows_from(path, file(path)?, &means, &self.options()),
                }
                .map_err(|error| anyhow!(with_flags(&error.to_string())))?;
                Ok(data)
            }
        }
    }

    /// Rows whose labels are not read but set to 0.
    pub fn features(&self, form: Option<&Form>, means: &[f64], quiet: bool) -> Result<Dataset> {
        match self.source(form)? {
            Source::Whole(data) => Ok(*data),
            Source::Table(path, form) => {
                let means: Vec<f32> = means.iter().map(|&mean| mean as f32).collect();
                let (features, rows) = match is_stdin(path) {
                    true => form.features_from(STDIN, stdin(quiet), &means, &self.options()),
                    false => form.features_from(path, file(path)?, &means, &self.options()),
                }
                .map_err(|error| anyhow!(with_flags(&error.to_string())))?;
                Ok(Dataset::new(features, form.width(), vec![0; rows])?)
            }
        }
    }

    fn source<'a>(&'a self, form: Option<&'a Form>) -> Result<Source<'a>> {
        let path = self.data.as_deref().ok_or_else(|| Usage("--data says which rows to look at".into()))?;
        if path.as_os_str() == "digits" {
            return Ok(Source::Whole(data::digits().into()));
        }
        if path.is_dir() {
            let limit = self.max_memory.or_else(memory::available).unwrap_or(u64::MAX);
            let (_, test) = idx::read_directory_within(path, limit)?;
            return Ok(Source::Whole(test.into()));
        }
        if !is_stdin(path) {
            reachable(path, "--data takes digits, a directory with the four IDX files of MNIST, a CSV file")?;
        }
        let form = form.ok_or_else(|| {
            anyhow!("the model was not trained on a CSV file, so it cannot use the columns of {}", path.display())
        })?;
        Ok(Source::Table(path, form))
    }

    fn options(&self) -> Options {
        let max_memory = self.max_memory.or_else(memory::available).unwrap_or(Options::default().max_memory);
        Options { delimiter: self.delimiter, missing: self.missing.into(), max_memory, ..Options::default() }
    }
}

/// Where rows come from: all of a data set, or a table like that of a form.
enum Source<'a> {
    Whole(Box<Dataset>),
    Table(&'a Path, &'a Form),
}

fn file(path: &Path) -> Result<std::fs::File> {
    std::fs::File::open(path).map_err(|error| anyhow!("{}: {error}", path.display()))
}

/// Data that are ready to train on.
pub struct Data {
    pub train: Dataset,
    pub test: Dataset,
    pub read: Read,
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Read {
    /// The source, as it was given.
    pub source: String,
    /// Where the test rows come from.
    pub test: String,
    /// The names of the classes, and how many rows each has in training and testing together.
    pub classes: Vec<(String, usize)>,
    pub features: usize,
    pub train_rows: usize,
    pub test_rows: usize,
    /// How a CSV file and its test file were understood.
    pub csv: Option<Reading>,
    pub csv_test: Option<Reading>,
    /// The columns of a CSV file, for other files like it.
    pub form: Option<Form>,
}

/// The model and the run, for the first lines of the output.
#[derive(Debug, Clone)]
pub struct Run {
    pub steps_per_epoch: usize,
    pub batch: usize,
    pub parameters: usize,
    pub rule: &'static str,
    /// The rule's own rate, before any schedule.
    pub lr: Option<f64>,
    pub engine: &'static str,
}

/// What a run starts with, for the first line that it prints.
#[derive(Debug, Clone)]
pub struct Summary {
    pub read: Read,
    pub run: Run,
}

static LOADING: AtomicBool = AtomicBool::new(false);

/// Whether data are being read. Meanwhile the program may end at once without losing anything.
pub fn is_loading() -> bool {
    LOADING.load(Ordering::Relaxed)
}

impl DataArgs {
    /// The most bytes of data, network and rule.
    pub fn memory(&self) -> Option<u64> {
        self.max_memory.or_else(memory::available)
    }

    /// Training and test part, scaled, and the scaler.
    pub fn load(&self, seed: u64, quiet: bool) -> Result<(Data, Scaler)> {
        let Data { mut train, mut test, read } = self.load_unscaled(seed, quiet)?;
        let scaler = read.scale(&mut train, &mut test)?;
        Ok((Data { train, test, read }, scaler))
    }

    /// Training and test part, not scaled.
    pub fn load_unscaled(&self, seed: u64, quiet: bool) -> Result<Data> {
        self.check()?;
        LOADING.store(true, Ordering::Relaxed);
        let loaded = self.read(seed, quiet);
        LOADING.store(false, Ordering::Relaxed);
        let (train, test, read) = loaded.map_err(|error| match error.downcast::<thalweg::Error>() {
            Ok(error) => anyhow!(with_flags(&error.to_string())),
            Err(error) => error,
        })?;
        Ok(Data { train, test, read })
    }

    /// Checks that the options fit each other and the data.
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

    fn options(&self) -> Options {
        let header = match self.header {
            HeaderChoice::Auto => Header::Auto,
            HeaderChoice::Yes => Header::Yes,
            HeaderChoice::No => Header::No,
        };
        let missing: Missing = self.missing.into();
        let max_memory = self.memory().unwrap_or(Options::default().max_memory);
        let (target, ignore) = (self.target.clone(), self.ignore.clone());
        Options { target, header, delimiter: self.delimiter, ignore, missing, max_memory }
    }

    fn read(&self, seed: u64, quiet: bool) -> Result<(Dataset, Dataset, Read)> {
        let fraction = self.test_fraction.unwrap_or(TEST_FRACTION);
        let split = format!("{fraction} of each class");
        if self.is_built_in() {
            let (train, test) = data::digits().split(fraction, seed)?;
            let read = Read::new("digits".into(), split, &train, &test);
            return Ok((train, test, read));
        }
        let source = if is_stdin(&self.data) { STDIN.into() } else { self.data.display().to_string() };
        if self.data.is_dir() {
            let (train, test) = idx::read_directory_within(&self.data, self.memory().unwrap_or(u64::MAX))?;
            let read = Read::new(source, "its own test files".into(), &train, &test);
            return Ok((train, test, read));
        }
        let options = self.options();
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

/// The name of standard input in messages.
pub const STDIN: &str = "standard input";

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Standard input. The data may come late, so a note says what the program waits for.
fn stdin(quiet: bool) -> io::StdinLock<'static> {
    if !quiet {
        crate::report::note("reading a table from standard input");
    }
    io::stdin().lock()
}

/// Checks that a file exists and may be opened.
fn reachable(path: &Path, takes: &str) -> Result<()> {
    let takes = format!("{takes}, or - for standard input");
    match path.metadata() {
        Ok(metadata) if metadata.is_dir() => bail!("{}: is a directory; {takes}", path.display()),
        Ok(_) => Ok(()),
        Err(error) => Err(match error.kind() {
            ErrorKind::NotFound => anyhow!("{}: no such file or directory; {takes}", path.display()),
            ErrorKind::PermissionDenied => {
                anyhow!("{}: permission denied: a folder on the way may not be entered", path.display())
            }
            _ => anyhow!("{}: {error}", path.display()),
        }),
    }
}

/// An error of the library with its settings as options: `max_memory` is `--max-memory`.
fn with_flags(error: &str) -> String {
    let names = ["target", "header", "delimiter", "ignore", "missing", "max_memory", "test_fraction"];
    names.iter().fold(error.to_owned(), |text, name| {
        let flag = format!("--{}", name.replace('_', "-"));
        text.replace(&format!("`{name}` ="), &flag).replace(&format!("`{name}`"), &flag)
    })
}

fn target(text: &str) -> Result<Target, String> {
    if text.is_empty() {
        return Err("a column has a name, a number from 1, or is first or last".into());
    }
    text.parse().map_err(|error: thalweg::Error| error.to_string())
}

fn delimiter(text: &str) -> Result<u8, String> {
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

impl Read {
    /// Scales both parts by the first one.
    pub fn scale(&self, train: &mut Dataset, test: &mut Dataset) -> thalweg::Result<Scaler> {
        // Pixels have one unit.
        let scaler = if self.csv.is_none() { Scaler::range(train)? } else { Scaler::standard(train)? };
        scaler.apply(train)?;
        scaler.apply(test)?;
        Ok(scaler)
    }

    fn new(source: String, test: String, train: &Dataset, test_part: &Dataset) -> Self {
        Self {
            source,
            test,
            classes: classes(train, test_part),
            features: train.width,
            train_rows: train.rows(),
            test_rows: test_part.rows(),
            csv: None,
            csv_test: None,
            form: None,
        }
    }

    /// How the file was understood, as text.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        for (reading, of) in [(&self.csv, ""), (&self.csv_test, " of the test file")] {
            let Some(reading) = reading else { continue };
            let main = of.is_empty();
            for (name, texts) in reading.categories.iter().filter(|_| main) {
                notes.push(format!(
                    "{name} is {} features, one per text: {}",
                    texts.len(),
                    listed(texts.iter().map(|text| shown(text)))
                ));
            }
            notes.extend(reading.left_out.iter().filter(|_| main).map(|column| format!("{column} is left out")));
            if reading.counts {
                notes
                    .push(format!("the first line{of} counts rows and features and names the classes, as scikit-learn has it"));
            }
            match reading.dropped {
                0 => {}
                1 => notes.push(format!("1 row{of} with a missing cell is left out")),
                dropped => notes.push(format!("{dropped} rows{of} with missing cells are left out")),
            }
            match reading.filled {
                0 => {}
                1 => notes.push(format!("1 missing cell{of} has the mean of its column, or none of its texts")),
                filled => notes.push(format!("{filled} missing cells{of} have the mean of their column, or none of its texts")),
            }
            notes.extend(reading.warnings.iter().map(|warning| format!("warning: {}", with_flags(warning))));
        }
        notes
    }
}

/// The classes of two parts with their names and numbers of rows.
fn classes(train: &Dataset, test: &Dataset) -> Vec<(String, usize)> {
    let mut rows = vec![0; train.classes];
    train.labels.iter().chain(&test.labels).for_each(|&label| rows[label as usize] += 1);
    let name = |class: usize| train.class_names.get(class).cloned().unwrap_or_else(|| class.to_string());
    rows.into_iter().enumerate().map(|(class, rows)| (name(class), rows)).collect()
}

impl Summary {
    /// As text: a line for the data, one for the run, and further notes about the data.
    pub fn lines(&self) -> Vec<String> {
        let Self { read, run } = self;
        let classes = listed(read.classes.iter().map(|(name, rows)| format!("{} ({rows})", shown(name))));
        let label = read.csv.as_ref().map(|csv| {
            let header = if csv.header { "the first line is a header" } else { "no header" };
            format!("; the label is {}, {header}", csv.label)
        });
        let data = format!(
            "data: {}, {} rows of {} features in {} classes: {classes}{}; {} rows to train on, {} to test on ({})",
            shown(&read.source),
            read.train_rows + read.test_rows,
            read.features,
            read.classes.len(),
            label.unwrap_or_default(),
            read.train_rows,
            read.test_rows,
            shown(&read.test),
        );
        let rest = (run.steps_per_epoch * run.batch > read.train_rows).then(|| read.train_rows % run.batch);
        let rest = rest.map(|rest| format!(", the last of {rest}")).unwrap_or_default();
        let rate = run.lr.map(|lr| format!(" at a rate of {}", short(lr))).unwrap_or_default();
        let run = format!(
            "run: {} steps per epoch of {} rows{rest}; {} parameters, {}{rate}, {} engine",
            run.steps_per_epoch, run.batch, run.parameters, run.rule, run.engine,
        );
        [data, run].into_iter().chain(read.notes()).collect()
    }

    /// The first object of `--json`.
    pub fn json(&self) -> Value {
        let Self { read, run } = self;
        let classes: Vec<Value> = read.classes.iter().map(|(name, rows)| json!({ "name": name, "rows": rows })).collect();
        json!({ "data": {
            "source": read.source,
            "rows": read.train_rows + read.test_rows,
            "features": read.features,
            "classes": classes,
            "train_rows": read.train_rows,
            "test_rows": read.test_rows,
            "test": read.test,
            "csv": read.csv.as_ref().map(reading),
            "csv_test": read.csv_test.as_ref().map(reading),
            "steps_per_epoch": run.steps_per_epoch,
            "batch": run.batch,
            "parameters": run.parameters,
            "rule": run.rule,
            "lr": run.lr,
            "engine": run.engine,
        } })
    }
}

/// How a table was understood.
fn reading(reading: &Reading) -> Value {
    let categories: Vec<Value> =
        reading.categories.iter().map(|(name, texts)| json!({ "column": name, "texts": texts })).collect();
    let warnings: Vec<String> = reading.warnings.iter().map(|warning| with_flags(warning)).collect();
    json!({
        "header": reading.header,
        "counts": reading.counts,
        "delimiter": reading.delimiter,
        "label": reading.label,
        "categories": categories,
        "left_out": reading.left_out,
        "dropped": reading.dropped,
        "filled": reading.filled,
        "warnings": warnings,
    })
}

/// The first of some texts.
fn listed(texts: impl ExactSizeIterator<Item = String>) -> String {
    let more = if texts.len() > LISTED { ", …" } else { "" };
    texts.take(LISTED).collect::<Vec<_>>().join(", ") + more
}

/// A text from outside: as it is if it is plain, else in quotes.
pub fn shown(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || " -_./".contains(c);
    if !text.is_empty() && text.chars().count() <= 40 && text.chars().all(plain) { text.into() } else { quoted(text) }
}

/// A number in six digits, without long runs of zeros.
pub fn short(x: f64) -> String {
    let x: f64 = format!("{x:.5e}").parse().unwrap_or(x);
    if x == 0.0 || (1e-4..1e5).contains(&x.abs()) { x.to_string() } else { format!("{x:e}") }
}
