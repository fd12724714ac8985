//! Losses: terms of each sample or element, and how they become one number.

use super::{Init, Tape, Value};
use crate::error::Error;
use crate::op::Expr;

/// The terms of a loss.
#[derive(Debug, Clone)]
pub struct Terms {
    /// One loss per sample or element, with its weight in it.
    pub losses: Value,
    /// The weights, of the same shape, where they are not all 1: the mean divides by their sum.
    pub weights: Option<Value>,
}

/// A loss between a prediction and a target.
///
/// # Examples
///
/// ```
/// use thalweg::nn::{Criterion, SquaredError, Tape};
///
/// let mut tape = Tape::training();
/// let (prediction, target) = (tape.constant(&[4, 1], 1.0), tape.constant(&[4, 1], 3.0));
/// let loss = SquaredError.mean(&mut tape, &prediction, &target);
/// assert_eq!(loss.shape(), [0_usize; 0]);
/// ```
pub trait Criterion: std::fmt::Debug {
    /// The terms of all samples.
    fn terms(&self, tape: &mut Tape, prediction: &Value, target: &Value) -> Terms;

    /// The mean of all terms; with weights Σ w·l / Σ w, as PyTorch's cross-entropy has it.
    fn mean(&self, tape: &mut Tape, prediction: &Value, target: &Value) -> Value {
        self.terms(tape, prediction, target).mean()
    }

    /// The sum of all terms.
    fn sum(&self, tape: &mut Tape, prediction: &Value, target: &Value) -> Value {
        self.terms(tape, prediction, target).losses.sum(&[])
    }

    /// The mean where each sample (place of the first dimension) has a weight: Σ w·l / Σ w over all terms.
    fn weighted_mean(&self, tape: &mut Tape, prediction: &Value, target: &Value, weights: &Value) -> Value {
        self.terms(tape, prediction, target).weighted(tape, weights).mean()
    }
}

impl Terms {
    /// The mean over all terms.
    pub fn mean(&self) -> Value {
        match &self.weights {
            None => self.losses.mean(&[]),
            Some(weights) => &self.losses.sum(&[]) / &weights.sum(&[]),
        }
    }

    /// With a further weight for each sample.
    pub fn weighted(&self, tape: &mut Tape, weights: &Value) -> Self {
        let count = self.losses.shape().len();
        if weights.shape().len() != 1 || count == 0 || weights.shape()[0] != self.losses.shape()[0] {
            let found = format!("{:?}", weights.shape());
            let failed =
                tape.fail(Error::shape("weights of samples", format!("one per sample of {:?}", self.losses.shape()), found));
            return Self { losses: failed, weights: None };
        }
        let mut shape = vec![1; count];
        shape[0] = weights.len();
        let weights = weights.reshape(&shape);
        let all = tape.constant(self.losses.shape(), 1.0);
        let before = self.weights.clone().unwrap_or(all);
        Self { losses: &self.losses * &weights, weights: Some(&before * &weights) }
    }
}

/// Terms of each element, after a check of both shapes.
fn of_elements(tape: &mut Tape, prediction: &Value, target: &Value, f: impl FnOnce(Expr, Expr) -> Expr) -> Terms {
    if prediction.shape() != target.shape() {
        let (expected, found) = (format!("{:?}", prediction.shape()), format!("{:?}", target.shape()));
        return Terms { losses: tape.fail(Error::shape("target of the loss", expected, found)), weights: None };
    }
    Terms { losses: tape.map(&[prediction, target], |of| f(of[0].clone(), of[1].clone())), weights: None }
}

/// (x − t)².
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SquaredError;

impl Criterion for SquaredError {
    fn terms(&self, tape: &mut Tape, prediction: &Value, target: &Value) -> Terms {
        of_elements(tape, prediction, target, |x, t| (x - t).square())
    }
}

/// |x − t|.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbsoluteError;

impl Criterion for AbsoluteError {
    fn terms(&self, tape: &mut Tape, prediction: &Value, target: &Value) -> Terms {
        of_elements(tape, prediction, target, |x, t| (x - t).abs())
    }
}

/// d²/2 up to |d| = δ, and δ(|d| − δ/2) beyond, with d = x − t.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Huber {
    /// Above 0; PyTorch's default is 1.
    pub delta: f64,
}

impl Criterion for Huber {
    fn terms(&self, tape: &mut Tape, prediction: &Value, target: &Value) -> Terms {
        let delta = self.delta;
        of_elements(tape, prediction, target, |x, t| {
            let distance = (x - t).abs();
            let near = 0.5 * distance.clone().square();
            distance.clone().less_equal(delta).select(near, delta * (distance - 0.5 * delta))
        })
    }
}

/// Cross-entropy of whole-numbered labels: −ln softmax(x)\[label\] along the last dimension. The target is an input of indices
/// whose shape is that of the logits without the last dimension.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CrossEntropy {
    /// Label smoothing ε: the loss is (1 − ε)·term of the label + ε·mean of the terms of all classes. Default 0.
    pub smoothing: f64,
    /// A weight per class; the mean divides by the sum of the labels' weights.
    pub class_weights: Option<Vec<f64>>,
    /// Samples with this label are ignored. Default: none.
    pub ignored: Option<u32>,
}

impl Criterion for CrossEntropy {
    fn terms(&self, tape: &mut Tape, logits: &Value, labels: &Value) -> Terms {
        let Some((&classes, rows)) = logits.shape().split_last() else {
            return Terms { losses: tape.fail(Error::shape("logits", "a dimension of classes", "none")), weights: None };
        };
        if rows != labels.shape() {
            let failed = Error::shape("labels", format!("{rows:?}"), format!("{:?}", labels.shape()));
            return Terms { losses: tape.fail(failed), weights: None };
        }
        if self.class_weights.as_ref().is_some_and(|weights| weights.len() != classes) {
            let found = self.class_weights.as_ref().map_or(0, Vec::len);
            return Terms { losses: tape.fail(Error::shape("weights of classes", classes, found)), weights: None };
        }
        let last = rows.len();
        let [largest, rest] = logits.log_sum_exp_parts(last);
        let own = tape.places(logits.shape(), last);
        let label = labels.reshape(&[rows, &[1]].concat());
        let is_label = |label: &Expr, own: &Expr| (label.clone() - own.clone()).abs().less(0.5);
        let of_label = tape.map(&[logits, &label, &own], |of| is_label(&of[1], &of[2]).select(of[0].clone(), 0.0)).sum(&[last]);
        let [of_largest, of_rest] = [&largest, &rest].map(|value| value.reshape(rows));
        let weights = self
            .class_weights
            .as_ref()
            .map(|weights| tape.buffer("class_weights", &[classes], Init::Given(weights[..].into())));
        let of_weight = weights.as_ref().map(|weights| {
            tape.map(&[weights, &label, &own], |of| is_label(&of[1], &of[2]).select(of[0].clone(), 0.0)).sum(&[last])
        });
        let smoothing = self.smoothing;
        let mut losses = tape
            .map(&[&of_largest, &of_label, &of_rest], |of| (of[0].clone() - of[1].clone() + of[2].clone()) * (1.0 - smoothing));
        if let Some(weight) = &of_weight {
            losses = &losses * weight;
        }
        if smoothing > 0.0 {
            let terms = tape.map(&[&largest, logits, &rest], |of| of[0].clone() - of[1].clone() + of[2].clone());
            let terms = weights.as_ref().map_or_else(|| terms.clone(), |weights| &terms * weights);
            let all = terms.sum(&[last]);
            losses = tape.map(&[&losses, &all], |of| of[0].clone() + of[1].clone() * (smoothing / classes as f64));
        }
        let Some(ignored) = self.ignored else { return Terms { losses, weights: of_weight } };
        // As a number on the tape, it is rounded by each engine as the labels are.
        let ignored = f64::from(ignored);
        let counts = labels.apply(|label| (label - ignored).abs().less(0.5).select(0.0, 1.0));
        let losses = tape.map(&[&counts, &losses], |of| of[0].clone().select(of[1].clone(), 0.0));
        let weights = of_weight.map_or_else(|| counts.clone(), |weight| &weight * &counts);
        Terms { losses, weights: Some(weights) }
    }
}

/// Binary cross-entropy of logits x and probabilities t: (1 − t)·x + (1 + (p − 1)·t)·ln(1 + e⁻ˣ). As PyTorch's
/// `BCEWithLogitsLoss`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BinaryCrossEntropy {
    /// The weight p of the targets that are 1, PyTorch's `pos_weight`. Default 1.
    pub positive_weight: f64,
}

impl Default for BinaryCrossEntropy {
    fn default() -> Self {
        Self { positive_weight: 1.0 }
    }
}

impl Criterion for BinaryCrossEntropy {
    fn terms(&self, tape: &mut Tape, logits: &Value, target: &Value) -> Terms {
        let more = self.positive_weight - 1.0;
        of_elements(tape, logits, target, |x, t| (1.0 - t.clone()) * x.clone() + (1.0 + more * t) * (-x).softplus())
    }
}

/// t·(ln t − x), where x are logarithms of probabilities and t probabilities; 0 where t is 0. As PyTorch's `KLDivLoss`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KlDivergence;

impl Criterion for KlDivergence {
    fn terms(&self, tape: &mut Tape, logarithms: &Value, target: &Value) -> Terms {
        of_elements(tape, logarithms, target, |x, t| {
            let inside = Expr::number(0.0).less(t.clone());
            inside.clone().select(t.clone() * (inside.select(t, 1.0).ln() - x), 0.0)
        })
    }
}
