//! Probabilities of classes: of one model, the mean of several, and how far they can be trusted.

use crate::data::Fold;
use crate::error::{Error, Result, range};
use crate::rule::Real;

/// The probability of each class for some rows.
///
/// # Examples
///
/// ```
/// use thalweg::train::Probabilities;
///
/// let sure = Probabilities::of_logits(&[4.0_f32, 0.0, 4.0, 0.0], 2)?;
/// let other = Probabilities::of_logits(&[1.0_f32, 0.0, 0.0, 1.0], 2)?;
/// let both = Probabilities::mean(&[sure.clone(), other])?;
/// assert_eq!(both.accuracy(&[0, 0])?, 1.0);
/// // Where both are right they are less sure together than the surer one; where one is wrong, much less.
/// assert!(both.row(0)[0] < sure.row(0)[0] && both.row(1)[0] < both.row(0)[0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Probabilities {
    values: Vec<f64>,
    classes: usize,
}

impl Probabilities {
    /// The softmax of logits, row after row, such as those of [`Trainer::predict`](crate::Trainer::predict).
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] if the logits do not fill rows, [`Error::Setting`] for no classes and for a logit that is not finite.
    pub fn of_logits<F: Real>(logits: &[F], classes: usize) -> Result<Self> {
        range::require(classes > 0, "classes", classes, "at least 1")?;
        if !logits.len().is_multiple_of(classes) {
            return Err(Error::shape("logits", format!("rows of {classes}"), logits.len()));
        }
        let mut values: Vec<f64> = logits.iter().map(|logit| logit.as_f64()).collect();
        if let Some(i) = values.iter().position(|logit| !logit.is_finite()) {
            let place = format!("logit of class {} in row {}", i % classes, i / classes);
            return Err(Error::setting(&place, values[i], "finite"));
        }
        for row in values.chunks_exact_mut(classes) {
            let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            row.iter_mut().for_each(|logit| *logit = (*logit - largest).exp());
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|share| *share /= sum);
        }
        Ok(Self { values, classes })
    }

    /// The mean over several models: an ensemble.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] without models, [`Error::Shape`] if they have not as many rows and classes.
    pub fn mean(models: &[Self]) -> Result<Self> {
        let Some(first) = models.first() else { return Err(Error::Empty { what: "the ensemble".into() }) };
        let shape = |model: &Self| format!("{} rows of {}", model.rows(), model.classes);
        if let Some(other) = models.iter().find(|model| shape(model) != shape(first)) {
            return Err(Error::shape("probabilities of a model", shape(first), shape(other)));
        }
        let sum = |i: usize| models.iter().map(|model| model.values[i]).sum::<f64>();
        let values = (0..first.values.len()).map(|i| sum(i) / models.len() as f64).collect();
        Ok(Self { values, classes: first.classes })
    }

    /// Joins the folds: each of `rows` rows gets the probabilities of the model that was not trained on it.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] without folds, [`Error::Shape`] if a fold's probabilities are not those of its validation rows or have
    /// other classes, and [`Error::Setting`] for a row that is not below `rows`, that is in no fold, or that is in two.
    pub fn out_of_fold(rows: usize, folds: &[(&Fold, Self)]) -> Result<Self> {
        let Some((_, first)) = folds.first() else { return Err(Error::Empty { what: "the list of folds".into() }) };
        let classes = first.classes;
        let mut values = vec![f64::NAN; rows * classes];
        let mut seen = vec![false; rows];
        for (fold, own) in folds {
            let shape = |rows: usize, classes: usize| format!("{rows} rows of {classes}");
            if (own.rows(), own.classes) != (fold.validation.len(), classes) {
                let expected = shape(fold.validation.len(), classes);
                return Err(Error::shape("probabilities of a fold", expected, shape(own.rows(), own.classes)));
            }
            for (i, &row) in fold.validation.iter().enumerate() {
                let free = seen.get(row).is_some_and(|seen| !seen);
                range::require(free, "row of a fold", row, &format!("below {rows} and in one fold only"))?;
                seen[row] = true;
                values[row * classes..][..classes].copy_from_slice(own.row(i));
            }
        }
        match seen.iter().position(|seen| !seen) {
            Some(row) => Err(Error::setting("row", row, "in one of the folds")),
            None => Ok(Self { values, classes }),
        }
    }

    /// Rows.
    pub fn rows(&self) -> usize {
        self.values.len() / self.classes
    }

    /// Classes.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The probabilities of a row; empty for a row that does not exist.
    pub fn row(&self, row: usize) -> &[f64] {
        self.values.get(row * self.classes..(row + 1) * self.classes).unwrap_or_default()
    }

    /// The most probable class of each row, the first of equals.
    pub fn predicted(&self) -> Vec<u32> {
        self.tops().map(|(class, _)| class as u32).collect()
    }

    /// The most probable class of each row and its probability.
    fn tops(&self) -> impl Iterator<Item = (usize, f64)> {
        self.values.chunks_exact(self.classes).map(|row| {
            let larger =
                |best: (usize, f64), (class, &share): (usize, &f64)| if share > best.1 { (class, share) } else { best };
            row.iter().enumerate().fold((0, f64::NEG_INFINITY), larger)
        })
    }

    /// The fraction of rows whose most probable class is their label.
    ///
    /// # Errors
    ///
    /// [`Error::Shape`] unless there is a label for each row, [`Error::Setting`] for one that is no class, [`Error::Empty`]
    /// without rows.
    pub fn accuracy(&self, labels: &[u32]) -> Result<f64> {
        self.check(labels)?;
        let hits = self.tops().zip(labels).filter(|((class, _), label)| *class == **label as usize).count();
        Ok(hits as f64 / labels.len() as f64)
    }

    /// The mean of −ln of the label's probability: the cross-entropy. Probabilities below 1e-15 count as 1e-15.
    ///
    /// # Errors
    ///
    /// Those of [`Probabilities::accuracy`].
    pub fn log_loss(&self, labels: &[u32]) -> Result<f64> {
        self.check(labels)?;
        let loss = |(row, &label): (&[f64], &u32)| -row[label as usize].max(1e-15).ln();
        Ok(self.values.chunks_exact(self.classes).zip(labels).map(loss).sum::<f64>() / labels.len() as f64)
    }

    /// The Brier score: the mean over rows of Σ (probability − 1 for the label, else 0)².
    ///
    /// # Errors
    ///
    /// Those of [`Probabilities::accuracy`].
    pub fn brier(&self, labels: &[u32]) -> Result<f64> {
        self.check(labels)?;
        let score = |(row, &label): (&[f64], &u32)| {
            let distance = |(class, share): (usize, &f64)| (share - f64::from(class == label as usize)).powi(2);
            row.iter().enumerate().map(distance).sum::<f64>()
        };
        Ok(self.values.chunks_exact(self.classes).zip(labels).map(score).sum::<f64>() / labels.len() as f64)
    }

    /// The expected calibration error (Guo et al. 2017): rows are put into bins of equal width by the probability of their most
    /// probable class, p ∈ (k/n, (k + 1)/n] into bin k; the error is the mean over rows of |accuracy of the bin − mean
    /// probability of the bin|. It is 0 for a model that is right as often as it says. 15 bins are usual.
    ///
    /// # Errors
    ///
    /// Those of [`Probabilities::accuracy`], and [`Error::Setting`] for no bins.
    pub fn calibration_error(&self, labels: &[u32], bins: usize) -> Result<f64> {
        self.check(labels)?;
        range::require(bins > 0, "bins", bins, "at least 1")?;
        let mut sums = vec![0.0; bins];
        for ((class, share), &label) in self.tops().zip(labels) {
            let bin = ((share * bins as f64).ceil() as usize).clamp(1, bins) - 1;
            sums[bin] += f64::from(class == label as usize) - share;
        }
        Ok(sums.iter().map(|sum| sum.abs()).sum::<f64>() / labels.len() as f64)
    }

    fn check(&self, labels: &[u32]) -> Result<()> {
        if labels.is_empty() {
            return Err(Error::Empty { what: "the list of labels".into() });
        }
        if labels.len() != self.rows() {
            return Err(Error::shape("labels", self.rows(), labels.len()));
        }
        match labels.iter().find(|&&label| label as usize >= self.classes) {
            Some(label) => Err(Error::setting("label", label, &format!("below {}", self.classes))),
            None => Ok(()),
        }
    }
}
