//! Values of parameters, and points of a space.

use std::convert::Infallible;
use std::fmt;
use std::str::FromStr;

/// A value of a parameter: a switch, a whole number, a number or a text.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::Value;
///
/// let values = ["true", "64", "1e-3", "adam"].map(Value::read);
/// assert_eq!(values, [Value::Switch(true), Value::Int(64), Value::Float(1e-3), Value::Text("adam".into())]);
/// // Written, a number with a point stays one.
/// assert_eq!(Value::Float(2.0).to_string(), "2.0");
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(untagged))]
pub enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Anything else.
    Text(String),
}

impl Value {
    /// The value that the text shows: `true` and `false` are switches, digits alone a whole number, other finite numbers floats.
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

impl fmt::Display for Value {
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

impl FromStr for Value {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self::read(text))
    }
}

impl From<bool> for Value {
    fn from(switch: bool) -> Self {
        Self::Switch(switch)
    }
}

impl From<i64> for Value {
    fn from(int: i64) -> Self {
        Self::Int(int)
    }
}

impl From<i32> for Value {
    fn from(int: i32) -> Self {
        Self::Int(int.into())
    }
}

impl From<f64> for Value {
    fn from(float: f64) -> Self {
        Self::Float(float)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

/// A point of a [`SearchSpace`](super::SearchSpace): the values of all parameters that are active at it, by name.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Point, Value};
///
/// let point = Point::new().with("lr", 0.01).with("rule", "adam");
/// assert_eq!(point.get("lr").and_then(Value::as_f64), Some(0.01));
/// assert_eq!(point.to_string(), "lr=0.01 rule=adam");
/// ```
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Point {
    values: Vec<(String, Value)>,
}

impl Point {
    /// A point without values.
    pub fn new() -> Self {
        Self::default()
    }

    /// The point with one more value, or with another one for that name.
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.set(name, value.into());
        self
    }

    /// The value of a parameter, if the point has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.iter().find(|(own, _)| own == name).map(|(_, value)| value)
    }

    /// Names and values, in the order of the space.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value))
    }

    pub(crate) fn set(&mut self, name: &str, value: Value) {
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
