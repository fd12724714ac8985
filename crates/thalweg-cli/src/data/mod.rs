//! What `train` learns from: where it comes from, and what was read.

mod args;
mod rows;
mod summary;

pub use args::{DataArgs, as_numbers};
use args::{check_indices, check_missing};
pub use rows::RowArgs;
pub use summary::{Read, Run, Summary};

use anyhow::{Result, anyhow, bail};
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use thalweg::data::{Dataset, Scaler, quoted};

/// Classes and texts that are listed by name.
const LISTED: usize = 12;

/// A data set in its parts.
#[derive(Clone)]
pub struct Data {
    pub train: Dataset,
    /// Rows of the training part that are kept back, if that is wanted.
    pub validation: Option<Dataset>,
    pub test: Dataset,
    pub read: Read,
}

impl Data {
    /// Training, validation and test part, scaled by the first, and how. `validates` is the part of the training rows that
    /// validate. Features that are indices, of a table of so many rows, have no scale.
    pub fn scaled(mut self, seed: u64, validates: Option<f64>, indices: Option<u32>) -> Result<(Self, Scaler)> {
        if let Some(fraction) = validates {
            let (train, validation) = self.train.split(fraction, seed.wrapping_add(1)).map_err(|error| {
                let text = error.to_string().replace("test part", "validation part");
                anyhow!(text.replace("test_fraction", "--val-split"))
            })?;
            self.read.validation_rows = validation.rows();
            self.read.train_rows = train.rows();
            (self.train, self.validation) = (train, Some(validation));
        }
        let Self { train, validation, test, read } = &mut self;
        let scaler = match indices {
            Some(_) => Scaler { shift: vec![0.0; train.width], divisor: vec![1.0; train.width] },
            None => read.scale(train, validation.iter_mut().chain([test]))?,
        };
        Ok((self, scaler))
    }
}

static LOADING: AtomicBool = AtomicBool::new(false);

/// Whether data are being read. Nothing is lost then if the program ends at once.
pub fn is_loading() -> bool {
    LOADING.load(Ordering::Relaxed)
}

/// How messages call what is piped in.
pub const STDIN: &str = "standard input";

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Standard input, which may come late: what is waited for is said.
fn stdin(quiet: bool) -> io::StdinLock<'static> {
    if !quiet {
        crate::report::note("reading a table from standard input");
    }
    io::stdin().lock()
}

/// Whether there is such a file and one may look at it.
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
    let error = error.replace("`learn` = numbers", "--task regression");
    names.iter().fold(error, |text, name| {
        let flag = format!("--{}", name.replace('_', "-"));
        text.replace(&format!("`{name}` ="), &flag).replace(&format!("`{name}`"), &flag)
    })
}

/// The first of some texts.
fn listed(texts: impl ExactSizeIterator<Item = String>) -> String {
    let more = if texts.len() > LISTED { ", …" } else { "" };
    texts.take(LISTED).collect::<Vec<_>>().join(", ") + more
}

/// A text from outside: as it is where it is plain, else in quotes.
pub fn shown(text: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || " -_./".contains(c);
    if !text.is_empty() && text.chars().count() <= 40 && text.chars().all(plain) { text.into() } else { quoted(text) }
}

/// A number in six digits, without long runs of zeros.
pub fn short(x: f64) -> String {
    let x: f64 = format!("{x:.5e}").parse().unwrap_or(x);
    if x == 0.0 || (1e-4..1e5).contains(&x.abs()) { x.to_string() } else { format!("{x:e}") }
}
