//! What is measured over rows, of models that learn classes and of models that learn numbers.

use serde_json::{Value, json};
use thalweg::Metrics;
use thalweg::data::Dataset;
use thalweg::train::{Metric, Probabilities};

/// What a run learns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    Classes,
    Numbers,
}

/// What was measured over rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Score {
    /// Of classes the cross-entropy, of numbers the mean squared error.
    pub loss: f64,
    /// The accuracy, or R². The higher, the better.
    pub quality: f64,
    /// The mean absolute error; NaN for classes.
    pub mae: f64,
}

impl Aim {
    pub fn of(data: &Dataset) -> Self {
        if data.is_regression() { Self::Numbers } else { Self::Classes }
    }

    /// Its task.
    pub fn task(self) -> &'static str {
        match self {
            Self::Classes => "classification",
            Self::Numbers => "regression",
        }
    }

    /// Numbers that the last layer gives for a row of such data.
    pub fn outputs(data: &Dataset) -> usize {
        if data.is_regression() { data.target_width } else { data.classes }
    }

    /// The numbers of a score.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Classes => &["loss", "accuracy"],
            Self::Numbers => &["loss", "r2", "mae"],
        }
    }

    /// The metric of [`Score::quality`].
    pub fn metric(self) -> Metric {
        match self {
            Self::Classes => Metric::Accuracy,
            Self::Numbers => Metric::R2,
        }
    }

    /// A quality for people, with its name.
    pub fn said(self, quality: f64) -> String {
        match self {
            Self::Classes => format!("accuracy {:.2} %", 100.0 * quality),
            Self::Numbers => format!("R² {quality:.4}"),
        }
    }
}

impl From<Metrics> for Score {
    fn from(metrics: Metrics) -> Self {
        match (metrics.accuracy, metrics.r2, metrics.rmse) {
            (None, Some(r2), Some(rmse)) => {
                // The loss may be that of standardised numbers; errors are in the units of the data.
                Self { loss: rmse * rmse, quality: r2, mae: metrics.mae.unwrap_or(f64::NAN) }
            }
            (accuracy, ..) => Self { loss: metrics.loss, quality: accuracy.unwrap_or(f64::NAN), mae: f64::NAN },
        }
    }
}

impl Score {
    /// Of what a model says about rows: logits, or numbers in the units of the data.
    pub fn of(outputs: &[f32], data: &Dataset) -> thalweg::Result<Self> {
        if data.is_regression() { Ok(Self::of_numbers(outputs, &data.targets)) } else { Self::of_logits(outputs, data) }
    }

    fn of_logits(logits: &[f32], data: &Dataset) -> thalweg::Result<Self> {
        let said = Probabilities::of_logits(logits, data.classes)?;
        Ok(Self { loss: log_loss(logits, data), quality: said.accuracy(&data.labels)?, mae: f64::NAN })
    }

    fn of_numbers(outputs: &[f32], targets: &[f32]) -> Self {
        let rows = targets.len().max(1) as f64;
        let mean = targets.iter().map(|&x| f64::from(x)).sum::<f64>() / rows;
        let sum = |of: &dyn Fn(f64, f64) -> f64| {
            outputs.iter().zip(targets).map(|(&y, &x)| of(f64::from(y), f64::from(x))).sum::<f64>() / rows
        };
        let (loss, variance) = (sum(&|y, x| (y - x).powi(2)), sum(&|_, x| (x - mean).powi(2)));
        let quality = match variance > 0.0 {
            true => 1.0 - loss / variance,
            // As the library and scikit-learn have it.
            false => f64::from(u8::from(loss == 0.0)),
        };
        Self { loss, quality, mae: sum(&|y, x| (y - x).abs()) }
    }

    /// Its numbers, in the order of [`Aim::names`].
    pub fn values(&self, aim: Aim) -> Vec<f64> {
        match aim {
            Aim::Classes => vec![self.loss, self.quality],
            Aim::Numbers => vec![self.loss, self.quality, self.mae],
        }
    }

    /// From its numbers.
    pub fn of_values(values: &[f64]) -> Self {
        let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
        Self { loss: at(0), quality: at(1), mae: at(2) }
    }

    /// For people.
    pub fn said(&self, aim: Aim) -> String {
        match aim {
            Aim::Classes => format!("loss {:.4}, accuracy {:.2} %", self.loss, 100.0 * self.quality),
            Aim::Numbers => {
                let [loss, mae] = [self.loss, self.mae].map(crate::data::short);
                format!("mean squared error {loss}, mean absolute error {mae}, R² {:.4}", self.quality)
            }
        }
    }

    /// For programs: its numbers with something before their names.
    pub fn put(&self, aim: Aim, prefix: &str, into: &mut Value) {
        for (name, value) in aim.names().iter().zip(self.values(aim)) {
            into[format!("{prefix}{name}")] = json!(value);
        }
    }
}

/// The mean cross-entropy, also where a label's probability is too small for a number.
fn log_loss(logits: &[f32], data: &Dataset) -> f64 {
    let of_row = |(logits, label): (&[f32], &u32)| {
        let largest = logits.iter().fold(f64::NEG_INFINITY, |largest, &x| largest.max(x.into()));
        let sum: f64 = logits.iter().map(|&x| (f64::from(x) - largest).exp()).sum();
        largest + sum.ln() - logits.get(*label as usize).map_or(f64::NAN, |&own| f64::from(own))
    };
    let rows = logits.chunks_exact(data.classes.max(1)).zip(&data.labels);
    rows.map(of_row).sum::<f64>() / data.labels.len().max(1) as f64
}

/// The place of the first largest logit; NaN is larger than all numbers.
pub fn class(logits: &[f32]) -> usize {
    let larger = |best: usize, at: usize| logits[at] > logits[best] || logits[at].is_nan() && !logits[best].is_nan();
    (1..logits.len()).fold(0, |best, at| if larger(best, at) { at } else { best })
}

/// The numbers of an epoch, in the order in which tables and files have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measures {
    pub aim: Aim,
    /// Whether rows of the training part validate; else the test rows do.
    pub validates: bool,
}

impl Measures {
    /// What the rows are called that are looked at after each epoch.
    pub fn held(self) -> &'static str {
        if self.validates { "val" } else { "test" }
    }

    /// The same for people.
    pub fn held_words(self) -> &'static str {
        if self.validates { "validation" } else { "test" }
    }

    /// Names of the columns of an epoch.
    pub fn columns(self) -> Vec<String> {
        let scores = ["train", self.held()].map(|part| self.aim.names().iter().map(move |name| format!("{part}_{name}")));
        let scores = scores.into_iter().flatten();
        std::iter::once("epoch".into()).chain(scores).chain(["steps".into(), "seconds".into()]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_numbers_are_what_scikit_learn_has() {
        let data = Dataset::regression(vec![0.0; 4], 1, vec![3.0, -0.5, 2.0, 7.0], 1).expect("data");
        let score = Score::of(&[2.5, 0.0, 2.0, 8.0], &data).expect("a score");
        // r2_score, mean_squared_error and mean_absolute_error of the same numbers.
        assert!((score.quality - 0.9486081370449679).abs() < 1e-12, "{score:?}");
        assert_eq!((score.loss, score.mae), (0.375, 0.5));
        let same = Dataset::regression(vec![0.0; 2], 1, vec![1.0; 2], 1).expect("data");
        assert_eq!(Score::of(&[1.0, 1.0], &same).expect("a score").quality, 1.0);
        assert_eq!(Score::of(&[1.0, 2.0], &same).expect("a score").quality, 0.0);
    }

    #[test]
    fn a_certain_mistake_has_a_finite_loss() {
        let data = Dataset::new(vec![0.0; 2], 1, vec![0, 1]).expect("data");
        let score = Score::of(&[0.0, 2000.0, 0.0, 1.0], &data).expect("a score");
        assert!((score.loss - (2000.0 + (1.0 + 1f64.exp()).ln() - 1.0) / 2.0).abs() < 1e-9, "{score:?}");
        assert_eq!(score.quality, 0.5);
    }

    #[test]
    fn columns_are_those_of_the_task() {
        let of = |aim, validates| Measures { aim, validates }.columns().join(",");
        assert_eq!(of(Aim::Classes, false), "epoch,train_loss,train_accuracy,test_loss,test_accuracy,steps,seconds");
        assert_eq!(of(Aim::Numbers, true), "epoch,train_loss,train_r2,train_mae,val_loss,val_r2,val_mae,steps,seconds");
    }
}
