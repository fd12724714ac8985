//! The values that one parameter may take.

use std::fmt;
use std::str::FromStr;

use super::point::Coordinate;
use crate::error::{Error, Result};

/// Whole numbers up to here are exact in `f64`.
const EXACT: i64 = 1 << 53;
/// How far from a whole number of steps a range may end, as a part of a step, since bounds such as 0.3 are rounded.
const ROUNDING: f64 = 1e-9;

/// The values that a parameter may take, and how they are spread.
///
/// As text, `DOMAIN:…`:
///
/// | text | values | spread |
/// | --- | --- | --- |
/// | `uniform:0:0.9` | numbers from 0 to 0.9 | evenly |
/// | `log:1e-4:1e-1` | numbers from 0.0001 to 0.1 | logarithms evenly |
/// | `int:1:4` or `int:32:256:32` | whole numbers from the first to the second, in steps of the third | evenly |
/// | `logint:8:512` | whole numbers from 8 to 512 | logarithms evenly |
/// | `step:0:0.5:0.1` | 0, 0.1, …, 0.5 | evenly |
/// | `choice:adam,sgd` | those of the list | evenly |
/// | `fixed:0.9` | that one | |
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
pub enum Domain {
    /// Numbers from `low` to `high`.
    Uniform {
        /// The least value.
        low: f64,
        /// The largest value.
        high: f64,
    },
    /// Numbers from `low`, above 0, to `high`, whose logarithms are spread evenly.
    LogUniform {
        /// The least value, above 0.
        low: f64,
        /// The largest value.
        high: f64,
    },
    /// Whole numbers from `low` to `high`.
    Integer {
        /// The least value.
        low: i64,
        /// The largest value, a whole number of steps above `low`.
        high: i64,
        /// The difference between neighbours, at least 1.
        step: i64,
    },
    /// Whole numbers from `low`, at least 1, to `high`, whose logarithms are spread evenly.
    LogInteger {
        /// The least value, at least 1.
        low: i64,
        /// The largest value.
        high: i64,
    },
    /// Numbers from `low` to `high` in steps.
    Stepped {
        /// The least value.
        low: f64,
        /// The largest value, a whole number of steps above `low`.
        high: f64,
        /// The difference between neighbours, above 0.
        step: f64,
    },
    /// One of a list. The values are of one kind and differ.
    Choice(Vec<Coordinate>),
    /// Always the same value.
    Fixed(Coordinate),
}

impl Domain {
    /// A choice of values of one kind.
    pub fn choice<V: Into<Coordinate>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::Choice(values.into_iter().map(Into::into).collect())
    }

    /// Whether the bounds make sense; `name` is the parameter's, for the error.
    pub(crate) fn check(&self, name: &str) -> Result<()> {
        match self {
            Self::Uniform { low, high } => ordered(name, *low, *high),
            Self::LogUniform { low, high } => {
                let above = *low > 0.0 && low.is_finite();
                require(above, name, "low", low, "finite and above 0, as the scale is logarithmic")?;
                ordered(name, *low, *high)
            }
            Self::Integer { low, high, step } => {
                ordered_integers(name, *low, *high)?;
                require(*step >= 1, name, "step", step, "at least 1")?;
                let last = low + (high - low) / step * step;
                let allowed = format!("whole steps from low: {last} or {}", last.saturating_add(*step));
                require(last == *high, name, "high", high, &allowed)
            }
            Self::LogInteger { low, high } => {
                require(*low >= 1, name, "low", low, "at least 1, as the scale is logarithmic")?;
                ordered_integers(name, *low, *high)
            }
            Self::Stepped { low, high, step } => {
                ordered(name, *low, *high)?;
                require(*step > 0.0 && step.is_finite(), name, "step", step, "finite and above 0")?;
                let steps = (high - low) / step;
                require(steps <= EXACT as f64, name, "step", step, "larger: there are more than 2^53 values")?;
                let (below, above) = (low + steps.floor() * step, low + steps.ceil() * step);
                let whole = steps.round() >= 1.0 && (steps - steps.round()).abs() <= ROUNDING * steps.max(1.0);
                require(whole, name, "high", high, &format!("whole steps from low: {below} or {above}"))
            }
            Self::Choice(values) => check_choice(name, values),
            Self::Fixed(value) => writable(name, value),
        }
    }

    /// How many values there are, where they can be counted.
    pub fn count(&self) -> Option<u64> {
        match self {
            Self::Uniform { .. } | Self::LogUniform { .. } => None,
            Self::Integer { low, high, step } => Some(((high - low) / step) as u64 + 1),
            Self::LogInteger { low, high } => Some((high - low) as u64 + 1),
            Self::Stepped { low, high, step } => Some(((high - low) / step).round() as u64 + 1),
            Self::Choice(values) => Some(values.len() as u64),
            Self::Fixed(_) => Some(1),
        }
    }

    /// The value at a share `u`, from 0 to 1, of the domain. For uniform `u` the value has the domain's spread.
    pub fn at(&self, u: f64) -> Coordinate {
        let cell = |count: u64| ((u * count as f64) as u64).min(count - 1);
        match self {
            Self::Uniform { low, high } => Coordinate::Float((low + u * (high - low)).clamp(*low, *high)),
            Self::LogUniform { low, high } => {
                let (from, to) = (low.ln(), high.ln());
                Coordinate::Float((from + u * (to - from)).exp().clamp(*low, *high))
            }
            Self::Integer { low, step, .. } => Coordinate::Int(low + cell(self.count().unwrap_or(1)) as i64 * step),
            Self::LogInteger { low, high } => {
                let (from, to) = ((*low as f64 - 0.5).ln(), (*high as f64 + 0.5).ln());
                Coordinate::Int(((from + u * (to - from)).exp().round() as i64).clamp(*low, *high))
            }
            Self::Stepped { .. } => self.nth(cell(self.count().unwrap_or(1))),
            Self::Choice(values) => values[cell(values.len() as u64) as usize].clone(),
            Self::Fixed(value) => value.clone(),
        }
    }

    /// Value number `i` of a domain that can be counted; the last one if there are fewer.
    pub(crate) fn nth(&self, i: u64) -> Coordinate {
        let i = i.min(self.count().unwrap_or(1) - 1);
        match self {
            Self::Integer { low, step, .. } => Coordinate::Int(low + i as i64 * step),
            Self::LogInteger { low, .. } => Coordinate::Int(low + i as i64),
            // The last value is exactly the bound that was given.
            Self::Stepped { high, .. } if Some(i + 1) == self.count() => Coordinate::Float(*high),
            Self::Stepped { low, step, .. } => Coordinate::Float(low + i as f64 * step),
            Self::Choice(values) => values[i as usize].clone(),
            Self::Fixed(value) => value.clone(),
            Self::Uniform { .. } | Self::LogUniform { .. } => self.at(0.0),
        }
    }

    /// The number of a value in a domain that can be counted.
    pub(crate) fn index(&self, value: &Coordinate) -> Option<u64> {
        match (self, value) {
            (Self::Integer { low, step, .. }, Coordinate::Int(int)) => Some(((int - low) / step) as u64),
            (Self::LogInteger { low, .. }, Coordinate::Int(int)) => Some((int - low) as u64),
            (Self::Stepped { low, step, .. }, Coordinate::Float(float)) => Some(((float - low) / step).round() as u64),
            (Self::Choice(values), value) => values.iter().position(|own| own == value).map(|i| i as u64),
            (Self::Fixed(_), _) => Some(0),
            _ => None,
        }
    }

    /// The share of the domain at which a value lies. A value that can be counted has a part of the shares: it is the middle of
    /// that part.
    pub fn share(&self, value: &Coordinate) -> f64 {
        let between = |x: f64, low: f64, high: f64| (x - low) / (high - low);
        match (self, value.as_f64()) {
            (Self::Uniform { low, high }, Some(x)) => between(x, *low, *high),
            (Self::LogUniform { low, high }, Some(x)) => between(x.ln(), low.ln(), high.ln()),
            (Self::LogInteger { low, high }, Some(x)) => between(x.ln(), (*low as f64 - 0.5).ln(), (*high as f64 + 0.5).ln()),
            _ => match (self.index(value), self.count()) {
                (Some(index), Some(count)) => (index as f64 + 0.5) / count as f64,
                _ => 0.5,
            },
        }
    }

    /// The value in the domain's kind: a whole number may stand for a float, and a text for the value that it shows.
    pub(crate) fn take(&self, name: &str, value: &Coordinate) -> Result<Coordinate> {
        let taken = match (self, value) {
            (Self::Uniform { .. } | Self::LogUniform { .. } | Self::Stepped { .. }, Coordinate::Int(int)) => {
                Coordinate::Float(*int as f64)
            }
            _ => value.clone(),
        };
        let inside = match (self, &taken) {
            (Self::Uniform { low, high } | Self::LogUniform { low, high }, Coordinate::Float(x)) => (*low..=*high).contains(x),
            (Self::Integer { low, high, step }, Coordinate::Int(x)) => (*low..=*high).contains(x) && (x - low) % step == 0,
            (Self::LogInteger { low, high }, Coordinate::Int(x)) => (*low..=*high).contains(x),
            (Self::Stepped { low, high, step }, Coordinate::Float(x)) => {
                let steps = (x - low) / step;
                (*low..=*high).contains(x) && (steps - steps.round()).abs() <= ROUNDING * steps.abs().max(1.0)
            }
            (Self::Choice(values), value) => values.contains(value),
            (Self::Fixed(own), value) => own == value,
            _ => false,
        };
        if !inside {
            return Err(Error::setting(name, value, &format!("in {self}")));
        }
        // Steps such as 0.1 are rounded, so this is the domain's value, not the one that was written.
        Ok(if let Self::Stepped { .. } = self { self.nth(self.index(&taken).unwrap_or(0)) } else { taken })
    }
}

fn require(holds: bool, name: &str, bound: &str, value: impl ToString, allowed: &str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::setting(&format!("{bound} of {name}"), value, allowed)) }
}

fn ordered(name: &str, low: f64, high: f64) -> Result<()> {
    require(low.is_finite(), name, "low", low, "finite")?;
    require(high.is_finite(), name, "high", high, "finite")?;
    require(low < high, name, "low", low, &format!("below high = {high} (fixed:{low} for one value)"))?;
    require((high - low).is_finite(), name, "high", high, "so near to low that their difference is finite")
}

fn ordered_integers(name: &str, low: i64, high: i64) -> Result<()> {
    for (bound, value) in [("low", low), ("high", high)] {
        require((-EXACT..=EXACT).contains(&value), name, bound, value, "from -2^53 to 2^53")?;
    }
    require(low < high, name, "low", low, &format!("below high = {high} (fixed:{low} for one value)"))
}

fn check_choice(name: &str, values: &[Coordinate]) -> Result<()> {
    let Some(first) = values.first() else {
        return Err(Error::Empty { what: format!("the choice of {name}") });
    };
    for (i, value) in values.iter().enumerate() {
        writable(name, value)?;
        if values[..i].contains(value) {
            return Err(Error::Duplicate { kind: format!("choice of {name}"), name: value.to_string() });
        }
        let kind = first.kind();
        require(value.kind() == kind, name, "choice", value, &format!("{kind}, as {first} is"))?;
    }
    Ok(())
}

/// Whether a value can be written in a text form and read from it again.
fn writable(name: &str, value: &Coordinate) -> Result<()> {
    match value {
        Coordinate::Float(float) => require(float.is_finite(), name, "value", float, "finite"),
        Coordinate::Text(text) => {
            let plain = !text.is_empty() && text.trim() == text && !text.contains([',', ';']) && !text.contains(" if ");
            let plain = plain && !text.chars().any(char::is_control);
            let allowed = "a text that is not empty, without commas, semicolons, ' if ' and blanks at its ends";
            require(plain, name, "value", format!("'{text}'"), allowed)?;
            let read = Coordinate::read(text);
            require(read == *value, name, "value", format!("'{text}'"), &format!("no text that reads as {}", read.kind()))
        }
        _ => Ok(()),
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform { low, high } => write!(f, "uniform:{low:?}:{high:?}"),
            Self::LogUniform { low, high } => write!(f, "log:{low:?}:{high:?}"),
            Self::Integer { low, high, step: 1 } => write!(f, "int:{low}:{high}"),
            Self::Integer { low, high, step } => write!(f, "int:{low}:{high}:{step}"),
            Self::LogInteger { low, high } => write!(f, "logint:{low}:{high}"),
            Self::Stepped { low, high, step } => write!(f, "step:{low:?}:{high:?}:{step:?}"),
            Self::Choice(values) => {
                let values: Vec<String> = values.iter().map(Coordinate::to_string).collect();
                write!(f, "choice:{}", values.join(","))
            }
            Self::Fixed(value) => write!(f, "fixed:{value}"),
        }
    }
}

/// The kinds of domains, each with an example.
const KINDS: [(&str, &str); 7] = [
    ("uniform", "uniform:0:0.9"),
    ("log", "log:1e-4:1e-1"),
    ("int", "int:1:4"),
    ("logint", "logint:8:512"),
    ("step", "step:0:0.5:0.1"),
    ("choice", "choice:adam,sgd"),
    ("fixed", "fixed:0.9"),
];

impl FromStr for Domain {
    type Err = Error;

    /// Reads the text form; the space checks the bounds.
    fn from_str(text: &str) -> Result<Self> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let kind = kind.trim();
        let Some(&(_, example)) = KINDS.iter().find(|(name, _)| *name == kind) else {
            return Err(Error::unknown("domain", kind, &KINDS.map(|(name, _)| name)));
        };
        let wrong = || Error::setting("domain", format!("'{text}'"), &format!("of the form {example}"));
        let parts: Vec<&str> = rest.split(':').map(str::trim).collect();
        Ok(match (kind, &parts[..]) {
            ("uniform", [low, high]) => Self::Uniform { low: read(low, wrong)?, high: read(high, wrong)? },
            ("log", [low, high]) => Self::LogUniform { low: read(low, wrong)?, high: read(high, wrong)? },
            ("int", [low, high]) => Self::Integer { low: read(low, wrong)?, high: read(high, wrong)?, step: 1 },
            ("int", [low, high, step]) => {
                Self::Integer { low: read(low, wrong)?, high: read(high, wrong)?, step: read(step, wrong)? }
            }
            ("logint", [low, high]) => Self::LogInteger { low: read(low, wrong)?, high: read(high, wrong)? },
            ("step", [low, high, step]) => {
                Self::Stepped { low: read(low, wrong)?, high: read(high, wrong)?, step: read(step, wrong)? }
            }
            ("choice", _) if rest.trim().is_empty() => Self::Choice(Vec::new()),
            ("choice", _) => Self::Choice(one_kind(rest.split(',').map(|value| Coordinate::read(value.trim())).collect())),
            ("fixed", _) => Self::Fixed(Coordinate::read(rest.trim())),
            _ => return Err(wrong()),
        })
    }
}

fn read<T: FromStr>(text: &str, wrong: impl Fn() -> Error) -> Result<T> {
    text.parse().map_err(|_| wrong())
}

/// If some of the numbers have a point, all become floats. Texts among other kinds stay as they are: to make all of them texts
/// would be a guess.
fn one_kind(values: Vec<Coordinate>) -> Vec<Coordinate> {
    let numbers = values.iter().all(|value| value.as_f64().is_some());
    let floats = values.iter().any(|value| matches!(value, Coordinate::Float(_)));
    match numbers && floats {
        true => values.iter().filter_map(Coordinate::as_f64).map(Coordinate::Float).collect(),
        false => values,
    }
}
