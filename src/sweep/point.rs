//! Points of a space, and their coordinates.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// The value of a parameter at a point: a switch, a whole number, a number or a text.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::Coordinate;
///
/// let values = ["true", "64", "1e-3", "adam"].map(Coordinate::read);
/// assert_eq!(values, [Coordinate::Switch(true), Coordinate::Int(64), Coordinate::Float(1e-3), Coordinate::Text("adam".into())]);
/// // Written, a number with a point stays one.
/// assert_eq!(Coordinate::Float(2.0).to_string(), "2.0");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(untagged))]
pub enum Coordinate {
    /// `true` or `false`.
    Switch(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Anything else.
    Text(String),
}

impl Coordinate {
    /// The value that the text shows: `true` and `false` are switches, digits alone a whole number, other finite numbers
    /// floats.
    pub fn read(text: &str) -> Self {
        if let Ok(switch) = text.parse() {
            Self::Switch(switch)
        } else if let Ok(int) = text.parse() {
            Self::Int(int)
        } else if let Some(float) = text.parse().ok().filter(|float: &f64| float.is_finite()) {
            Self::Float(float)
        } else {
            Self::Text(text.into())
        }
    }

    /// A number of either kind.
    pub fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Int(int) => Some(int as f64),
            Self::Float(float) => Some(float),
            _ => None,
        }
    }

    /// A whole number.
    pub fn as_i64(&self) -> Option<i64> {
        if let Self::Int(int) = *self { Some(int) } else { None }
    }

    /// A switch.
    pub fn as_bool(&self) -> Option<bool> {
        if let Self::Switch(switch) = *self { Some(switch) } else { None }
    }

    /// A text.
    pub fn as_str(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// What kind of value it is, in words.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Switch(_) => "a switch",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
        }
    }
}

impl fmt::Display for Coordinate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Switch(switch) => write!(f, "{switch}"),
            Self::Int(int) => write!(f, "{int}"),
            // With a point or an exponent, and with all the digits that it needs.
            Self::Float(float) => write!(f, "{float:?}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl FromStr for Coordinate {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::read(text))
    }
}

impl From<bool> for Coordinate {
    fn from(switch: bool) -> Self {
        Self::Switch(switch)
    }
}

impl From<i64> for Coordinate {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<i32> for Coordinate {
    fn from(int: i32) -> Self {
        Self::Int(int.into())
    }
}

impl From<f64> for Coordinate {
    fn from(float: f64) -> Self {
        Self::Float(float)
    }
}

impl From<&str> for Coordinate {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Coordinate {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A point of a [`SearchSpace`](super::SearchSpace): the values of all parameters that are active at it, by name.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Point, Coordinate};
///
/// let point = Point::new().with("lr", 0.01).with("rule", "adam");
/// assert_eq!(point.get("lr").and_then(Coordinate::as_f64), Some(0.01));
/// assert_eq!(point.to_string(), "lr=0.01 rule=adam");
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Point {
    values: Vec<(String, Coordinate)>,
}

impl Point {
    /// A point without values.
    pub fn new() -> Self {
        Self::default()
    }

    /// The point with one more value, or with another one for that name.
    pub fn with(mut self, name: &str, value: impl Into<Coordinate>) -> Self {
        self.set(name, value.into());
        self
    }

    /// The value of a parameter, if the point has it.
    pub fn get(&self, name: &str) -> Option<&Coordinate> {
        self.values.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Names and values, in the order of the space.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Coordinate)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn set(&mut self, name: &str, value: Coordinate) {
        match self.values.iter_mut().find(|(own, _)| own == name) {
            Some((_, own)) => *own = value,
            None => self.values.push((name.into(), value)),
        }
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (name, value)) in self.iter().enumerate() {
            write!(f, "{}{name}={value}", if i > 0 { " " } else { "" })?;
        }
        Ok(())
    }
}
