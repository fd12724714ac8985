//! Data to train on, for classification or regression: the data set, its split, folds and scaling, and readers for CSV and IDX
//! files.

#[cfg(feature = "files")]
mod cell;
#[cfg(feature = "files")]
pub mod csv;
#[cfg(feature = "files")]
mod digits;
mod folds;
#[cfg(feature = "files")]
pub mod idx;
mod scale;
#[cfg(feature = "files")]
mod source;
mod stratified_groups;

#[cfg(feature = "files")]
pub use cell::quoted;
#[cfg(feature = "files")]
pub use digits::digits;
pub use folds::{Fold, KFold};
pub use scale::Scaler;
#[cfg(feature = "files")]
pub use source::read;

use crate::error::{Error, Result, range};

/// The most classes of a data set.
///
/// A larger label is probably the number of a row, or a measurement. As a class it would need an output layer of gigabytes.
pub const MAX_CLASSES: usize = 1 << 16;

/// Rows of features, each with the number of its class (classification), or with numbers to predict (regression).
///
/// The fields are public and may be filled by hand; whatever takes a data set calls [`Dataset::check`] first.
///
/// # Examples
///
/// ```
/// use thalweg::data::Dataset;
///
/// let data = Dataset::new(vec![0.0, 0.5, 1.0, 1.5], 2, vec![0, 1])?;
/// assert_eq!((data.rows(), data.width, data.classes), (2, 2, 2));
/// assert_eq!(data.row(1), Some(&[1.0, 1.5][..]));
///
/// let line = Dataset::regression(vec![0.0, 0.5, 1.0], 1, vec![1.0, 2.0, 3.0], 1)?;
/// assert_eq!((line.rows(), line.target_width, line.classes), (3, 1, 0));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dataset {
    /// The features, row after row; all finite.
    pub features: Vec<f32>,
    /// Features per row, at least 1.
    pub width: usize,
    /// The dimensions of a row, as those of an image: their product is the width. Nothing where a row is just a row.
    pub shape: Vec<usize>,
    /// The class of each row, below `classes`; nothing for regression.
    pub labels: Vec<u32>,
    /// Number of classes, 1 to [`MAX_CLASSES`]. Some may have no rows. 0 for regression.
    pub classes: usize,
    /// The name of each class, as a file has it; empty if the classes have no names.
    pub class_names: Vec<String>,
    /// The numbers to predict, row after row; all finite. Empty for classification.
    pub targets: Vec<f32>,
    /// How many numbers to predict per row; 0 for classification.
    pub target_width: usize,
}

impl Dataset {
    /// A data set for classification. The number of classes is the largest label plus 1.
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::check`].
    pub fn new(features: Vec<f32>, width: usize, labels: Vec<u32>) -> Result<Self> {
        let classes = labels.iter().max().map_or(1, |&label| (label as usize).saturating_add(1));
        let data = Self { features, width, labels, classes, ..Self::default() };
        data.check()?;
        Ok(data)
    }

    /// A data set for regression: each row has `target_width` numbers to predict.
    ///
    /// # Errors
    ///
    /// Those of [`Dataset::check`].
    pub fn regression(features: Vec<f32>, width: usize, targets: Vec<f32>, target_width: usize) -> Result<Self> {
        let data = Self { features, width, targets, target_width, ..Self::default() };
        data.check()?;
        Ok(data)
    }

    /// Whether rows have numbers to predict rather than classes.
    pub fn is_regression(&self) -> bool {
        self.target_width > 0
    }

    /// Checks that the fields fit each other.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] without rows, [`Error::Shape`] if features or targets do not fill the rows, the dimensions of a row
    /// have another product than its width, or the names are not one per class, [`Error::Conflict`] if rows have classes and
    /// numbers to be predicted, [`Error::Setting`] for a width of 0, too many classes, a label that is no class, and a feature
    /// or target that is not finite, with its row and column, counted from 0.
    pub fn check(&self) -> Result<()> {
        range::require(self.width > 0, "width", self.width, "at least 1")?;
        if self.labels.is_empty() && self.targets.is_empty() {
            return Err(Error::Empty { what: "the data set".into() });
        }
        if self.is_regression() {
            self.check_targets()?;
        } else {
            self.check_labels()?;
        }
        let area = self.shape.iter().try_fold(1, |area: usize, &size| area.checked_mul(size));
        if !self.shape.is_empty() && area != Some(self.width) {
            let expected = format!("dimensions whose product is {}, the features of a row", self.width);
            return Err(Error::shape("shape of a row", expected, format!("{:?}", self.shape)));
        }
        if self.rows().checked_mul(self.width) != Some(self.features.len()) {
            let expected = format!("{} rows × {}", self.rows(), self.width);
            return Err(Error::shape("features", expected, self.features.len()));
        }
        check_finite("features", &self.features, self.width)
    }

    fn check_labels(&self) -> Result<()> {
        if !self.targets.is_empty() {
            return Err(Error::setting("target_width", 0, "at least 1 where there are targets"));
        }
        let classes = (1..=MAX_CLASSES).contains(&self.classes);
        range::require(classes, "classes", self.classes, &format!("1 to {MAX_CLASSES}"))?;
        if !self.class_names.is_empty() && self.class_names.len() != self.classes {
            return Err(Error::shape("class names", self.classes, self.class_names.len()));
        }
        match self.labels.iter().position(|&label| label as usize >= self.classes) {
            Some(i) => {
                Err(Error::setting(&format!("labels[{i}]"), self.labels[i], &format!("below classes = {}", self.classes)))
            }
            None => Ok(()),
        }
    }

    fn check_targets(&self) -> Result<()> {
        if !self.labels.is_empty() {
            return Err(Error::conflict("labels", "targets", "a row has a class or numbers to be predicted"));
        }
        if !self.targets.len().is_multiple_of(self.target_width) {
            let expected = format!("rows of {}", self.target_width);
            return Err(Error::shape("targets", expected, self.targets.len()));
        }
        check_finite("targets", &self.targets, self.target_width)
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.targets.len().checked_div(self.target_width).unwrap_or(self.labels.len())
    }

    /// The numbers to predict in row `i`, if there is such a row.
    pub fn target(&self, i: usize) -> Option<&[f32]> {
        let start = i.checked_mul(self.target_width)?;
        self.targets.get(start..start.checked_add(self.target_width)?)
    }

    /// The features of row `i`, if there is such a row.
    pub fn row(&self, i: usize) -> Option<&[f32]> {
        let start = i.checked_mul(self.width)?;
        self.features.get(start..start.checked_add(self.width)?)
    }

    /// Splits into a training and a test part, both shuffled by `seed`.
    ///
    /// Each class gives `test_fraction` of its rows to the test part, to the nearest row; a tie goes to the training part. Both
    /// parts keep the number and names of the classes. For regression, all rows count as one class.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::data::Dataset;
    ///
    /// let data = Dataset::new((0..10).map(|i| i as f32).collect(), 1, vec![0, 1, 0, 1, 0, 1, 0, 1, 0, 1])?;
    /// let (train, test) = data.split(0.2, 7)?;
    /// assert_eq!((train.rows(), test.rows()), (8, 2));
    /// assert_ne!(test.labels[0], test.labels[1]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] unless `test_fraction` is above 0 and below 1, [`Error::Empty`] if a part would get no rows,
    /// and those of [`Dataset::check`].
    pub fn split(&self, test_fraction: f64, seed: u64) -> Result<(Dataset, Dataset)> {
        let [train, test] = self.parts(test_fraction, seed)?;
        Ok((self.select(&train), self.select(&test)))
    }

    /// The rows of the training and the test part.
    fn parts(&self, test_fraction: f64, seed: u64) -> Result<[Vec<usize>; 2]> {
        let open = test_fraction > 0.0 && test_fraction < 1.0;
        range::require(open, "test_fraction", test_fraction, "above 0 and below 1")?;
        self.check()?;

        let mut order: Vec<usize> = (0..self.rows()).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut order);
        // Rows are taken in shuffled order until each class has given its share, so that neither part is sorted by class.
        let mut share = self.test_share(test_fraction);
        let (test, train): (Vec<usize>, Vec<usize>) = order.into_iter().partition(|&i| {
            let left = &mut share[self.class_of(i)];
            let taken = *left > 0;
            *left -= usize::from(taken);
            taken
        });
        for (part, rows) in [("training", &train), ("test", &test)] {
            if rows.is_empty() {
                let what = format!("the {part} part of {} rows at test_fraction = {test_fraction}", self.rows());
                return Err(Error::Empty { what });
            }
        }
        Ok([train, test])
    }

    /// The class of a row; 0 where rows have none.
    fn class_of(&self, row: usize) -> usize {
        self.labels.get(row).map_or(0, |&label| label as usize)
    }

    /// Rows that each class gives to the test part.
    fn test_share(&self, test_fraction: f64) -> Vec<usize> {
        let mut share = vec![0; self.classes.max(1)];
        for row in 0..self.rows() {
            share[self.class_of(row)] += 1;
        }
        for rows in &mut share {
            *rows = (*rows as f64 * test_fraction - 0.5).ceil() as usize;
        }
        share
    }

    /// The rows of these numbers in this order, such as those of a [`Fold`]; a number may appear more than once, as in a
    /// bootstrap.
    ///
    /// Number and names of the classes stay.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::data::{Dataset, KFold};
    ///
    /// let data = Dataset::new((0..12).map(|i| i as f32).collect(), 2, vec![0, 1, 0, 1, 0, 1])?;
    /// for fold in (KFold { folds: 3, ..Default::default() }).stratified(&data.labels)? {
    ///     let (train, validation) = (data.rows_at(&fold.train)?, data.rows_at(&fold.validation)?);
    ///     assert_eq!((train.rows(), validation.labels), (4, vec![0, 1]));
    /// }
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Setting`] for a number that is not a row, [`Error::Empty`] for no numbers, and those of [`Dataset::check`].
    pub fn rows_at(&self, rows: &[usize]) -> Result<Dataset> {
        self.check()?;
        if rows.is_empty() {
            return Err(Error::Empty { what: "the list of rows".into() });
        }
        match rows.iter().position(|&row| row >= self.rows()) {
            Some(i) => {
                Err(Error::setting(&format!("rows[{i}]"), rows[i], &format!("below {}, the number of rows", self.rows())))
            }
            None => Ok(self.select(rows)),
        }
    }

    fn select(&self, rows: &[usize]) -> Dataset {
        let mut features = Vec::with_capacity(rows.len() * self.width);
        for &i in rows {
            features.extend_from_slice(self.row(i).unwrap_or_default());
        }
        Dataset {
            features,
            width: self.width,
            shape: self.shape.clone(),
            labels: rows.iter().filter_map(|&i| self.labels.get(i).copied()).collect(),
            classes: self.classes,
            class_names: self.class_names.clone(),
            targets: rows.iter().filter_map(|&i| self.target(i)).flatten().copied().collect(),
            target_width: self.target_width,
        }
    }
}

/// Whether all numbers of a table are finite.
fn check_finite(what: &str, values: &[f32], width: usize) -> Result<()> {
    match values.iter().position(|x| !x.is_finite()) {
        Some(i) => Err(Error::setting(&format!("{what}[row {}, column {}]", i / width, i % width), values[i], "finite")),
        None => Ok(()),
    }
}
