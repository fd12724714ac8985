//! Models: functions from one value to another, and models made of models.

use super::{Linear, Nonlinearity, Tape, Value};
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

/// `x + f(x)`.
#[derive(Debug, Clone, PartialEq)]
pub struct Residual<M>(pub M);

impl<M: Model> Model for Residual<M> {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        x + &self.0.forward(tape, x)
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
