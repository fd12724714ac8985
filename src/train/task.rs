//! What is learned: a loss for each row, and the scores that are measured with it.

use crate::data::Dataset;
use crate::error::{Error, Result, range};
use crate::nn::{Criterion, CrossEntropy, SquaredError, Tape, Value};
use std::rc::Rc;

/// What a model is trained for: its loss, and the scores that are measured with it.
///
/// | task | target of a row | output of the model | loss | measured |
/// | --- | --- | --- | --- | --- |
/// | [`Task::classification`] | its class | rows × classes: logits | cross-entropy | accuracy, top-k accuracy if asked for |
/// | [`Task::regression`] | its numbers | as the targets | squared error | R², mean absolute error, root mean squared error |
/// | [`Task::of`] | either | what the loss wants | any [`Criterion`] | nothing more |
///
/// A loss has terms whose first dimension is that of the rows. A step follows [`Terms::mean`](crate::nn::Terms::mean) over its
/// batch.
///
/// # Examples
///
/// ```
/// use thalweg::nn::{CrossEntropy, Huber};
/// use thalweg::train::Task;
///
/// let smooth = Task::classification().criterion(CrossEntropy { smoothing: 0.1, ..Default::default() }).top(5);
/// let robust = Task::regression().criterion(Huber { delta: 1.0 });
/// let own = Task::of(Huber { delta: 0.5 });
/// ```
#[derive(Debug, Clone)]
pub struct Task {
    criterion: Rc<dyn Criterion>,
    scores: Kind,
}

/// What is measured beside the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Classes { top: Option<usize> },
    Numbers,
}

impl Task {
    /// Learns classes, by cross-entropy unless another [`Task::criterion`] is set.
    pub fn classification() -> Self {
        Self { criterion: Rc::new(CrossEntropy::default()), scores: Kind::Classes { top: None } }
    }

    /// Learns numbers, by squared error unless another [`Task::criterion`] is set.
    pub fn regression() -> Self {
        Self { criterion: Rc::new(SquaredError), scores: Kind::Numbers }
    }

    /// Learns by any loss, and measures nothing else. The loss is given the output of the model and the targets of the rows:
    /// classes as an input of indices (rows), numbers as rows × numbers.
    pub fn of(criterion: impl Criterion + 'static) -> Self {
        Self { criterion: Rc::new(criterion), scores: Kind::Nothing }
    }

    /// With another loss.
    pub fn criterion(self, criterion: impl Criterion + 'static) -> Self {
        Self { criterion: Rc::new(criterion), ..self }
    }

    /// Also measures the fraction of rows whose class is among the `k` largest logits: fewer than `k` others are larger. For
    /// classification; `k` is at least 1.
    pub fn top(self, k: usize) -> Self {
        let scores = if let Kind::Classes { .. } = self.scores { Kind::Classes { top: Some(k) } } else { self.scores };
        Self { scores, ..self }
    }

    /// Classification where rows have classes, else regression.
    pub(super) fn fitting(data: &Dataset) -> Self {
        if data.is_regression() { Self::regression() } else { Self::classification() }
    }

    /// Whether data have what the task wants, for a model with such an output.
    pub(super) fn check(&self, what: &str, data: &Dataset, output: &[usize]) -> Result<()> {
        let fits = match self.scores {
            Kind::Nothing => return Ok(()),
            Kind::Classes { .. } => !data.is_regression(),
            Kind::Numbers => data.is_regression(),
        };
        let [rows, width] = output else {
            return Err(Error::shape("output of the model", "two dimensions, the first of rows", format!("{output:?}")));
        };
        if !fits {
            let (expected, found) = if data.is_regression() { ("classes", "numbers") } else { ("numbers", "classes") };
            return Err(Error::shape(format!("targets of the {what} data"), expected, found));
        }
        if let Kind::Classes { top } = self.scores {
            range::require(top.is_none_or(|k| k >= 1), "top", top.unwrap_or(0), "at least 1")?;
            return match data.labels.iter().find(|&&label| label as usize >= *width) {
                Some(label) => Err(Error::setting(&format!("label of the {what} data"), label, &format!("below {width}"))),
                None => Ok(()),
            };
        }
        if data.target_width == *width {
            Ok(())
        } else {
            let expected = format!("[{rows}, {}], as the {what} data have targets", data.target_width);
            Err(Error::shape("output of the model", expected, format!("{output:?}")))
        }
    }

    /// Records loss and scores of a batch. Where weights of rows are given, the loss has them; where `present` is given, it is
    /// 1 for rows that hold data, and others count for nothing.
    pub(super) fn measure(
        &self,
        tape: &mut Tape,
        output: &Value,
        target: &Value,
        [weights, present]: [Option<&Value>; 2],
    ) -> Measured {
        let terms = self.criterion.terms(tape, output, target);
        let terms = weights.map_or_else(|| terms.clone(), |weights| terms.weighted(tape, weights));
        let loss = terms.mean();
        let mut columns = vec![per_row(tape, &terms.losses, present)];
        let weighted = terms.weights.is_some();
        columns.extend(terms.weights.as_ref().map(|weights| per_row(tape, weights, present)));
        let scores = match self.scores {
            Kind::Nothing => Scores::Nothing,
            Kind::Classes { top } => {
                columns.push(output.first_max(1).equals(target));
                columns.extend(top.map(|k| among_largest(tape, output, target, k)));
                Scores::Classes { top: top.is_some() }
            }
            Kind::Numbers => {
                let distance = tape.map(&[output, target], |of| of[0].clone() - of[1].clone());
                for of_element in [distance.square(), distance.abs()] {
                    columns.push(only_present(tape, &of_element, present).transpose());
                }
                Scores::Numbers { outputs: output.shape().last().copied().unwrap_or(1) }
            }
        };
        let rows = output.shape().first().copied().unwrap_or(1);
        Measured { loss, values: columns, columns: Columns { weighted, scores }, rows }
    }
}

/// Loss and scores of a batch.
pub(super) struct Measured {
    /// The loss that a step follows.
    pub loss: Value,
    /// The columns; a value holds one of them or several.
    pub values: Vec<Value>,
    pub columns: Columns,
    pub rows: usize,
}

impl Measured {
    /// Whether there is a number for each row in each column.
    pub fn check(&self) -> Result<()> {
        let (found, rows) = (self.values.iter().map(Value::len).sum::<usize>(), self.rows);
        if found == rows * self.columns.count() && self.values[0].len() == rows {
            return Ok(());
        }
        Err(Error::shape("terms of the loss", format!("[{rows}, …]"), format!("{:?}", self.values[0].shape())))
    }
}

/// Which sums are kept over rows, in this order: losses; weights of the losses; then the scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Columns {
    pub weighted: bool,
    pub scores: Scores,
}

/// The columns of scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scores {
    Nothing,
    /// Hits; hits among the largest.
    Classes {
        top: bool,
    },
    /// Squared errors of each output; absolute errors of each output.
    Numbers {
        outputs: usize,
    },
}

impl Columns {
    pub fn count(self) -> usize {
        let scores = match self.scores {
            Scores::Nothing => 0,
            Scores::Classes { top } => 1 + usize::from(top),
            Scores::Numbers { outputs } => 2 * outputs,
        };
        1 + usize::from(self.weighted) + scores
    }
}

/// The mean of a row's terms; 0 for rows that hold no data.
fn per_row(tape: &mut Tape, terms: &Value, present: Option<&Value>) -> Value {
    let axes: Vec<usize> = (1..terms.shape().len()).collect();
    let of_row = if axes.is_empty() { terms.clone() } else { terms.mean(&axes) };
    only_present(tape, &of_row, present)
}

/// 0 for rows that hold no data, whatever stands there.
fn only_present(tape: &mut Tape, x: &Value, present: Option<&Value>) -> Value {
    let Some(present) = present else { return x.clone() };
    let mut shape = vec![1; x.shape().len()];
    if let Some(rows) = shape.first_mut() {
        *rows = present.len();
    }
    let present = present.reshape(&shape);
    tape.map(&[&present, x], |of| of[0].clone().select(of[1].clone(), 0.0))
}

/// 1 where fewer than `k` logits are above that of the label, else 0. NaN counts as above all others.
fn among_largest(tape: &mut Tape, logits: &Value, labels: &Value, k: usize) -> Value {
    let &[rows, classes] = logits.shape() else { return logits.clone() };
    let (own, label) = (tape.places(logits.shape(), 1), labels.reshape(&[rows, 1]));
    let of_label =
        tape.map(&[logits, &label, &own], |of| (of[1].clone() - of[2].clone()).abs().less(0.5).select(of[0].clone(), 0.0));
    let of_label = of_label.sum(&[1]).reshape(&[rows, 1]);
    let at_most = tape.map(&[logits, &of_label], |of| of[0].clone().less_equal(of[1].clone())).sum(&[1]);
    let known = labels.apply(|label| label.less(classes as f64));
    let least = classes as f64 - k.min(classes) as f64 + 0.5;
    tape.map(&[&at_most, &known], |of| of[1].clone() * (crate::op::Expr::number(least).less(of[0].clone())))
}
