//! Layers that treat a channel of an image as one: normalisations and dropout.

use super::normalise::normalised;
use super::{BatchNorm1d, Init, Model, Tape, Value};
use crate::error::{Error, range};
use crate::op::Expr;

/// Normalises the channels of images (samples × channels × lines × columns), as PyTorch's `BatchNorm2d`. Its settings are those
/// of the [`BatchNorm1d`] in it.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchNorm2d(pub BatchNorm1d);

impl BatchNorm2d {
    /// PyTorch's defaults.
    pub fn new(channels: usize) -> Self {
        Self(BatchNorm1d::new(channels))
    }
}

impl Model for BatchNorm2d {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        if x.shape().len() != 4 {
            let expected = format!("[samples, {}, lines, columns]", self.0.features);
            return tape.fail(Error::shape("input of batch normalisation", expected, format!("{:?}", x.shape())));
        }
        self.0.forward(tape, x)
    }
}

/// Normalises each group of channels of a sample by its own mean and variance, as PyTorch's `GroupNorm`. Parameters `weight`
/// and `bias`, one per channel.
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNorm {
    /// Groups of neighbouring channels.
    pub groups: usize,
    /// Elements of the second dimension: a multiple of the groups.
    pub channels: usize,
    /// Added to the variance. Default 1e-5.
    pub eps: f64,
    /// Whether there are weight and bias. Default true.
    pub affine: bool,
}

impl GroupNorm {
    /// PyTorch's defaults.
    pub fn new(groups: usize, channels: usize) -> Self {
        Self { groups, channels, eps: 1e-5, affine: true }
    }
}

impl Model for GroupNorm {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let &Self { groups, channels, .. } = self;
        if groups == 0 || channels % groups > 0 {
            let found = format!("{channels} for an input of {:?}", x.shape());
            return tape.fail(Error::shape("channels of group normalisation", format!("a multiple of {groups} groups"), found));
        }
        let Some((samples, area)) = samples_and_area(tape, x, channels, "group normalisation") else { return x.clone() };
        if area * (channels / groups) == 0 {
            let expected = "at least one value per group";
            return tape.fail(Error::shape("input of group normalisation", expected, format!("{:?}", x.shape())));
        }
        by_group(tape, x, [samples, groups, channels / groups, area], self.eps, self.affine)
    }
}

/// Normalises each channel of each sample by its own mean and variance, as PyTorch's `InstanceNorm1d` and `InstanceNorm2d`
/// without running statistics.
#[derive(Debug, Clone, PartialEq)]
pub struct InstanceNorm {
    /// Elements of the second dimension.
    pub channels: usize,
    /// Added to the variance. Default 1e-5.
    pub eps: f64,
    /// Whether there are weight and bias, one per channel. Default false.
    pub affine: bool,
}

impl InstanceNorm {
    /// PyTorch's defaults.
    pub fn new(channels: usize) -> Self {
        Self { channels, eps: 1e-5, affine: false }
    }
}

impl Model for InstanceNorm {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let name = "instance normalisation";
        let Some((samples, area)) = samples_and_area(tape, x, self.channels, name) else { return x.clone() };
        if area < 2 {
            let expected = "more than one value per channel";
            return tape.fail(Error::shape(format!("input of {name}"), expected, format!("{:?}", x.shape())));
        }
        by_group(tape, x, [samples, self.channels, 1, area], self.eps, self.affine)
    }
}

/// The number of samples, and the elements of a channel, of a value with `channels` channels; any other value is a mistake that
/// the tape keeps.
fn samples_and_area(tape: &mut Tape, x: &Value, channels: usize, of: &str) -> Option<(usize, usize)> {
    match x.shape() {
        [samples, found, rest @ ..] if *found == channels => Some((*samples, rest.iter().product())),
        shape => {
            let expected = format!("{channels} channels in the second dimension");
            tape.fail(Error::shape(format!("input of {of}"), expected, format!("{shape:?}")));
            None
        }
    }
}

/// Normalises x, seen as `shape` (samples × groups × channels of a group × elements of a channel), over the last two
/// dimensions.
fn by_group(tape: &mut Tape, x: &Value, shape: [usize; 4], eps: f64, affine: bool) -> Value {
    let [_, groups, each, _] = shape;
    let wide = x.reshape(&shape);
    let [mean, variance] = wide.moments(&[2, 3]);
    let own = affine.then(|| {
        let weight = tape.parameter("weight", &[groups * each], Init::Ones);
        [weight, tape.parameter("bias", &[groups * each], Init::Zeros)].map(|own| own.reshape(&[1, groups, each, 1]))
    });
    normalised(tape, &wide, &mean, &variance, eps, own).reshape(x.shape())
}

/// Sets whole channels of a sample to 0 with probability p while training, and divides the others by 1 − p, as PyTorch's
/// `Dropout1d` and `Dropout2d`. What is dropped is a function of the lane's key, the step and the layer alone.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ChannelDropout {
    /// At least 0 and below 1.
    pub p: f64,
}

impl Model for ChannelDropout {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        if let Err(error) = range::fraction("dropout", self.p) {
            return tape.fail(error);
        }
        let &[samples, channels, _, ..] = x.shape() else {
            let expected = "samples, channels, and further dimensions";
            return tape.fail(Error::shape("input of dropout by channel", expected, format!("{:?}", x.shape())));
        };
        if !tape.is_training() || self.p == 0.0 {
            return x.clone();
        }
        let shape: Vec<usize> = (0..x.shape().len()).map(|axis| [samples, channels].get(axis).copied().unwrap_or(1)).collect();
        let (random, p) = (tape.uniform(&shape), self.p);
        tape.map(&[x, &random], |of| Expr::number(p).less_equal(of[1].clone()).select(of[0].clone() / (1.0 - p), 0.0))
    }
}
