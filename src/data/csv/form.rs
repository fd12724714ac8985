//! What the columns of a table are, so that the rows of other files can be read alike.

use super::columns::{Columns, Feature, Kind};
use super::label::{Classes, Key, Meaning};
use super::table::{Reading, Rows, Table, blame, data_of, reading};
use super::text::Text;
use super::{Missing, Options};
use crate::data::Dataset;
use crate::data::source::{Content, refused};
use crate::error::Result;
use std::io::Read;
use std::path::Path;

/// What the columns of a table are. With it, the rows of other files become features as those of the table did. A model's file
/// can hold it.
///
/// # Examples
///
/// ```
/// use thalweg::data::csv::Options;
///
/// let table = Options::default().read_from("a.csv", "colour,size,class\nred,1,a\nblue,2,b\nred,3,a\nblue,4,b\n".as_bytes())?;
/// let form = table.form();
/// // Another order, no label, and a colour that is not known.
/// let (features, rows) = form.features_from("b.csv", "size,colour\n5,blue\n6,green\n".as_bytes(), &[2.5; 3], &Options::default())?;
/// assert_eq!(rows, [0, 1]);
/// assert_eq!(features, [1.0, 0.0, 5.0, 0.0, 0.0, 6.0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Form {
    /// The header, if there is one.
    pub header: Option<Vec<String>>,
    /// The number of columns, including that of the label.
    pub columns: usize,
    /// The label's column, counted from 0.
    pub label: usize,
    /// The columns of features, counted from 0. A column of text has its texts, each of which is a feature; a column of numbers
    /// has none.
    pub features: Vec<(usize, Vec<String>)>,
    /// The classes as they stand in the label's column; none where it holds numbers that are to be predicted.
    pub classes: Vec<String>,
}

impl Table {
    /// The form of its columns.
    pub fn form(&self) -> Form {
        let (columns, meaning) = self.parts();
        let feature = |feature: &Feature| match &feature.kind {
            Kind::Number => (feature.column, Vec::new()),
            Kind::Category(texts) => (feature.column, texts.clone()),
        };
        Form {
            header: columns.names.clone(),
            columns: columns.number,
            label: columns.target,
            features: columns.features.iter().map(feature).collect(),
            classes: if let Meaning::Classes(classes) = meaning { classes.names.clone() } else { Vec::new() },
        }
    }
}

impl Form {
    /// Features per row.
    pub fn width(&self) -> usize {
        self.features.iter().map(|(_, texts)| texts.len().max(1)).sum()
    }

    /// Rows with their labels. If the table had a header, the text has one too, and its columns may come in another order.
    /// Missing cells get `means`, a number per feature; a text that the table does not have is none of the column's texts.
    ///
    /// # Errors
    /// As [`Options::read`], and a column or a class that the table does not have.
    pub fn rows_from(
        &self,
        name: impl AsRef<Path>,
        stream: impl Read,
        means: &[f32],
        options: &Options,
    ) -> Result<(Dataset, Reading)> {
        let path = name.as_ref();
        let text = Text::read(path, Content::new(path, stream)?, options.delimiter, options.max_memory)?;
        let columns = self.as_columns().of_test(&text, "the table of the model")?;
        let rows = Rows::read(&text, &columns, options, 0)?;
        if rows.labels.rows.is_empty() {
            return Err(refused(path, "no rows"));
        }
        let meaning = self.meaning();
        let predicted = rows.labels.predicted(&meaning).map_err(|wrong| blame(&text, &columns, wrong))?;
        let reading = Reading { dropped: rows.dropped, filled: rows.filled, ..reading(&text, &columns) };
        let features = self.filled(rows, means);
        let data = data_of(features, self.width(), predicted, &meaning);
        data.check().map_err(|error| refused(path, error))?;
        Ok((data, reading))
    }

    /// The features of a text, and the number of each row in it: from 0, without the header. Rows that are left out have no
    /// number here. The label's column may be missing, and is not read. Otherwise as [`Form::rows_from`].
    ///
    /// # Errors
    /// As [`Form::rows_from`].
    pub fn features_from(
        &self,
        name: impl AsRef<Path>,
        stream: impl Read,
        means: &[f32],
        options: &Options,
    ) -> Result<(Vec<f32>, Vec<usize>)> {
        let path = name.as_ref();
        let text = Text::read(path, Content::new(path, stream)?, options.delimiter, options.max_memory)?.unlabelled();
        let columns = self.as_columns().of_unlabelled(&text, "the table of the model")?;
        let (rows, numbers) = Rows::read_features(&text, &columns, options)?;
        if numbers.is_empty() {
            return Err(refused(path, "no rows"));
        }
        Ok((self.filled(rows, means), numbers))
    }

    /// What the label's column stands for.
    fn meaning(&self) -> Meaning {
        if self.classes.is_empty() {
            return Meaning::Numbers;
        }
        let numbers = (0..).zip(&self.classes).map(|(number, name)| (Key::of(name), number)).collect();
        Meaning::Classes(Classes { names: self.classes.clone(), numbers })
    }

    fn filled(&self, rows: Rows, means: &[f32]) -> Vec<f32> {
        let (width, mut features) = (self.width(), rows.features);
        rows.holes
            .iter()
            .for_each(|&(row, feature)| features[row * width + feature] = means.get(feature).copied().unwrap_or(0.0));
        features
    }

    fn as_columns(&self) -> Columns {
        let feature = |(column, texts): &(usize, Vec<String>)| Feature {
            column: *column,
            kind: if texts.is_empty() { Kind::Number } else { Kind::Category(texts.clone()) },
        };
        Columns {
            names: self.header.clone(),
            number: self.columns,
            target: self.label,
            features: self.features.iter().map(feature).collect(),
            left_out: Vec::new(),
            doubts: Vec::new(),
        }
    }
}

impl Rows {
    /// The features of all rows, whatever is in the label's column, and the rows' numbers.
    fn read_features(text: &Text, columns: &Columns, options: &Options) -> Result<(Self, Vec<usize>)> {
        let (mut rows, mut numbers, mut next) = (Self::default(), Vec::new(), 0..);
        let mut header = columns.names.is_some();
        text.rows(|record| {
            if std::mem::take(&mut header) {
                return Ok(());
            }
            let number = next.next().unwrap_or_default();
            let missing = columns.features.iter().any(|feature| Self::is_missing(&record[feature.column]));
            if options.missing == Missing::Drop && missing {
                rows.dropped += 1;
                return Ok(());
            }
            rows.add_features(text, columns, options, record)?;
            numbers.push(number);
            Ok(())
        })?;
        Ok((rows, numbers))
    }
}
