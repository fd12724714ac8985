//! Augmentation of images as options.

use crate::Usage;
use crate::numbers::real;
use anyhow::Result;
use serde_json::{Map, Value};
use thalweg::Error;
use thalweg::nn::Augment;

/// The names of strengths, in the order of the layer's.
pub const NAMES: [&str; 4] = ["shift", "crop", "flip", "noise"];

/// The layer's name in a model.
const LAYER: &str = "augment";

/// How images are changed while training, anew in each step.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AugmentArgs {
    /// Pixels by which an image is moved at most, up or down and left or right, while training (cnn) [default: 0]
    #[arg(long, value_name = "X", value_parser = real, allow_negative_numbers = true)]
    shift: Option<f64>,

    /// The share by which a part that is cut out and stretched may be smaller than the image, while training (cnn) [default: 0]
    #[arg(long, value_name = "X", value_parser = real, allow_negative_numbers = true)]
    crop: Option<f64>,

    /// The probability that an image is turned over, left to right, while training (cnn) [default: 0]
    #[arg(long, value_name = "X", value_parser = real, allow_negative_numbers = true)]
    flip: Option<f64>,

    /// The standard deviation of noise that is added to each pixel while training (cnn) [default: 0]
    #[arg(long, value_name = "X", value_parser = real, allow_negative_numbers = true)]
    noise: Option<f64>,
}

impl AugmentArgs {
    fn all(&self) -> [Option<f64>; 4] {
        [self.shift, self.crop, self.flip, self.noise]
    }

    /// Those that are given, with their names.
    pub fn given(&self) -> impl Iterator<Item = (&'static str, f64)> {
        NAMES.into_iter().zip(self.all()).filter_map(|(name, strength)| Some((name, strength?)))
    }

    /// What a lane's buffer holds.
    pub fn strengths(&self) -> Vec<f64> {
        self.all().map(|strength| strength.unwrap_or(0.0)).to_vec()
    }

    /// The same with other strengths where there are any.
    pub fn with(&self, strength: impl Fn(&str) -> Result<Option<f64>, Error>) -> Result<Self, Error> {
        let of = |name: &str, own: Option<f64>| Ok(strength(name)?.or(own));
        Ok(Self {
            shift: of("shift", self.shift)?,
            crop: of("crop", self.crop)?,
            flip: of("flip", self.flip)?,
            noise: of("noise", self.noise)?,
        })
    }

    pub fn check(&self) -> Result<()> {
        let [shift, crop, flip, noise] = self.all().map(|strength| strength.unwrap_or(0.0));
        Ok(Augment { shift, crop, flip, noise }.check().map_err(|error| Usage(error.to_string()))?)
    }

    /// The layer, where any strength is given.
    pub fn layer(&self) -> Option<Value> {
        let mut layer: Map<String, Value> = self.given().map(|(name, strength)| (name.into(), strength.into())).collect();
        let is_given = !layer.is_empty();
        layer.extend(["kind", "name"].map(|key| (key.into(), LAYER.into())));
        is_given.then_some(Value::Object(layer))
    }
}
