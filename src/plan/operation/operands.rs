//! The views of an operation, as it declares them.

use crate::error::{Error, Result};
use crate::plan::{Kind, Layout, View};

/// What an operation does with a view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// Reads it.
    Read,
    /// Writes all of it.
    Write,
    /// Reads and writes it.
    Change,
    /// Memory for what comes between its kernels: nothing is known of it before or after.
    Scratch,
}

/// A view of an operation.
#[derive(Debug, Clone, PartialEq)]
pub struct Operand {
    /// Its name in errors and in WGSL.
    pub name: &'static str,
    /// The view.
    pub view: View,
    /// What it holds.
    pub kind: Kind,
    /// What is done with it.
    pub usage: Use,
    /// Elements that the operation relies on.
    pub len: usize,
}

impl Operand {
    /// Whether it is written.
    pub fn written(&self) -> bool {
        self.usage != Use::Read
    }

    /// Checks kind, length and place.
    pub(super) fn check(&self, operation: &str, layout: &Layout) -> Result<()> {
        let Self { view, kind, len, .. } = self;
        let buffer = layout.declared(view.buffer);
        let require = |holds, expected: String, found: String| self.require(holds, operation, &buffer.name, expected, found);
        require(*kind != Kind::Half && buffer.kind == *kind, format!("{kind:?}"), format!("{:?}", buffer.kind))?;
        require(view.len == *len, format!("{len} elements"), view.len.to_string())?;
        let inside = view.offset.checked_add(view.len).is_some_and(|end| end <= buffer.len);
        let found = format!("{} from element {} on", view.len, view.offset);
        require(inside, format!("at most {} elements", buffer.len), found)
    }

    pub(super) fn require(
        &self,
        holds: bool,
        operation: &str,
        buffer: &str,
        expected: impl ToString,
        found: impl ToString,
    ) -> Result<()> {
        let what = || format!("{} of {operation} (buffer {buffer})", self.name);
        if holds { Ok(()) } else { Err(Error::shape(what(), expected, found)) }
    }
}

/// The views of an operation, in order.
#[derive(Debug, Clone, Default)]
pub struct Operands {
    pub(super) list: Vec<Operand>,
    /// The first size that cannot be: its name, the size, and which ones can.
    pub(super) wrong: Option<(&'static str, usize, String)>,
}

impl Operands {
    /// Declares a view by all that is known of it. Floats of 16 bits are no operands.
    pub fn declare(&mut self, name: &'static str, view: View, kind: Kind, usage: Use, len: usize) {
        self.list.push(Operand { name, view, kind, usage, len });
    }

    /// Floats that are read, `len` of them.
    pub fn read(&mut self, name: &'static str, view: View, len: usize) {
        self.declare(name, view, Kind::Float, Use::Read, len);
    }

    /// Floats that are written, all of them.
    pub fn write(&mut self, name: &'static str, view: View, len: usize) {
        self.declare(name, view, Kind::Float, Use::Write, len);
    }

    /// Floats that are read and written.
    pub fn change(&mut self, name: &'static str, view: View, len: usize) {
        self.declare(name, view, Kind::Float, Use::Change, len);
    }

    /// Indices that are read. Any value may stand in them: the operation compares each with what it points into.
    pub fn indices(&mut self, name: &'static str, view: View, len: usize) {
        self.declare(name, view, Kind::Index, Use::Read, len);
    }

    /// Requires that a size is not below the least that it may be.
    pub fn at_least(&mut self, name: &'static str, size: usize, least: usize) {
        if size < least && self.wrong.is_none() {
            self.wrong = Some((name, size, format!("at least {least}")));
        }
    }

    /// Requires that a size is not beyond the most that it may be.
    pub fn at_most(&mut self, name: &'static str, size: usize, most: usize) {
        if size > most && self.wrong.is_none() {
            self.wrong = Some((name, size, format!("at most {most}")));
        }
    }

    /// Requires that a size is the only one that it may be.
    pub fn exactly(&mut self, name: &'static str, size: usize, expected: usize) {
        if size != expected && self.wrong.is_none() {
            self.wrong = Some((name, size, format!("exactly {expected}")));
        }
    }

    /// Requires that a size is a multiple of another one.
    pub fn multiple_of(&mut self, name: &'static str, size: usize, unit: usize) {
        if !size.is_multiple_of(unit) && self.wrong.is_none() {
            self.wrong = Some((name, size, format!("a multiple of {unit}")));
        }
    }

    /// A product of sizes. One that overflows becomes the largest number, which is beyond every view: an error when the plan is
    /// checked.
    pub fn product(sizes: &[usize]) -> usize {
        sizes.iter().fold(1, |product, &size| product.saturating_mul(size))
    }

    /// The operands in order.
    pub fn list(&self) -> &[Operand] {
        &self.list
    }
}
