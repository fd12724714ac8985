//! Layers that normalise by mean and variance.

use super::{Init, Model, Tape, Value};
use crate::error::Error;

/// Normalises features (the second dimension) by their mean and variance over all other dimensions: those of the batch while
/// training, running ones in evaluation. Parameters `weight` and `bias`, buffers `running_mean` and `running_var`, as PyTorch's
/// `BatchNorm1d`.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm1d {
    /// Elements of the second dimension.
    pub features: usize,
    /// Added to the variance. Default 1e-5.
    pub eps: f64,
    /// The weight of the batch in the running statistics. Default 0.1. (Keras' momentum is 1 minus this.)
    pub momentum: f64,
    /// Whether the running variance takes the batch's variance times n/(n − 1), as in PyTorch. Default true.
    pub unbiased: bool,
    /// Whether there are weight and bias. Default true.
    pub affine: bool,
}

impl BatchNorm1d {
    /// PyTorch's defaults.
    pub fn new(features: usize) -> Self {
        Self { features, eps: 1e-5, momentum: 0.1, unbiased: true, affine: true }
    }

    /// Keras' defaults: ε = 1e-3, momentum 0.99 in its sense, and a running variance without the factor n/(n − 1).
    pub fn keras(features: usize) -> Self {
        Self { eps: 1e-3, momentum: 0.01, unbiased: false, ..Self::new(features) }
    }

    /// Burn's defaults: PyTorch's, but a running variance without the factor n/(n − 1).
    pub fn burn(features: usize) -> Self {
        Self { unbiased: false, ..Self::new(features) }
    }

    /// Mean and variance of the batch; moves the running ones.
    fn of_batch(&self, tape: &mut Tape, x: &Value, running: [&Value; 2]) -> [Value; 2] {
        let axes: Vec<usize> = (0..x.shape().len()).filter(|axis| *axis != 1).collect();
        let [mean, variance] = x.moments(&axes);
        let count = x.len() as f64 / self.features.max(1) as f64;
        let bessel = if self.unbiased { count / (count - 1.0) } else { 1.0 };
        let rate = self.momentum;
        for (running, (new, factor)) in running.into_iter().zip([(&mean, 1.0), (&variance, bessel)]) {
            let flat = new.reshape(&[self.features]);
            let moved = tape.map(&[running, &flat], |of| of[0].clone() * (1.0 - rate) + of[1].clone() * (factor * rate));
            tape.assign(running, &moved);
        }
        [mean, variance]
    }
}

impl Model for BatchNorm1d {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        if x.shape().len() < 2 || x.shape()[1] != self.features {
            let expected = format!("{} features in the second dimension", self.features);
            return tape.fail(Error::shape("input of batch normalisation", expected, format!("{:?}", x.shape())));
        }
        if tape.is_training() && x.len() <= self.features {
            let found = format!("{:?}", x.shape());
            return tape.fail(Error::shape(
                "input of batch normalisation",
                "more than one value per feature while training",
                found,
            ));
        }
        let wide: Vec<usize> = (0..x.shape().len()).map(|d| if d == 1 { self.features } else { 1 }).collect();
        let running_mean = tape.buffer("running_mean", &[self.features], Init::Zeros);
        let running_var = tape.buffer("running_var", &[self.features], Init::Ones);
        let [mean, variance] = if tape.is_training() {
            self.of_batch(tape, x, [&running_mean, &running_var])
        } else {
            [running_mean.reshape(&wide), running_var.reshape(&wide)]
        };
        let own = self.affine.then(|| {
            let weight = tape.parameter("weight", &[self.features], Init::Ones);
            [weight, tape.parameter("bias", &[self.features], Init::Zeros)].map(|value| value.reshape(&wide))
        });
        normalised(tape, x, &mean, &variance, self.eps, own)
    }
}

/// `(x − mean) / √(variance + eps)`, times a weight and plus a bias.
pub(super) fn normalised(
    tape: &mut Tape,
    x: &Value,
    mean: &Value,
    variance: &Value,
    eps: f64,
    own: Option<[Value; 2]>,
) -> Value {
    let scale = variance.apply(|variance| 1.0 / (variance + eps).sqrt());
    match own {
        Some([weight, bias]) => tape.map(&[x, mean, &scale, &weight, &bias], |of| {
            (of[0].clone() - of[1].clone()) * of[2].clone() * of[3].clone() + of[4].clone()
        }),
        None => tape.map(&[x, mean, &scale], |of| (of[0].clone() - of[1].clone()) * of[2].clone()),
    }
}

/// Normalises each sample over its last dimensions, with `weight` and `bias` of their shape, as PyTorch's `LayerNorm`.
#[derive(Debug, Clone, PartialEq)]
pub struct LayerNorm {
    /// The sizes of the last dimensions.
    pub shape: Vec<usize>,
    /// Added to the variance. Default 1e-5.
    pub eps: f64,
    /// Whether there are weight and bias. Default true.
    pub affine: bool,
}

impl LayerNorm {
    /// PyTorch's defaults.
    pub fn new(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), eps: 1e-5, affine: true }
    }
}

/// The last axes of x, if their sizes are `shape`; otherwise it is a mistake that the tape keeps.
fn last_axes(tape: &mut Tape, x: &Value, shape: &[usize]) -> Option<Vec<usize>> {
    if !x.shape().ends_with(shape) || shape.is_empty() {
        let expected = format!("last dimensions of {shape:?}");
        tape.fail(Error::shape("input of a normalisation", expected, format!("{:?}", x.shape())));
        return None;
    }
    Some((x.shape().len() - shape.len()..x.shape().len()).collect())
}

impl Model for LayerNorm {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let Some(axes) = last_axes(tape, x, &self.shape) else { return x.clone() };
        let [mean, variance] = x.moments(&axes);
        let own = self.affine.then(|| {
            let weight = tape.parameter("weight", &self.shape, Init::Ones);
            [weight, tape.parameter("bias", &self.shape, Init::Zeros)]
        });
        normalised(tape, x, &mean, &variance, self.eps, own)
    }
}

/// `x / √(mean of x² + eps) · weight` over the last dimensions, as PyTorch's `RMSNorm`.
#[derive(Debug, Clone, PartialEq)]
pub struct RmsNorm {
    /// The sizes of the last dimensions.
    pub shape: Vec<usize>,
    /// Added to the mean of squares. Default 2⁻²³, the resolution of single precision, as in PyTorch.
    pub eps: f64,
    /// Whether there is a weight. Default true.
    pub affine: bool,
}

impl RmsNorm {
    /// PyTorch's defaults.
    pub fn new(shape: &[usize]) -> Self {
        Self { shape: shape.to_vec(), eps: f64::from(f32::EPSILON), affine: true }
    }
}

impl Model for RmsNorm {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let Some(axes) = last_axes(tape, x, &self.shape) else { return x.clone() };
        let eps = self.eps;
        let kept: Vec<usize> = (0..x.shape().len()).map(|d| if axes.contains(&d) { 1 } else { x.shape()[d] }).collect();
        let scale = x.square().mean(&axes).apply(|mean| 1.0 / (mean + eps).sqrt()).reshape(&kept);
        let scaled = x * &scale;
        if !self.affine {
            return scaled;
        }
        &scaled * &tape.parameter("weight", &self.shape, Init::Ones)
    }
}
