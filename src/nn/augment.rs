//! Augmentation: images that are moved, cut, turned over and blurred by noise while training, in all lanes or in each as much
//! as it wants.

use super::{Init, Model, Tape, Value};
use crate::error::{Error, Result, range};
use crate::op::Expr;

/// Changes each image of samples × channels × lines × columns a little and at random while training, so that a model does not
/// learn by heart where things are; in evaluation images stay as they are. Places between elements are read by linear
/// interpolation, and those beside the image are 0.
///
/// Everything is drawn on the device, from the lane's key: each step and each image has numbers of its own, and a run that goes
/// on draws what it would have drawn. The untrained buffer `strength`, 1 at the start, multiplies all of it in a lane; see
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
    /// The share by which the window that is cut out may be smaller than the image, at least 0 and below 1. The window is at
    /// any place within the image, and is stretched to its size.
    pub crop: f64,
    /// The probability that an image is turned over, left to right; 0 to 1.
    pub flip: f64,
    /// The standard deviation of what is added to each element, at least 0: the sum of four even numbers, which is nearly
    /// normal.
    pub noise: f64,
}

impl Augment {
    /// Whether the strengths are in their ranges.
    ///
    /// # Errors
    /// [`Error::Setting`], naming the strength.
    pub fn check(&self) -> Result<()> {
        range::not_negative("shift", self.shift)?;
        range::fraction("crop", self.crop)?;
        range::require((0.0..=1.0).contains(&self.flip), "flip", self.flip, "0 to 1")?;
        range::not_negative("noise", self.noise)
    }
}

/// [`Augment`] with strengths per lane: the untrained buffer `strengths` has shift, crop, probability of a flip and noise, all
/// 0 at the start; [`TrainerBuilder::buffer`](crate::train::TrainerBuilder::buffer) sets them for a lane. They have to be in
/// the ranges of [`Augment`] in every lane. So lanes that differ in them share one program. Default: lanes may have each kind;
/// what no lane has costs nothing if it is left out.
///
/// # Examples
///
/// ```
/// use thalweg::nn::{Conv2d, Flatten, LaneAugment, Linear, Reshape, Sequential};
/// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data};
///
/// let digits = data::digits().rows_at(&(0..64).collect::<Vec<_>>())?;
/// let model = Sequential::new()
///     .then(Reshape(vec![1, 8, 8]))
///     .named("augment", LaneAugment { flip: false, ..LaneAugment::default() })
///     .then(Conv2d::new(1, 4, [3, 3]))
///     .then(Flatten)
///     .then(Linear::new(4 * 6 * 6, 10));
/// let mut trainer = Trainer::builder(&model, Recipe::new(Adam::default())).train(&digits).seeds(&[1, 1, 1]);
/// for (lane, shift) in [0.0, 0.5, 1.0].into_iter().enumerate() {
///     trainer = trainer.buffer(lane, "augment.strengths", &[shift, 0.1, 0.0, 0.05]);
/// }
/// let lanes = trainer.build(&Cpu::<f32>::default())?.whole_epoch()?;
/// assert!(lanes[0].loss != lanes[1].loss && lanes[1].loss != lanes[2].loss);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneAugment {
    /// Whether lanes may have a shift.
    pub shift: bool,
    /// Whether lanes may have a crop.
    pub crop: bool,
    /// Whether lanes may have flips.
    pub flip: bool,
    /// Whether lanes may have noise.
    pub noise: bool,
}

impl Default for LaneAugment {
    fn default() -> Self {
        Self { shift: true, crop: true, flip: true, noise: true }
    }
}

/// How strong a kind of augmentation is: one of the numbers of each lane, times a number that all lanes have. 0 is none at all.
#[derive(Debug, Clone, Copy)]
struct Strength {
    of_lane: usize,
    times: f64,
}

/// What is recorded: numbers of each lane, and the strengths that are made of them.
struct Strengths {
    of_lanes: Vec<Value>,
    shift: Strength,
    crop: Strength,
    flip: Strength,
    noise: Strength,
}

impl Strengths {
    /// The images after all of it.
    fn augmented(&self, tape: &mut Tape, x: &Value) -> Value {
        let &[samples, channels, lines, columns] = x.shape() else { return x.clone() };
        let mut y = x.clone();
        let moves = self.shift.times > 0.0 || self.crop.times > 0.0;
        if moves || self.flip.times > 0.0 {
            // One window for both axes keeps the proportions.
            let window = tape.uniform(&[samples, 1, 1]);
            let across = self.mover(tape, samples, columns, &window, true);
            y = y.reshape(&[samples, channels * lines, columns]).matmul(&across);
            if moves {
                let down = self.mover(tape, samples, lines, &window, false);
                let turned = y.reshape(&[samples, channels, lines, columns]).permute(&[0, 1, 3, 2]).contiguous();
                let moved = turned.reshape(&[samples, channels * columns, lines]).matmul(&down);
                y = moved.reshape(&[samples, channels, columns, lines]).permute(&[0, 1, 3, 2]).contiguous();
            }
            y = y.reshape(&[samples, channels, lines, columns]);
        }
        if self.noise.times == 0.0 {
            return y;
        }
        // Four even numbers have a sum whose variance is a third.
        let [a, b, c, d] = [(); 4].map(|()| tape.uniform(x.shape()));
        tape.map(&[&y, &a, &b, &c, &d, &self.of_lanes[self.noise.of_lane]], |of| {
            let sum = of[1].clone() + of[2].clone() + of[3].clone() + of[4].clone() - 2.0;
            of[0].clone() + sum * of[5].clone() * self.noise.times * 3f64.sqrt()
        })
    }

    /// For each sample a matrix of `len` × `len`: column j has the weights of the elements that the moved image has at place j.
    fn mover(&self, tape: &mut Tape, samples: usize, len: usize, window: &Value, flips: bool) -> Value {
        let &Self { shift, crop, flip, .. } = self;
        let [i, j] = [1, 2].map(|axis| tape.places(&[1, len, len], axis));
        let [place, moved, turned] = [(); 3].map(|()| tape.uniform(&[samples, 1, 1]));
        let middle = (len as f64 - 1.0) / 2.0;
        // Noise, the last one, moves nothing.
        let own = self.of_lanes.iter().take(3);
        let values: Vec<&Value> = [&i, &j, window, &place, &moved, &turned].into_iter().chain(own).collect();
        tape.map(&values, |of| {
            let [i, j, window, place, moved, turned] = [0, 1, 2, 3, 4, 5].map(|n| of[n].clone());
            let own = |strength: Strength| of[6 + strength.of_lane].clone();
            let even = |u: Expr| u * 2.0 - 1.0;
            let smaller = window * own(crop) * crop.times;
            let from_middle = j - middle;
            let from_middle = match flips && flip.times > 0.0 {
                true => turned.less(own(flip) * flip.times).select(from_middle.clone() * -1.0, from_middle),
                false => from_middle,
            };
            let stretched = from_middle.clone() - from_middle * smaller.clone();
            let source = stretched + middle + smaller * middle * even(place) + own(shift) * shift.times * even(moved);
            (Expr::number(1.0) - (i - source).abs()).max(0.0)
        })
    }
}

/// Whether an input is images; if not, an error on the tape.
fn check_images(tape: &mut Tape, x: &Value) -> Result<(), Value> {
    if x.shape().len() == 4 {
        return Ok(());
    }
    let expected = "[samples, channels, lines, columns]";
    Err(tape.fail(Error::shape("input of an augmentation", expected, format!("{:?}", x.shape()))))
}

impl Model for Augment {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        if let Err(error) = self.check() {
            return tape.fail(error);
        }
        if let Err(failed) = check_images(tape, x) {
            return failed;
        }
        let strength = tape.buffer("strength", &[1], Init::Constant(1.0));
        if !tape.is_training() {
            return x.clone();
        }
        let [shift, crop, flip, noise] =
            [self.shift, self.crop, self.flip, self.noise].map(|times| Strength { of_lane: 0, times });
        Strengths { of_lanes: vec![strength], shift, crop, flip, noise }.augmented(tape, x)
    }
}

impl Model for LaneAugment {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        if let Err(failed) = check_images(tape, x) {
            return failed;
        }
        let strengths = tape.buffer("strengths", &[4], Init::Constant(0.0));
        if !tape.is_training() {
            return x.clone();
        }
        let of_lanes = (0..4).map(|kind| strengths.slice(0, kind..kind + 1)).collect();
        let kinds = [self.shift, self.crop, self.flip, self.noise];
        let of_kind = |of_lane: usize| Strength { of_lane, times: if kinds[of_lane] { 1.0 } else { 0.0 } };
        let [shift, crop, flip, noise] = [0, 1, 2, 3].map(of_kind);
        Strengths { of_lanes, shift, crop, flip, noise }.augmented(tape, x)
    }
}
