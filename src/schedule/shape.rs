use crate::text::words;
use std::f64::consts::PI;

/// How a value moves from one end of a phase to the other.
///
/// ```text
/// value = to + (from − to) · rest(q)        q from 0 to 1
/// ```
///
/// # Examples
///
/// ```
/// use thalweg::schedule::Shape;
///
/// assert_eq!([Shape::Linear.rest(0.25), Shape::OneMinusSqrt.rest(0.25)], [0.75, 0.5]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Shape {
    /// `rest = (1 + cos(π·q)) / 2`.
    #[default]
    Cosine,
    /// `rest = 1 − q`.
    Linear,
    /// `rest = 1 − √q`: Hägele et al. 2024, arXiv:2405.18392.
    OneMinusSqrt,
}

words!(Shape, "cosine, linear or one_minus_sqrt", Cosine: "cosine", Linear: "linear", OneMinusSqrt: "one_minus_sqrt");

impl Shape {
    /// The part of the way that is left once the fraction `q` of the phase is over.
    pub fn rest(self, q: f64) -> f64 {
        match self {
            Self::Cosine => (1.0 + (PI * q).cos()) / 2.0,
            Self::Linear => 1.0 - q,
            Self::OneMinusSqrt => 1.0 - q.sqrt(),
        }
    }
}
