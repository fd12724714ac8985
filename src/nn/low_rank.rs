//! Low-rank adapters (LoRA).

use super::{Init, Linear, Model, Tape, Value};
use crate::error::{Error, range};

/// LoRA: a linear layer that is not trained, plus a trained product of two narrow matrices (Hu et al. 2021): `y = x·Wᵀ + b +
/// (α/r)·(x·Aᵀ)·Bᵀ`. Parameters `weight` and `bias`, which get no gradient, and `lora_A.weight` (rank × inputs) and
/// `lora_B.weight` (outputs × rank, 0 at the start), named as PEFT names them.
///
/// # Examples
///
/// ```
/// use thalweg::nn::{Linear, LowRank, Model, Tape};
///
/// let adapter = LowRank { base: Linear::new(64, 32), rank: 4, alpha: 8.0 };
/// let mut tape = Tape::training();
/// let x = tape.constant(&[5, 64], 1.0);
/// assert_eq!(adapter.forward(&mut tape, &x).shape(), [5, 32]);
/// let trained: Vec<String> = tape.parameters().into_iter().filter(|p| !p.is_frozen()).map(|p| p.name).collect();
/// assert_eq!(trained, ["lora_A.weight", "lora_B.weight"]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    /// The layer that is not trained.
    pub base: Linear,
    /// Rows of A, at least 1.
    pub rank: usize,
    /// α: the product is multiplied by α/rank.
    pub alpha: f64,
}

/// A [`LowRank`] whose base all lanes share: many adapters, each with its own start, rates and steps, take the memory of one
/// base. The base is no parameter ([`Tape::shared_parameter`]).
///
/// # Examples
///
/// ```
/// use thalweg::nn::{Linear, LowRank, Model, SharedBase, Tape};
///
/// let adapter = SharedBase(LowRank { base: Linear::new(64, 32), rank: 4, alpha: 8.0 });
/// let mut tape = Tape::training();
/// let x = tape.constant(&[5, 64], 1.0);
/// assert_eq!(adapter.forward(&mut tape, &x).shape(), [5, 32]);
/// assert_eq!(tape.parameters().len(), 2);
/// assert_eq!(tape.shared()?.tensors().len(), 2);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct SharedBase(pub LowRank);

impl Model for SharedBase {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        self.0.over(tape, x, Tape::shared_parameter)
    }
}

impl Model for LowRank {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        self.over(tape, x, Tape::constant_parameter)
    }
}

impl LowRank {
    /// Records the layer over a base that is declared as it is told.
    fn over(&self, tape: &mut Tape, x: &Value, declare: fn(&mut Tape, &str, &[usize], Init) -> Value) -> Value {
        let Self { base, rank, alpha } = self;
        if let Err(error) = range::require(*rank >= 1, "rank", rank, "at least 1") {
            return tape.fail(error);
        }
        if x.shape().len() < 2 || x.shape().last() != Some(&base.inputs) {
            let expected = format!("rows of {}", base.inputs);
            return tape.fail(Error::shape("input of an adapter of low rank", expected, format!("{:?}", x.shape())));
        }
        let weight = declare(tape, "weight", &[base.outputs, base.inputs], base.weight_init.clone());
        let down = Init::Uniform((base.inputs as f64).sqrt().recip());
        let a = tape.named("lora_A", |tape| tape.parameter("weight", &[*rank, base.inputs], down));
        let b = tape.named("lora_B", |tape| tape.parameter("weight", &[base.outputs, *rank], Init::Zeros));
        let scale = alpha / *rank as f64;
        let (whole, narrow) = (x.matmul(&weight.transpose()), x.matmul(&a.transpose()).matmul(&b.transpose()));
        if !base.bias {
            return tape.map(&[&whole, &narrow], |of| of[0].clone() + of[1].clone() * scale);
        }
        let bias = declare(tape, "bias", &[base.outputs], base.bias_init.clone());
        tape.map(&[&whole, &narrow, &bias], |of| of[0].clone() + of[1].clone() * scale + of[2].clone())
    }
}
