//! A view of a lane, as the CPU's half of an operation gets it.

use crate::error::{Error, Result};
use crate::plan::Kind;

/// A view of a lane, as the CPU's half of an operation gets it. It knows what it was declared as, so taking it for something
/// else is an error.
#[derive(Debug)]
pub struct Elements<'a, F> {
    slice: Slice<'a, F>,
    operand: &'static str,
    operation: &'static str,
}

/// What is in a view, and what may be done with it.
#[derive(Debug)]
pub(crate) enum Slice<'a, F> {
    Floats(&'a [F]),
    FloatsMut(&'a mut [F]),
    Indices(&'a [u32]),
    IndicesMut(&'a mut [u32]),
}

impl<F> Slice<'_, F> {
    fn described(&self) -> &'static str {
        match self {
            Self::Floats(_) => "floats to read",
            Self::FloatsMut(_) => "floats to write",
            Self::Indices(_) => "indices to read",
            Self::IndicesMut(_) => "indices to write",
        }
    }
}

impl<'a, F> Elements<'a, F> {
    /// In the place of a view that is not there.
    pub(crate) const NONE: Self = Self { slice: Slice::Floats(&[]), operand: "", operation: "" };

    pub(crate) fn new(slice: Slice<'a, F>, operand: &'static str, operation: &'static str) -> Self {
        Self { slice, operand, operation }
    }

    pub(super) fn take(&mut self) -> Self {
        std::mem::replace(self, Self::NONE)
    }

    /// What it holds.
    pub fn kind(&self) -> Kind {
        match self.slice {
            Slice::Floats(_) | Slice::FloatsMut(_) => Kind::Float,
            Slice::Indices(_) | Slice::IndicesMut(_) => Kind::Index,
        }
    }

    /// Floats that were declared to be read.
    ///
    /// # Errors
    /// [`Error::Shape`], naming operation and operand, where they were declared as something else: operands are taken in the
    /// order in which they were declared.
    pub fn floats(self) -> Result<&'a [F]> {
        match self.slice {
            Slice::Floats(elements) => Ok(elements),
            other => Err(wrong(self.operand, self.operation, &other, "floats to read")),
        }
    }

    /// Floats that were declared to be written or changed.
    ///
    /// # Errors
    /// As for [`Elements::floats`].
    pub fn floats_mut(self) -> Result<&'a mut [F]> {
        match self.slice {
            Slice::FloatsMut(elements) => Ok(elements),
            other => Err(wrong(self.operand, self.operation, &other, "floats to write")),
        }
    }

    /// Indices that were declared to be read.
    ///
    /// # Errors
    /// As for [`Elements::floats`].
    pub fn indices(self) -> Result<&'a [u32]> {
        match self.slice {
            Slice::Indices(elements) => Ok(elements),
            other => Err(wrong(self.operand, self.operation, &other, "indices to read")),
        }
    }

    /// Indices that were declared to be written or changed.
    ///
    /// # Errors
    /// As for [`Elements::floats`].
    pub fn indices_mut(self) -> Result<&'a mut [u32]> {
        match self.slice {
            Slice::IndicesMut(elements) => Ok(elements),
            other => Err(wrong(self.operand, self.operation, &other, "indices to write")),
        }
    }
}

/// An operand that is taken for what it is not.
fn wrong<F>(operand: &str, operation: &str, declared: &Slice<'_, F>, asked: &str) -> Error {
    Error::shape(format!("{operand} of {operation}, as its run takes it"), declared.described(), asked)
}
