//! The options that say which rows a trained model is to look at.

use super::args::{MissingChoice, delimiter};
use super::{STDIN, check_indices, check_missing, is_stdin, reachable, stdin, with_flags};
use crate::{Usage, memory};
use anyhow::{Result, anyhow};
use std::path::{Path, PathBuf};
use thalweg::data::csv::{Form, Options};
use thalweg::data::{self, Dataset, idx};

/// The options that say which rows a trained model is to look at.
#[derive(Debug, clap::Args)]
pub struct RowArgs {
    /// `digits`; a directory with the four IDX files of MNIST, of which the test files are taken; a CSV file; or `-`, such a
    /// file on standard input. All may be gzipped
    #[arg(long, value_name = "digits|DIR|FILE|-")]
    data: Option<PathBuf>,

    /// CSV: what separates cells: one character, `tab`, or `space` for one or more blanks [default: whichever separates the
    /// lines]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    delimiter: Option<u8>,

    /// CSV: what becomes of a row with a missing cell (empty, NA, NaN, null, ?): an error, left out, or filled with the mean of
    /// the column over the rows that the model was trained on
    #[arg(long, value_enum, value_name = "error|drop|mean", default_value_t, hide_possible_values = true)]
    missing: MissingChoice,

    /// Most memory that the data may take, such as 500M or 2G [default: what the machine has left]
    #[arg(long, value_name = "BYTES", value_parser = memory::bytes, allow_negative_numbers = true)]
    max_memory: Option<u64>,
}

impl RowArgs {
    pub fn is_given(&self) -> bool {
        self.data.is_some()
    }

    /// Rows with their labels, not scaled. `form` is that of the model's table, `means` what stands for missing cells. Features
    /// are numbers, or `indices` of a table of so many rows.
    pub fn labelled(&self, form: Option<&Form>, means: &[f64], indices: Option<u32>, quiet: bool) -> Result<Dataset> {
        check_missing(self.missing, indices)?;
        match self.source(form)? {
            Source::Whole(data) => check_indices("the", &data, indices).map(|()| *data),
            Source::Table(path, form) => {
                let means: Vec<f32> = means.iter().map(|&mean| mean as f32).collect();
                let (data, _) = match is_stdin(path) {
                    true => form.rows_from(STDIN, stdin(quiet), &means, &self.options(indices)),
                    false => form.rows_from(path, file(path)?, &means, &self.options(indices)),
                }
                .map_err(|error| anyhow!(with_flags(&error.to_string())))?;
                Ok(data)
            }
        }
    }

    /// The path of the rows' file, if they are in one.
    pub fn path(&self) -> Option<&Path> {
        self.data.as_deref().filter(|path| !is_stdin(path))
    }

    /// Whether rows may be left out.
    pub fn drops(&self) -> bool {
        self.missing == MissingChoice::Drop
    }

    /// Rows without a look at their labels, which are all 0, and their numbers in the data, from 0.
    pub fn features(
        &self,
        form: Option<&Form>,
        means: &[f64],
        indices: Option<u32>,
        quiet: bool,
    ) -> Result<(Dataset, Vec<usize>)> {
        check_missing(self.missing, indices)?;
        match self.source(form)? {
            Source::Whole(data) => {
                check_indices("the", &data, indices)?;
                let rows = (0..data.rows()).collect();
                Ok((*data, rows))
            }
            Source::Table(path, form) => {
                let means: Vec<f32> = means.iter().map(|&mean| mean as f32).collect();
                let (features, rows) = match is_stdin(path) {
                    true => form.features_from(STDIN, stdin(quiet), &means, &self.options(indices)),
                    false => form.features_from(path, file(path)?, &means, &self.options(indices)),
                }
                .map_err(|error| anyhow!(with_flags(&error.to_string())))?;
                Ok((Dataset::new(features, form.width(), vec![0; rows.len()])?, rows))
            }
        }
    }

    fn source<'a>(&'a self, form: Option<&'a Form>) -> Result<Source<'a>> {
        let path = self.data.as_deref().ok_or_else(|| Usage("--data says which rows to look at".into()))?;
        if path.as_os_str() == "digits" {
            return Ok(Source::Whole(data::digits().into()));
        }
        if path.is_dir() {
            let limit = self.max_memory.or_else(thalweg::cpu::available_memory).unwrap_or(u64::MAX);
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

    fn options(&self, indices: Option<u32>) -> Options {
        let max_memory = self.max_memory.or_else(thalweg::cpu::available_memory).unwrap_or(Options::default().max_memory);
        Options { delimiter: self.delimiter, missing: self.missing.into(), indices, max_memory, ..Options::default() }
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
