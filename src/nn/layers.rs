//! Layers. Each is a few lines of operations on values; bias, activation and dropout become one kernel by themselves.

use super::{Init, Model, Tape, Value};
use crate::error::Error;

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
