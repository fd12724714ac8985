//! Which tensors of a file were loaded.

use crate::error::Error;
use std::fmt;

/// What loading took from a file and what it left.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Loaded {
    /// Tensors that were loaded.
    pub loaded: Vec<String>,
    /// Tensors that stay as they were, each with the reason: the file lacks it, or has it in another shape or type.
    pub kept: Vec<(String, Error)>,
    /// Tensors of the file that were not used: nothing here has their names.
    pub unused: Vec<String>,
    /// Tensors that were loaded with an infinite value or NaN in them, each with the place of the first one.
    pub not_finite: Vec<(String, usize)>,
}

impl Loaded {
    /// Whether every tensor of the optimizer was loaded, and every tensor of the file was used; also where values are not
    /// finite.
    pub fn is_complete(&self) -> bool {
        self.kept.is_empty() && self.unused.is_empty()
    }

    /// Notes a tensor that was loaded, and where it has a value that is not finite.
    pub(crate) fn add(&mut self, name: String, not_finite: Option<usize>) {
        self.not_finite.extend(not_finite.map(|place| (name.clone(), place)));
        self.loaded.push(name);
    }

    /// Values that are not finite are loaded as they are, but with a warning.
    pub(crate) fn warn(&self) {
        for (name, place) in &self.not_finite {
            log::warn!("tensor '{name}' is loaded with a value that is not finite, the first one at element {place}");
        }
    }
}

impl fmt::Display for Loaded {
    /// A line for the tensors that were loaded, and one for each that was kept, not used or not finite.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = self.loaded.len();
        write!(f, "{number} {} loaded", if number == 1 { "tensor is" } else { "tensors are" })?;
        for (name, reason) in &self.kept {
            write!(f, "\n{name} stays as it was: {reason}")?;
        }
        for name in &self.unused {
            write!(f, "\n{name} of the file is not used")?;
        }
        for (name, place) in &self.not_finite {
            write!(f, "\n{name} has a value that is not finite, the first one at element {place}")?;
        }
        Ok(())
    }
}
