//! Layers. Each is a few lines of operations on values; bias, activation and dropout become one kernel by themselves.

use super::{Init, Tape, Value};
use crate::error::{Error, range};
use crate::op::Expr;
use std::fmt::Debug;

/// A function from one value to another: a layer, or a whole model.
///
/// # Examples
///
/// A model of one's own:
///
/// ```
/// use thalweg::nn::{Linear, Model, Tape, Value};
///
/// #[derive(Debug)]
/// struct TwoWays { up: Linear, down: Linear }
///
/// impl Model for TwoWays {
///     fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
///         let hidden = tape.layer("up", &self.up, x).relu();
///         x + &tape.layer("down", &self.down, &hidden)
///     }
/// }
///
/// let mut tape = Tape::evaluation();
/// let x = tape.constant(&[5, 8], 1.0);
/// let y = TwoWays { up: Linear::new(8, 32), down: Linear::new(32, 8) }.forward(&mut tape, &x);
/// assert_eq!(y.shape(), [5, 8]);
/// let names: Vec<String> = tape.parameters().into_iter().map(|parameter| parameter.name).collect();
/// assert_eq!(names, ["up.weight", "up.bias", "down.weight", "down.bias"]);
/// ```
pub trait Model: Debug {
    /// Records the layer on a value, whose first dimension is that of the samples.
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value;

    /// Its kind, as summaries show it. Default: the first word of its debug output.
    fn kind(&self) -> String {
        format!("{self:?}").split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().into()
    }
}

impl<M: Model + ?Sized> Model for Box<M> {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        (**self).forward(tape, x)
    }
}

/// `y = x·Wᵀ + b` over the last dimension, with `weight` of outputs × inputs and `bias`, as PyTorch's `Linear`.
#[derive(Debug, Clone, PartialEq)]
pub struct Linear {
    /// Elements of x.
    pub inputs: usize,
    /// Elements of y.
    pub outputs: usize,
    /// Whether there is a bias.
    pub bias: bool,
    /// How the weight starts. The default is PyTorch's: uniform between ±1/√inputs.
    pub weight_init: Init,
    /// How the bias starts. The default is the same.
    pub bias_init: Init,
}

impl Linear {
    /// With a bias, and with PyTorch's start values.
    pub fn new(inputs: usize, outputs: usize) -> Self {
        let init = Init::Uniform((inputs.max(1) as f64).sqrt().recip());
        Self { inputs, outputs, bias: true, weight_init: init.clone(), bias_init: init }
    }

    /// Without a bias.
    pub fn without_bias(self) -> Self {
        Self { bias: false, ..self }
    }
}

impl Model for Linear {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        if x.shape().last() != Some(&self.inputs) {
            let expected = format!("a last dimension of {}", self.inputs);
            return tape.fail(Error::shape("input of a linear layer", expected, format!("{:?}", x.shape())));
        }
        let weight = tape.parameter("weight", &[self.outputs, self.inputs], self.weight_init.clone());
        let rows = if x.shape().len() == 1 { x.reshape(&[1, self.inputs]) } else { x.clone() };
        let product = rows.matmul(&weight.transpose());
        let shape = [&x.shape()[..x.shape().len() - 1], &[self.outputs]].concat();
        let product = product.reshape(&shape);
        if !self.bias {
            return product;
        }
        &product + &tape.parameter("bias", &[self.outputs], self.bias_init.clone())
    }
}

/// An activation: a function of each element, or along the last dimension.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Nonlinearity {
    /// x if x > 0, else 0.
    Relu,
    /// x if x > 0, else this slope times x; PyTorch's default is 0.01.
    LeakyRelu(f64),
    /// x if x > 0, else α(eˣ − 1); PyTorch's default is 1.
    Elu(f64),
    /// x·Φ(x) with the normal distribution Φ.
    Gelu,
    /// x/2·(1 + tanh(√(2/π)(x + 0.044715x³))).
    GeluTanh,
    /// x·sigmoid(x).
    Silu,
    /// The hyperbolic tangent.
    Tanh,
    /// 1/(1 + e⁻ˣ).
    Sigmoid,
    /// ln(1 + eˣ).
    Softplus,
    /// eˣ/Σ eˣ along the last dimension.
    Softmax,
    /// ln softmax.
    LogSoftmax,
}

impl Nonlinearity {
    /// The function of one element; `None` for those along a dimension.
    pub fn expr(self, x: Expr) -> Option<Expr> {
        Some(match self {
            Self::Relu => x.relu(),
            Self::LeakyRelu(slope) => x.clone().less_equal(0.0).select(x.clone() * slope, x),
            Self::Elu(alpha) => x.clone().less_equal(0.0).select(x.clone().min(0.0).expm1() * alpha, x),
            Self::Gelu => x.gelu(),
            Self::GeluTanh => {
                let inner = (x.clone() + 0.044715 * x.clone() * x.clone().square()) * std::f64::consts::FRAC_2_PI.sqrt();
                0.5 * x * (1.0 + inner.tanh())
            }
            Self::Silu => x.silu(),
            Self::Tanh => x.tanh(),
            Self::Sigmoid => x.sigmoid(),
            Self::Softplus => x.softplus(),
            Self::Softmax | Self::LogSoftmax => return None,
        })
    }
}

impl Model for Nonlinearity {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let Some(last) = x.shape().len().checked_sub(1) else {
            return tape.fail(Error::shape("input of an activation", "at least one dimension", "none"));
        };
        match self {
            Self::Softmax => x.softmax(last),
            Self::LogSoftmax => x.log_softmax(last),
            _ => x.apply(|x| self.expr(x.clone()).unwrap_or(x)),
        }
    }
}

/// Rows of a table by number. The table is the parameter `weight` of rows × width, which starts normal with deviation 1; the
/// numbers are an input of indices ([`Tape::indices`]).
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// Rows of the table.
    pub rows: usize,
    /// Elements of each.
    pub width: usize,
    /// The number of a row that gets no gradient. Default: none.
    pub padding: Option<u32>,
    /// How the table starts.
    pub init: Init,
}

impl Embedding {
    /// Without padding, and with PyTorch's start values.
    pub fn new(rows: usize, width: usize) -> Self {
        Self { rows, width, padding: None, init: Init::Normal(1.0) }
    }
}

impl Model for Embedding {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let weight = tape.parameter("weight", &[self.rows, self.width], self.init.clone());
        tape.skip_row(&weight, self.padding);
        tape.lookup(&weight, x)
    }
}

/// Sets elements to 0 with probability p while training, and divides the others by 1 − p. Each step and each layer has its own
/// mask: a function of the lane's key, the step and the layer alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// At least 0 and below 1.
    pub p: f64,
}

impl Model for Dropout {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        if let Err(error) = range::fraction("dropout", self.p) {
            return tape.fail(error);
        }
        if !tape.is_training() || self.p == 0.0 {
            return x.clone();
        }
        let random = tape.uniform(x.shape());
        let p = self.p;
        tape.map(&[x, &random], |of| Expr::number(p).less_equal(of[1].clone()).select(of[0].clone() / (1.0 - p), 0.0))
    }
}

/// [`Dropout`] with a probability per lane: the untrained buffer `p`, which starts at [`LaneDropout::p`] and which
/// [`TrainerBuilder::buffer`](crate::train::TrainerBuilder::buffer) sets for a lane. It has to be at least 0 and below 1 in
/// every lane.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LaneDropout {
    /// At least 0 and below 1.
    pub p: f64,
}

impl Model for LaneDropout {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        if let Err(error) = range::fraction("dropout", self.p) {
            return tape.fail(error);
        }
        if !tape.is_training() {
            return x.clone();
        }
        let (random, p) = (tape.uniform(x.shape()), tape.buffer("p", &[1], Init::Constant(self.p)));
        tape.map(&[x, &random, &p], |of| {
            let kept = of[2].clone().less_equal(of[1].clone());
            kept.select(of[0].clone() / (1.0 - of[2].clone()), 0.0)
        })
    }
}

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

/// `x + f(x)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Residual<M>(pub M);

impl<M: Model> Model for Residual<M> {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        x + &self.0.forward(tape, x)
    }
}

/// Joins all dimensions but the first into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flatten;

impl Model for Flatten {
    fn forward(&self, _tape: &mut Tape, x: &Value) -> Value {
        x.flatten()
    }
}

/// Gives the dimensions after the first these sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reshape(pub Vec<usize>);

impl Model for Reshape {
    fn forward(&self, _tape: &mut Tape, x: &Value) -> Value {
        x.reshape(&[&x.shape()[..1.min(x.shape().len())], &self.0].concat())
    }
}

/// Layers one after the other, named by their places: `0.weight`, `2.bias`.
///
/// # Examples
///
/// ```
/// use thalweg::nn::{Dropout, Linear, Model, Nonlinearity, Sequential, Tape};
///
/// let model = Sequential::new()
///     .then(Linear::new(64, 32))
///     .then(Nonlinearity::Relu)
///     .then(Dropout { p: 0.2 })
///     .then(Linear::new(32, 10));
/// let mut tape = Tape::training();
/// let x = tape.constant(&[16, 64], 0.0);
/// assert_eq!(model.forward(&mut tape, &x).shape(), [16, 10]);
/// assert_eq!(tape.parameters()[2].name, "3.weight");
/// ```
#[derive(Debug, Default)]
pub struct Sequential {
    layers: Vec<(String, Box<dyn Model>)>,
}

impl Sequential {
    /// Without layers; it returns its input.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a layer, named by its place.
    pub fn then(self, layer: impl Model + 'static) -> Self {
        let name = self.layers.len().to_string();
        self.named(&name, layer)
    }

    /// Appends a layer under a name.
    pub fn named(mut self, name: &str, layer: impl Model + 'static) -> Self {
        self.layers.push((name.into(), Box::new(layer)));
        self
    }

    /// A perceptron: linear layers whose outputs have the widths `hidden` and then `outputs`, with a function between each two.
    pub fn perceptron(inputs: usize, hidden: &[usize], outputs: usize, function: Nonlinearity) -> Self {
        let mut model = Self::new();
        let mut width = inputs;
        for &next in hidden {
            model = model.then(Linear::new(width, next)).then(function);
            width = next;
        }
        model.then(Linear::new(width, outputs))
    }
}

impl Model for Sequential {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        self.layers.iter().fold(x.clone(), |x, (name, layer)| tape.layer(name, layer, &x))
    }
}
