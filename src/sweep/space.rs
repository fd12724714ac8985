//! The space that a sweep searches: parameters with their domains and conditions.

use std::fmt;
use std::str::FromStr;

use super::domain::Domain;
use super::point::{Coordinate, Point};
use crate::error::{Error, Result};

/// A condition: the parameter exists only where another one is active and has one of these values.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct When {
    /// The other parameter, a choice or fixed.
    pub parameter: String,
    /// Its values, each of its domain.
    pub values: Vec<Coordinate>,
}

/// A parameter of a space: its name, its domain, and when it exists.
///
/// As text `NAME=DOMAIN`, or `NAME=DOMAIN if OTHER=VALUE,VALUE` for one that exists under a condition.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Domain, Parameter};
///
/// let lr: Parameter = "lr=log:1e-4:1e-1".parse()?;
/// assert_eq!(lr, Parameter::new("lr", Domain::LogUniform { low: 1e-4, high: 1e-1 }));
/// let momentum: Parameter = "momentum=uniform:0:0.99 if rule=sgd,rmsprop".parse()?;
/// assert_eq!(momentum, Parameter::new("momentum", Domain::Uniform { low: 0.0, high: 0.99 }).when("rule", ["sgd", "rmsprop"]));
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(deny_unknown_fields))]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its values.
    pub domain: Domain,
    /// When it exists; always if `None`.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub when: Option<When>,
}

impl Parameter {
    /// A parameter that always exists.
    pub fn new(name: &str, domain: Domain) -> Self {
        Self { name: name.into(), domain, when: None }
    }

    /// The same, under a condition.
    pub fn when<V: Into<Coordinate>>(mut self, parameter: &str, values: impl IntoIterator<Item = V>) -> Self {
        let values = values.into_iter().map(Into::into).collect();
        self.when = Some(When { parameter: parameter.into(), values });
        self
    }
}

impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.domain)?;
        match &self.when {
            None => Ok(()),
            Some(when) => {
                let values: Vec<String> = when.values.iter().map(Coordinate::to_string).collect();
                write!(f, " if {}={}", when.parameter, values.join(","))
            }
        }
    }
}

impl FromStr for Parameter {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::setting("parameter", format!("'{text}'"), "of the form lr=log:1e-4:1e-1, or … if rule=adam,sgd");
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (domain, condition) = match rest.split_once(" if ") {
            Some((domain, condition)) => (domain, Some(condition)),
            None => (rest, None),
        };
        let parameter = Self::new(name.trim(), domain.trim().parse()?);
        let Some(condition) = condition else { return Ok(parameter) };
        let (other, values) = condition.split_once('=').ok_or_else(wrong)?;
        Ok(parameter.when(other.trim(), values.split(',').map(|value| Coordinate::read(value.trim()))))
    }
}

/// The columns of a table of results: no parameter can have such a name.
pub(crate) const COLUMNS: [&str; 8] = ["trial", "parent", "fold", "seed", "rung", "steps", "metric", "status"];

/// The parameters that a sweep searches.
///
/// It is checked once, where it is made. As text its parameters stand in lines, or with semicolons between them; with the
/// feature `serde` it is a list of parameters.
///
/// # Examples
///
/// ```
/// use thalweg::sweep::{Point, SearchSpace};
///
/// let space: SearchSpace = "lr=log:1e-4:1e-1; rule=choice:adam,sgd; momentum=uniform:0:0.99 if rule=sgd".parse()?;
/// assert_eq!(space.parameters().len(), 3);
///
/// // Momentum exists for SGD alone.
/// space.check(&Point::new().with("lr", 0.01).with("rule", "adam"))?;
/// let error = space.check(&Point::new().with("lr", 0.01).with("rule", "sgd")).unwrap_err();
/// assert_eq!(error.to_string(), "the point lr=0.01 rule=sgd needs momentum, for example 0.495");
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Vec<Parameter>", into = "Vec<Parameter>")
)]
pub struct SearchSpace {
    parameters: Vec<Parameter>,
    /// The numbers of the parameters, in an order in which each comes after the one of its condition.
    order: Vec<usize>,
}

impl SearchSpace {
    /// A space of these parameters. A condition may name a parameter that comes later.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] without parameters or for an empty choice; [`Error::Duplicate`] for a name or a choice that is given
    /// twice; [`Error::Setting`] for reversed or infinite bounds, a logarithm of a bound at or below 0, a range that is no
    /// whole number of steps, names and texts that cannot be written, names of columns of the table of results, conditions in a
    /// circle, and a condition on a parameter that is neither a choice nor fixed; [`Error::Unknown`] for a condition on a
    /// parameter or value that is not there, with the nearest name, and so for a parameter that could never exist.
    pub fn new(parameters: impl IntoIterator<Item = Parameter>) -> Result<Self> {
        let parameters: Vec<Parameter> = parameters.into_iter().collect();
        if parameters.is_empty() {
            return Err(Error::Empty { what: "the search space".into() });
        }
        for (i, parameter) in parameters.iter().enumerate() {
            check_name(&parameter.name)?;
            if parameters[..i].iter().any(|other| other.name == parameter.name) {
                return Err(Error::Duplicate { kind: "parameter".into(), name: parameter.name.clone() });
            }
            parameter.domain.check(&parameter.name)?;
        }
        for parameter in &parameters {
            check_condition(parameter, &parameters)?;
        }
        let order = in_order(&parameters)?;
        Ok(Self { parameters, order })
    }

    /// The parameters, in the order in which they were given.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The parameter of that name.
    ///
    /// # Errors
    ///
    /// [`Error::Unknown`], with the nearest name.
    pub fn parameter(&self, name: &str) -> Result<&Parameter> {
        let found = self.parameters.iter().find(|parameter| parameter.name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            Error::unknown("parameter", name, &names)
        })
    }

    /// Checks that the point has a value of its domain for each active parameter, and no other values.
    ///
    /// # Errors
    ///
    /// [`Error::Missing`] for an active parameter without a value, [`Error::Setting`] for a value that is not of its domain or
    /// belongs to a parameter that does not exist at this point, [`Error::Unknown`] for other names.
    pub fn check(&self, point: &Point) -> Result<()> {
        self.taken(point).map(|_| ())
    }

    /// The point in the space's order and kinds of values.
    pub(crate) fn taken(&self, point: &Point) -> Result<Point> {
        self.complete(point, |parameter| {
            let example = parameter.domain.at(0.5).to_string();
            Err(Error::Missing { what: format!("the point {point}"), setting: parameter.name.clone(), example })
        })
    }

    /// The point in the space's order and kinds of values; what is missing is filled in.
    ///
    /// # Errors
    ///
    /// Those of [`SearchSpace::check`], but for missing values, and those of `fill`.
    pub fn complete(&self, known: &Point, mut fill: impl FnMut(&Parameter) -> Result<Coordinate>) -> Result<Point> {
        for (name, _) in known.iter() {
            self.parameter(name)?;
        }
        self.build(|parameter, exists| match (known.get(&parameter.name), exists) {
            (Some(value), true) => parameter.domain.take(&parameter.name, value),
            (None, true) => fill(parameter),
            (Some(value), false) => Err(Error::setting(&parameter.name, value, &format!("not set here: {parameter}"))),
            (None, false) => Ok(Coordinate::Switch(false)),
        })
    }

    /// A point; `value` gives the value of a parameter.
    pub(crate) fn point(&self, mut value: impl FnMut(usize, &Parameter) -> Coordinate) -> Point {
        let number = |parameter: &Parameter| self.parameters.iter().position(|own| own.name == parameter.name).unwrap_or(0);
        let built = self.build(|parameter, exists| {
            Ok(if exists { value(number(parameter), parameter) } else { Coordinate::Switch(false) })
        });
        built.unwrap_or_default()
    }

    /// Asks for the value of each parameter, those of conditions first, and says whether it exists. Values of those that do not
    /// are dropped.
    fn build(&self, mut value: impl FnMut(&Parameter, bool) -> Result<Coordinate>) -> Result<Point> {
        let mut values: Vec<Option<Coordinate>> = vec![None; self.parameters.len()];
        for &i in &self.order {
            let parameter = &self.parameters[i];
            let exists = parameter.when.as_ref().is_none_or(|when| {
                let other = self.parameters.iter().position(|other| other.name == when.parameter);
                other.and_then(|other| values[other].as_ref()).is_some_and(|value| when.values.contains(value))
            });
            let value = value(parameter, exists)?;
            values[i] = exists.then_some(value);
        }
        let named = self.parameters.iter().zip(values);
        Ok(named.fold(Point::new(), |point, (parameter, value)| match value {
            Some(value) => point.with(&parameter.name, value),
            None => point,
        }))
    }

    /// Numbers of the parameters, each after the one of its condition.
    pub(crate) fn order(&self) -> &[usize] {
        &self.order
    }
}

fn check_name(name: &str) -> Result<()> {
    let plain = !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || "_-./".contains(c));
    let allowed = "letters, digits, '_', '-', '.' and '/'";
    crate::error::range::require(plain, "name of a parameter", format!("'{name}'"), allowed)?;
    let free = !COLUMNS.contains(&name);
    crate::error::range::require(free, "name of a parameter", name, "another: the table of results has such a column")
}

fn check_condition(parameter: &Parameter, all: &[Parameter]) -> Result<()> {
    let Some(when) = &parameter.when else { return Ok(()) };
    let Some(other) = all.iter().find(|other| other.name == when.parameter) else {
        let names: Vec<&str> = all.iter().map(|other| other.name.as_str()).collect();
        return Err(Error::unknown("parameter", &when.parameter, &names));
    };
    let values = match &other.domain {
        Domain::Choice(values) => values.as_slice(),
        Domain::Fixed(value) => std::slice::from_ref(value),
        domain => {
            let field = format!("condition of {}", parameter.name);
            return Err(Error::setting(&field, format!("{}={domain}", other.name), "on a choice or a fixed value"));
        }
    };
    if when.values.is_empty() {
        return Err(Error::Empty { what: format!("the condition of {}", parameter.name) });
    }
    for value in &when.values {
        if !values.contains(value) {
            let known: Vec<String> = values.iter().map(Coordinate::to_string).collect();
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            let kind = format!("value of {} in the condition of {}", other.name, parameter.name);
            return Err(Error::unknown(&kind, &value.to_string(), &known));
        }
    }
    Ok(())
}

/// The numbers of the parameters, in an order in which each comes after the one of its condition.
fn in_order(parameters: &[Parameter]) -> Result<Vec<usize>> {
    let mut order: Vec<usize> = Vec::with_capacity(parameters.len());
    while order.len() < parameters.len() {
        let ready = |i: &usize| {
            let when = parameters[*i].when.as_ref();
            !order.contains(i) && when.is_none_or(|when| order.iter().any(|&j| parameters[j].name == when.parameter))
        };
        match (0..parameters.len()).find(ready) {
            Some(next) => order.push(next),
            None => {
                let circle = (0..parameters.len()).filter(|i| !order.contains(i)).map(|i| parameters[i].name.as_str());
                let circle = circle.collect::<Vec<_>>().join(", ");
                return Err(Error::setting("conditions", circle, "without a circle: none of these could ever exist"));
            }
        }
    }
    Ok(order)
}

impl TryFrom<Vec<Parameter>> for SearchSpace {
    type Error = Error;

    fn try_from(parameters: Vec<Parameter>) -> Result<Self> {
        Self::new(parameters)
    }
}

impl From<SearchSpace> for Vec<Parameter> {
    fn from(space: SearchSpace) -> Self {
        space.parameters
    }
}

impl fmt::Display for SearchSpace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parameters: Vec<String> = self.parameters.iter().map(Parameter::to_string).collect();
        f.write_str(&parameters.join("; "))
    }
}

impl FromStr for SearchSpace {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts = text.split([';', '\n']).map(str::trim).filter(|part| !part.is_empty());
        Self::new(parts.map(str::parse).collect::<Result<Vec<Parameter>>>()?)
    }
}
