//! Groups: which tensors go by which rule.

use super::domain::Domain;
use crate::plan::Tensor;
use crate::rule::{AnyRule, Rule};
use std::fmt;
use std::sync::Arc;

/// The name of the group of all tensors that no other group takes.
pub(super) const DEFAULT: &str = "default";

/// The rule of a group: one for all lanes, or one per lane.
#[derive(Debug, Clone)]
pub struct Rules(pub(super) Vec<Box<dyn AnyRule>>);

impl<R: Rule> From<R> for Rules {
    fn from(rule: R) -> Self {
        Self(vec![rule.into()])
    }
}

impl From<Box<dyn AnyRule>> for Rules {
    fn from(rule: Box<dyn AnyRule>) -> Self {
        Self(vec![rule])
    }
}

impl<R: Into<Box<dyn AnyRule>>> From<Vec<R>> for Rules {
    fn from(rules: Vec<R>) -> Self {
        Self(rules.into_iter().map(Into::into).collect())
    }
}

impl<R: Into<Box<dyn AnyRule>>, const N: usize> From<[R; N]> for Rules {
    fn from(rules: [R; N]) -> Self {
        Self(rules.into_iter().map(Into::into).collect())
    }
}

/// Which tensors a group takes.
#[derive(Clone)]
#[non_exhaustive]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Select {
    /// Tensors of at least this many dimensions.
    AtLeast(usize),
    /// Tensors of fewer dimensions than this: with 2, vectors and scalars.
    Below(usize),
    /// Tensors of exactly this many dimensions: with 2, matrices.
    Dimensions(usize),
    /// Tensors whose name fits a pattern, in which `*` stands for any characters: `*.bias`.
    Named(String),
    /// Tensors for which a function returns true.
    #[cfg_attr(feature = "serde", serde(skip))]
    By(Arc<dyn Fn(&Tensor) -> bool + Send + Sync>),
}

impl fmt::Debug for Select {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(dimensions) => write!(f, "AtLeast({dimensions})"),
            Self::Dimensions(dimensions) => write!(f, "Dimensions({dimensions})"),
            Self::Below(dimensions) => write!(f, "Below({dimensions})"),
            Self::Named(pattern) => write!(f, "Named({pattern:?})"),
            Self::By(_) => f.write_str("By(a function)"),
        }
    }
}

impl Select {
    /// Whether it takes a tensor.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{Select, plan::Arena};
    ///
    /// let mut arena = Arena::default();
    /// arena.add("0.bias", &[4])?;
    /// let bias = arena.tensor("0.bias")?;
    /// assert!(Select::Named("*.bias".into()).takes(bias) && Select::Below(2).takes(bias) && Select::Dimensions(1).takes(bias));
    /// assert!(!Select::Named("*.weight".into()).takes(bias) && !Select::AtLeast(2).takes(bias));
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn takes(&self, tensor: &Tensor) -> bool {
        match self {
            Self::AtLeast(dimensions) => tensor.shape.len() >= *dimensions,
            Self::Dimensions(dimensions) => tensor.shape.len() == *dimensions,
            Self::Below(dimensions) => tensor.shape.len() < *dimensions,
            Self::Named(pattern) => fits(pattern, &tensor.name),
            Self::By(takes) => takes(tensor),
        }
    }
}

/// Whether a name fits a pattern with `*` for any characters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(start) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    // Taking each part at its first place leaves the most text for the parts behind it.
    for part in parts {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(end)
}

/// A group of a recipe.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub name: String,
    pub takes: Select,
    /// One for all lanes, or one per lane.
    pub rules: Vec<Box<dyn AnyRule>>,
    /// Which norm its gradient is part of; known once all groups are.
    pub domain: Domain,
}

#[cfg(test)]
mod tests {
    use super::fits;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, name, expected) in [
            ("*", "", true),
            ("*.bias", "0.bias", true),
            ("*.bias", "0.weight", false),
            ("0.*", "0.bias", true),
            ("0.*", "10.bias", false),
            ("*a*b*", "xxaxxbxx", true),
            ("*a*b*", "xxbxxaxx", false),
            ("a*a", "a", false),
            ("a*ab", "aab", true),
            ("a", "a", true),
            ("a", "ab", false),
            ("*ab*ab", "abab", true),
            ("*ab*ab", "ab", false),
        ] {
            assert_eq!(fits(pattern, name), expected, "{pattern}, {name}");
        }
    }
}
