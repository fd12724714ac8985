//! Attention, and the block of a transformer.

use super::{Dropout, Init, LayerNorm, Linear, Model, Nonlinearity, Tape, Value};
use crate::error::{Error, range};
use crate::op::Expr;

/// Attention with several heads over samples × places × width (Vaswani et al. 2017): each head weighs the values of all places
/// by `softmax(q·k/√d)`. Parameters as PyTorch's `MultiheadAttention`: `in_proj_weight` (3·width × width, for q, k and v),
/// `in_proj_bias`, `out_proj.weight`, `out_proj.bias`.
///
/// # Examples
///
/// ```
/// use thalweg::nn::{Attention, Model, Tape};
///
/// let attention = Attention { causal: true, ..Attention::new(16, 4) };
/// let mut tape = Tape::training();
/// let x = tape.constant(&[2, 5, 16], 0.5);
/// assert_eq!(attention.forward(&mut tape, &x).shape(), [2, 5, 16]);
/// assert_eq!(tape.parameters()[0].name, "in_proj_weight");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Attention {
    /// Elements at each place, a multiple of the heads.
    pub width: usize,
    /// Heads.
    pub heads: usize,
    /// Whether a place attends only to itself and to the places before it. Default false.
    pub causal: bool,
    /// The share of weights that is dropped while training. Default 0.
    pub dropout: f64,
    /// Whether there are biases. Default true.
    pub bias: bool,
}

impl Attention {
    /// Every place attends to every place; there are biases, and nothing is dropped.
    pub fn new(width: usize, heads: usize) -> Self {
        Self { width, heads, causal: false, dropout: 0.0, bias: true }
    }

    /// Records self-attention. Keys whose `padding` (samples × places) is not 0 are masked out; where all keys are masked out,
    /// the output is NaN, as in PyTorch.
    pub fn run(&self, tape: &mut Tape, x: &Value, padding: Option<&Value>) -> Value {
        if let Err(error) = self.check(x, x, padding) {
            return tape.fail(error);
        }
        let (weight, bias) = self.projection(tape);
        let all = self.heads_of(x, &weight, bias.as_ref(), 3);
        self.attend(tape, &all, padding)
    }

    /// Records cross-attention: queries come from `x`, keys and values from `memory`, which is samples × its own places ×
    /// width.
    pub fn across(&self, tape: &mut Tape, x: &Value, memory: &Value, padding: Option<&Value>) -> Value {
        if let Err(error) = self.check(x, memory, padding) {
            return tape.fail(error);
        }
        let ((weight, bias), width) = (self.projection(tape), self.width);
        let part = |of: &Value, first: usize, end: usize| of.slice(0, first * width..end * width);
        let of = |x: &Value, first: usize, end: usize| {
            let bias = bias.as_ref().map(|bias| part(bias, first, end));
            self.heads_of(x, &part(&weight, first, end), bias.as_ref(), end - first)
        };
        let all = [of(x, 0, 1), of(memory, 1, 3)].concat();
        self.attend(tape, &all, padding)
    }

    fn check(&self, x: &Value, memory: &Value, padding: Option<&Value>) -> Result<(), Error> {
        range::fraction("dropout", self.dropout)?;
        if self.heads == 0 || self.width == 0 || !self.width.is_multiple_of(self.heads) {
            return Err(Error::shape("width of attention", format!("a multiple of {} heads", self.heads), self.width));
        }
        for (what, value) in [("input of attention", x), ("keys of attention", memory)] {
            if value.shape().len() != 3 || value.shape()[2] != self.width || value.shape()[0] != x.shape()[0] {
                let expected = format!("[{}, places, {}]", x.shape().first().unwrap_or(&0), self.width);
                return Err(Error::shape(what, expected, format!("{:?}", value.shape())));
            }
        }
        match padding.filter(|padding| padding.shape() != &memory.shape()[..2]) {
            Some(padding) => {
                let expected = format!("{:?}", &memory.shape()[..2]);
                Err(Error::shape("padding of attention", expected, format!("{:?}", padding.shape())))
            }
            None => Ok(()),
        }
    }

    /// Weight and bias of the projections to q, k and v.
    fn projection(&self, tape: &mut Tape) -> (Value, Option<Value>) {
        let weight = tape.parameter("in_proj_weight", &[3 * self.width, self.width], Init::XavierUniform);
        let bias = self.bias.then(|| tape.parameter("in_proj_bias", &[3 * self.width], Init::Zeros));
        (weight, bias)
    }

    /// `count` projections of x, each samples × heads × places × elements of a head. The copy into this order adds the bias.
    fn heads_of(&self, x: &Value, weight: &Value, bias: Option<&Value>, count: usize) -> Vec<Value> {
        let (samples, places, head) = (x.shape()[0], x.shape()[1], self.width / self.heads);
        let product = x.matmul(&weight.transpose()).reshape(&[samples, places, count, self.heads, head]);
        let sums = match bias {
            Some(bias) => &product + &bias.reshape(&[count, self.heads, head]),
            None => product,
        };
        let one = |index: usize| {
            let part = sums.slice(2, index..index + 1).permute(&[2, 0, 3, 1, 4]).contiguous();
            part.reshape(&[samples, self.heads, places, head])
        };
        (0..count).map(one).collect()
    }

    /// The output of all heads, projected.
    fn attend(&self, tape: &mut Tape, projections: &[Value], padding: Option<&Value>) -> Value {
        let [q, k, v] = [0, 1, 2].map(|index| &projections[index]);
        let &[samples, _, places, head] = q.shape() else { return q.clone() };
        let scores = self.masked(tape, &q.matmul(&k.transpose()), padding);
        let weights = Dropout { p: self.dropout }.forward(tape, &scores.softmax(3));
        let joined = weights.matmul(v).permute(&[0, 2, 1, 3]).reshape(&[samples, places, self.heads * head]);
        let out = Linear { bias: self.bias, bias_init: Init::Zeros, ..Linear::new(self.width, self.width) };
        tape.named("out_proj", |tape| out.forward(tape, &joined))
    }

    /// Scores divided by √d; −∞ where a place must not attend to another.
    fn masked(&self, tape: &mut Tape, scores: &Value, padding: Option<&Value>) -> Value {
        let scale = ((self.width / self.heads) as f64).sqrt().recip();
        let mut scores = scores * scale;
        if self.causal {
            let [own, other] = [2, 3].map(|axis| tape.places(scores.shape(), axis));
            scores = tape.map(&[&scores, &own, &other], |of| {
                of[1].clone().less(of[2].clone()).select(Expr::number(f64::NEG_INFINITY), of[0].clone())
            });
        }
        let Some(padding) = padding else { return scores };
        let padding = padding.reshape(&[padding.shape()[0], 1, 1, padding.shape()[1]]);
        tape.map(&[&scores, &padding], |of| of[1].clone().select(Expr::number(f64::NEG_INFINITY), of[0].clone()))
    }
}

impl Model for Attention {
    /// Attention of a value to itself, without padding.
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        self.run(tape, x, None)
    }
}

/// A block of a transformer: attention and two linear layers, each with a residual connection and a normalisation. Parameters
/// as PyTorch's `TransformerEncoderLayer`: `self_attn.…`, `linear1.…`, `linear2.…`, `norm1.…`, `norm2.…`.
#[derive(Debug, Clone, PartialEq)]
pub struct TransformerBlock {
    /// The attention.
    pub attention: Attention,
    /// Elements between the two linear layers.
    pub feed_forward: usize,
    /// The activation between the two linear layers. Default GELU; PyTorch's is ReLU.
    pub activation: Nonlinearity,
    /// Whether to normalise before the attention and before the linear layers, rather than after each residual connection.
    /// Default true; PyTorch's is false.
    pub norm_first: bool,
    /// The share that is dropped after the attention, the activation and the second linear layer. Default 0.
    pub dropout: f64,
}

impl TransformerBlock {
    /// With GELU, normalisation first, and nothing dropped.
    pub fn new(width: usize, heads: usize, feed_forward: usize) -> Self {
        let attention = Attention::new(width, heads);
        Self { attention, feed_forward, activation: Nonlinearity::Gelu, norm_first: true, dropout: 0.0 }
    }

    /// Records the block; `padding` is that of [`Attention::run`].
    pub fn run(&self, tape: &mut Tape, x: &Value, padding: Option<&Value>) -> Value {
        if x.shape().len() != 3 || x.shape()[2] != self.attention.width {
            let expected = format!("[samples, places, {}]", self.attention.width);
            return tape.fail(Error::shape("input of a transformer block", expected, format!("{:?}", x.shape())));
        }
        let attended = |tape: &mut Tape, x: &Value| {
            let value = tape.named("self_attn", |tape| self.attention.run(tape, x, padding));
            Dropout { p: self.dropout }.forward(tape, &value)
        };
        let (norm, width) = (LayerNorm::new(&[self.attention.width]), self.attention.width);
        let normed = |tape: &mut Tape, name: &str, x: &Value| tape.named(name, |tape| norm.forward(tape, x));
        if self.norm_first {
            let inner = normed(tape, "norm1", x);
            let x = (x + &attended(tape, &inner)).stored();
            let inner = normed(tape, "norm2", &x);
            return &x + &self.feed_forward(tape, &inner, width);
        }
        let sum = (x + &attended(tape, x)).stored();
        let x = normed(tape, "norm1", &sum);
        let sum = (&x + &self.feed_forward(tape, &x, width)).stored();
        normed(tape, "norm2", &sum)
    }

    fn feed_forward(&self, tape: &mut Tape, x: &Value, width: usize) -> Value {
        let drop = Dropout { p: self.dropout };
        let [up, down] = [(width, self.feed_forward), (self.feed_forward, width)].map(|(from, to)| Linear::new(from, to));
        let inner = tape.named("linear1", |tape| up.forward(tape, x));
        let inner = self.activation.forward(tape, &inner);
        let inner = drop.forward(tape, &inner);
        let outer = tape.named("linear2", |tape| down.forward(tape, &inner));
        drop.forward(tape, &outer)
    }
}

impl Model for TransformerBlock {
    /// The block, without padding.
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        self.run(tape, x, None)
    }
}

/// Positional encoding: adds to each place of samples × places × width a vector that depends on the number of the place alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Positions {
    /// A trained vector for each place: a row of the parameter `weight`, which starts from a normal distribution with standard
    /// deviation 0.02.
    Learned {
        /// The largest number of places.
        places: usize,
    },
    /// sin(p/10000^(2i/width)) at the even elements 2i, and the cosine at the odd ones (Vaswani et al. 2017).
    Sinusoidal,
}

impl Positions {
    fn table(places: usize, width: usize) -> Init {
        let angle = |place: usize, i: usize| place as f64 / 10_000f64.powf((i / 2 * 2) as f64 / width as f64);
        let element = |place: usize, i: usize| if i.is_multiple_of(2) { angle(place, i).sin() } else { angle(place, i).cos() };
        Init::Given((0..places * width).map(|at| element(at / width, at % width)).collect())
    }
}

impl Model for Positions {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let &[_, count, width] = x.shape() else {
            let found = format!("{:?}", x.shape());
            return tape.fail(Error::shape("input of positions", "samples × places × width", found));
        };
        let table = match *self {
            Self::Learned { places } if places < count => {
                return tape.fail(Error::shape("places of learned positions", format!("at most {places}"), count));
            }
            Self::Learned { places } => tape.parameter("weight", &[places, width], Init::Normal(0.02)).slice(0, 0..count),
            Self::Sinusoidal => tape.buffer("table", &[count, width], Self::table(count, width)),
        };
        x + &table
    }
}
