//! The model: the options of a perceptron, and whether it fits into memory.

use crate::memory;
use crate::numbers::whole;
use anyhow::Result;
use clap::ValueEnum;
use thalweg::nn::{self, Sequential};
use thalweg::{AnyRule, Memory};

/// A larger width is a typing mistake: two such layers have four thousand million weights.
pub const MAX_WIDTH: u64 = 1 << 16;

/// The options of a model.
#[derive(Debug, Clone, clap::Args)]
pub struct ModelArgs {
    /// Widths of the hidden layers
    #[arg(
        long,
        value_name = "N,N,…",
        default_value = "128,64",
        value_delimiter = ',',
        value_parser = whole::<usize>(1..=MAX_WIDTH),
        allow_negative_numbers = true
    )]
    pub hidden: Vec<usize>,

    /// The activation after each hidden layer
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "relu|gelu|tanh")]
    pub activation: Nonlinearity,
}

/// The choices of `--activation`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, ValueEnum)]
pub enum Nonlinearity {
    #[default]
    Relu,
    Gelu,
    Tanh,
}

impl Nonlinearity {
    fn function(self) -> nn::Nonlinearity {
        match self {
            Self::Relu => nn::Nonlinearity::Relu,
            Self::Gelu => nn::Nonlinearity::Gelu,
            Self::Tanh => nn::Nonlinearity::Tanh,
        }
    }
}

impl ModelArgs {
    /// The perceptron with this number of inputs and outputs.
    pub fn perceptron(&self, inputs: usize, outputs: usize) -> Sequential {
        Sequential::perceptron(inputs, &self.hidden, outputs, self.activation.function())
    }
}

/// The widths of a perceptron.
pub struct Shape<'a> {
    pub inputs: usize,
    pub hidden: &'a [usize],
    pub outputs: usize,
}

impl Shape<'_> {
    pub fn widths(&self) -> Vec<usize> {
        [self.inputs].iter().chain(self.hidden).chain([&self.outputs]).copied().collect()
    }

    /// Weights and biases.
    pub fn parameters(&self) -> u128 {
        let widths: Vec<u128> = self.widths().into_iter().map(|width| width as u128).collect();
        widths.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum()
    }

    /// Memory of a network with its rule and its batches, without the data.
    pub fn bytes(&self, rule: &dyn AnyRule, batch: usize) -> u128 {
        let widths: u128 = self.widths().into_iter().map(|width| width as u128).sum();
        // Start values in f64 and f32, then parameters, gradients and the state of the rule.
        let per_parameter = 8 + 4 + 4 + 4 + Memory::of(rule).bytes as u128;
        // Outputs before and after each activation and their gradients, for a batch and for an evaluation.
        let between = 4 * widths * 4 * (batch.max(256) as u128 + 256);
        self.parameters() * per_parameter + between
    }

    /// Refuses a network that does not fit into memory with its data, before any of it is made.
    pub fn check_memory(&self, rule: &dyn AnyRule, batch: usize, cells: usize, limit: Option<u64>) -> Result<()> {
        // The data three times: as they were read, as they are uploaded, and on the device.
        let data = 3 * 4 * cells as u128;
        let (parameters, needed) = (self.parameters(), self.bytes(rule, batch) + data);
        let hidden: Vec<String> = self.hidden.iter().map(usize::to_string).collect();
        let what =
            format!("a network of {parameters} parameters (--hidden {}) with {} and its data", hidden.join(","), rule.name());
        memory::check(&what, needed, limit)
    }
}
