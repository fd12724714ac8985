//! Augmentation: images that are moved, cut, turned over and blurred by noise while training.

use super::{Init, Model, Tape, Value};
use crate::error::{Error, Result, range};
use crate::op::Expr;

/// Changes each image of samples × channels × lines × columns a little and at random while training, so that a model does not learn by heart
/// where things are; in evaluation images stay as they are. Places between elements are read by linear interpolation, and those beside the
/// image are 0.
///
/// Everything is drawn on the device, from the lane's key: each step and each image has numbers of its own, and a run that goes on draws what
/// it would have drawn. The untrained buffer `strength`, 1 at the start, multiplies all of it in a lane; see
/// [`TrainerBuilder::buffer`](crate::train::TrainerBuilder::buffer).
///
/// # Examples
///
/// ```
/// use thalweg::nn::{Augment, Conv2d, Flatten, Linear, Nonlinearity, Reshape, Sequential};
/// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data};
///
/// let digits = data::digits().rows_at(&(0..64).collect::<Vec<_>>())?;
/// let model = Sequential::new()
///     .then(Reshape(vec![1, 8, 8]))
///     .named("augment", Augment { shift: 1.0, ..Augment::default() })
///     .then(Conv2d::new(1, 4, [3, 3]))
///     .then(Nonlinearity::Relu)
///     .then(Flatten)
///     .then(Linear::new(4 * 6 * 6, 10));
/// // Two lanes, of which the second sees the digits as they are.
/// let trainer = Trainer::builder(&model, Recipe::new(Adam::default())).train(&digits).seeds(&[1, 1]);
/// let mut trainer = trainer.buffer(1, "augment.strength", &[0.0]).build(&Cpu::<f32>::default())?;
/// let [moved, still] = trainer.whole_epoch()?[..] else { panic!("two lanes") };
/// assert_ne!(moved.loss, still.loss);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Augment {
    /// An image is moved by up to so many elements along each axis, evenly; at least 0.
    pub shift: f64,
    /// The share by which the window that is cut out may be smaller than the image, at least 0 and below 1. The window is at any place within
    /// the image, and is stretched to its size.
    pub crop: f64,
    /// The probability that an image is turned over, left to right; 0 to 1.
    pub flip: f64,
    /// The standard deviation of what is added to each element, at least 0: the sum of four even numbers, which is nearly normal.
    pub noise: f64,
}

impl Augment {
    fn check(&self) -> Result<()> {
        range::not_negative("shift", self.shift)?;
        range::fraction("crop", self.crop)?;
        range::require((0.0..=1.0).contains(&self.flip), "flip", self.flip, "0 to 1")?;
        range::not_negative("noise", self.noise)
    }

    /// For each sample a matrix of `len` × `len`: column j has the weights of the elements that the moved image has at place j.
    fn mover(&self, tape: &mut Tape, samples: usize, len: usize, window: &Value, strength: &Value, flips: bool) -> Value {
        let &Self { shift, crop, flip, .. } = self;
        let [i, j] = [1, 2].map(|axis| tape.places(&[1, len, len], axis));
        let [place, moved, turned] = [(); 3].map(|()| tape.uniform(&[samples, 1, 1]));
        let middle = (len as f64 - 1.0) / 2.0;
        tape.map(&[&i, &j, window, &place, &moved, &turned, strength], |of| {
            let [i, j, window, place, moved, turned, strength] = [0, 1, 2, 3, 4, 5, 6].map(|n| of[n].clone());
            let even = |u: Expr| u * 2.0 - 1.0;
            let smaller = window * strength.clone() * crop;
            let from_middle = j - middle;
            let from_middle = match flips && flip > 0.0 {
                true => turned.less(strength.clone() * flip).select(from_middle.clone() * -1.0, from_middle),
                false => from_middle,
            };
            let stretched = from_middle.clone() - from_middle * smaller.clone();
            let source = stretched + middle + smaller * middle * even(place) + strength * shift * even(moved);
            (Expr::number(1.0) - (i - source).abs()).max(0.0)
        })
    }
}

impl Model for Augment {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        if let Err(error) = self.check() {
            return tape.fail(error);
        }
        let &[samples, channels, lines, columns] = x.shape() else {
            let expected = "[samples, channels, lines, columns]";
            return tape.fail(Error::shape("input of an augmentation", expected, format!("{:?}", x.shape())));
        };
        let strength = tape.buffer("strength", &[1], Init::Constant(1.0));
        if !tape.is_training() {
            return x.clone();
        }
        let mut y = x.clone();
        if self.shift > 0.0 || self.crop > 0.0 || self.flip > 0.0 {
            // One window for both axes keeps the proportions.
            let window = tape.uniform(&[samples, 1, 1]);
            let across = self.mover(tape, samples, columns, &window, &strength, true);
            y = y.reshape(&[samples, channels * lines, columns]).matmul(&across);
            if self.shift > 0.0 || self.crop > 0.0 {
                let down = self.mover(tape, samples, lines, &window, &strength, false);
                let turned = y.reshape(&[samples, channels, lines, columns]).permute(&[0, 1, 3, 2]).contiguous();
                let moved = turned.reshape(&[samples, channels * columns, lines]).matmul(&down);
                y = moved.reshape(&[samples, channels, columns, lines]).permute(&[0, 1, 3, 2]).contiguous();
            }
            y = y.reshape(&[samples, channels, lines, columns]);
        }
        if self.noise == 0.0 {
            return y;
        }
        // Four even numbers have a sum whose variance is a third.
        let [a, b, c, d] = [(); 4].map(|()| tape.uniform(x.shape()));
        let noise = self.noise * 3f64.sqrt();
        tape.map(&[&y, &a, &b, &c, &d, &strength], |of| {
            let sum = of[1].clone() + of[2].clone() + of[3].clone() + of[4].clone() - 2.0;
            of[0].clone() + sum * of[5].clone() * noise
        })
    }
}
