//! Activations.

use super::{Model, Tape, Value};
use crate::error::Error;
use crate::op::Expr;

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
