//! What is measured over rows.

use super::task::{Columns, Scores};
use crate::error::{Error, Result};

/// Loss and scores of one lane over the rows of an epoch or of a data set.
///
/// A score that the task does not measure is `None`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// The mean loss; with weights Σ w·l / Σ w.
    pub loss: f64,
    /// Classification: the fraction of rows whose largest logit is their label's.
    pub accuracy: Option<f64>,
    /// Classification, where [`Task::top`](super::Task::top) asks for it: the fraction of rows whose label's logit is among the
    /// largest.
    pub top: Option<f64>,
    /// Regression: 1 − Σ (prediction − target)² / Σ (target − mean)², the mean over outputs. For constant targets it is 1 if
    /// all predictions are right, else 0. As scikit-learn's `r2_score`.
    pub r2: Option<f64>,
    /// Regression: the mean absolute error.
    pub mae: Option<f64>,
    /// Regression: the root of the mean squared error, the mean over outputs.
    pub rmse: Option<f64>,
}

/// A number of [`Metrics`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Metric {
    /// [`Metrics::loss`].
    #[default]
    Loss,
    /// [`Metrics::accuracy`].
    Accuracy,
    /// [`Metrics::top`].
    Top,
    /// [`Metrics::r2`].
    R2,
    /// [`Metrics::mae`].
    Mae,
    /// [`Metrics::rmse`].
    Rmse,
}

impl Metric {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Loss, "loss"),
        (Self::Accuracy, "accuracy"),
        (Self::Top, "top"),
        (Self::R2, "r2"),
        (Self::Mae, "mae"),
        (Self::Rmse, "rmse"),
    ];

    /// The metric of that name.
    ///
    /// # Errors
    /// [`Error::Unknown`], with the nearest.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::train::Metric;
    ///
    /// assert_eq!(Metric::by_name("r2")?, Metric::R2);
    /// assert!(Metric::by_name("acuracy").unwrap_err().to_string().contains("accuracy"));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn by_name(name: &str) -> Result<Self> {
        let known = Self::ALL.map(|(_, name)| name);
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(metric, _)| *metric).ok_or_else(|| Error::unknown("metric", name, &known))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].1
    }

    /// Whether a large value is good.
    pub fn is_gain(self) -> bool {
        matches!(self, Self::Accuracy | Self::Top | Self::R2)
    }

    /// Its value.
    ///
    /// # Errors
    /// [`Error::Setting`] where the task does not measure it.
    pub fn of(self, metrics: &Metrics) -> Result<f64> {
        let value = match self {
            Self::Loss => Some(metrics.loss),
            Self::Accuracy => metrics.accuracy,
            Self::Top => metrics.top,
            Self::R2 => metrics.r2,
            Self::Mae => metrics.mae,
            Self::Rmse => metrics.rmse,
        };
        value.ok_or_else(|| Error::setting("metric", self.name(), "one that the task measures"))
    }
}

impl Metrics {
    /// From the sums over `rows` rows, whose targets have these variances.
    pub(super) fn of(columns: Columns, sums: &[f64], rows: usize, variances: &[f64]) -> Self {
        let rows = rows.max(1) as f64;
        let (loss, rest) = (sums[0], &sums[1..]);
        let (weight, rest) = if columns.weighted { (rest[0], &rest[1..]) } else { (rows, rest) };
        let none = Self { loss: loss / weight, ..Self::default() };
        match columns.scores {
            Scores::Nothing => none,
            Scores::Classes { top } => Self { accuracy: Some(rest[0] / rows), top: top.then(|| rest[1] / rows), ..none },
            Scores::Numbers { outputs } => {
                let mean = |terms: &mut dyn Iterator<Item = f64>| terms.sum::<f64>() / outputs.max(1) as f64;
                let (squares, distances) = rest.split_at(outputs);
                let r2 = mean(&mut squares.iter().zip(variances).map(|(sum, &variance)| r2(sum / rows, variance)));
                let rmse = mean(&mut squares.iter().map(|sum| (sum / rows).sqrt()));
                let mae = mean(&mut distances.iter().map(|sum| sum / rows));
                Self { r2: Some(r2), mae: Some(mae), rmse: Some(rmse), ..none }
            }
        }
    }
}

fn r2(error: f64, variance: f64) -> f64 {
    match variance == 0.0 {
        true if error == 0.0 => 1.0,
        true => 0.0,
        false => 1.0 - error / variance,
    }
}

/// How often each class was predicted for the rows of each class.
///
/// # Examples
///
/// ```
/// use thalweg::train::Confusion;
///
/// let confusion = Confusion::of(&[0, 0, 1, 1, 1], &[0, 1, 1, 1, 0], 2)?;
/// assert_eq!(confusion.counts, [[1, 1], [1, 2]]);
/// assert_eq!(confusion.accuracy(), 0.6);
/// assert_eq!(confusion.precision(1), 2.0 / 3.0);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Confusion {
    /// By class of the row, then by predicted class.
    pub counts: Vec<Vec<u64>>,
}

impl Confusion {
    /// Counts pairs of a row's class and what was predicted for it.
    ///
    /// # Errors
    /// [`Error::Shape`] if there are not as many predictions as labels, [`Error::Setting`] for a class that is not below
    /// `classes`.
    pub fn of(labels: &[u32], predicted: &[u32], classes: usize) -> Result<Self> {
        if labels.len() != predicted.len() {
            return Err(Error::shape("predictions", labels.len(), predicted.len()));
        }
        let mut counts = vec![vec![0; classes]; classes];
        for (&label, &found) in labels.iter().zip(predicted) {
            if let Some(wrong) = [label, found].into_iter().find(|&class| class as usize >= classes) {
                return Err(Error::setting("class", wrong, &format!("below {classes}")));
            }
            counts[label as usize][found as usize] += 1;
        }
        Ok(Self { counts })
    }

    fn of_class(&self, class: usize) -> [u64; 3] {
        let hits = self.counts[class][class];
        let predicted = self.counts.iter().map(|row| row[class]).sum();
        [hits, predicted, self.counts[class].iter().sum()]
    }

    /// The fraction of rows that are right; 0 without rows.
    pub fn accuracy(&self) -> f64 {
        let hits = (0..self.counts.len()).map(|class| self.counts[class][class]).sum();
        fraction(hits, self.counts.iter().flatten().sum())
    }

    /// Of the rows for which the class was predicted, the fraction that have it; 0 if it was never predicted.
    pub fn precision(&self, class: usize) -> f64 {
        let [hits, predicted, _] = self.of_class(class);
        fraction(hits, predicted)
    }

    /// Of the rows that have the class, the fraction for which it was predicted; 0 if no row has it.
    pub fn recall(&self, class: usize) -> f64 {
        let [hits, _, rows] = self.of_class(class);
        fraction(hits, rows)
    }

    /// The harmonic mean of precision and recall; 0 if no row has the class and it was never predicted.
    pub fn f1(&self, class: usize) -> f64 {
        let [hits, predicted, rows] = self.of_class(class);
        fraction(2 * hits, predicted + rows)
    }

    /// The mean of [`Confusion::f1`] over the classes: `macro` of scikit-learn.
    pub fn macro_f1(&self) -> f64 {
        let classes = self.counts.len();
        (0..classes).map(|class| self.f1(class)).sum::<f64>() / classes.max(1) as f64
    }
}

fn fraction(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}
