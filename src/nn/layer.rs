//! The layers that a network is made of.

use crate::plan::Activation;

/// A layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layer {
    /// `y = x·Wᵀ + b`, with W of outputs × inputs, as PyTorch's `Linear`.
    Linear {
        /// Elements of x.
        inputs: usize,
        /// Elements of y.
        outputs: usize,
    },
    /// An element-wise function.
    Activation(Activation),
}

impl Layer {
    /// Inputs and outputs of a linear layer.
    pub(super) fn widths(&self) -> Option<(usize, usize)> {
        match *self {
            Self::Linear { inputs, outputs } => Some((inputs, outputs)),
            Self::Activation(_) => None,
        }
    }
}
