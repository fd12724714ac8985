//! Buffers as data.

use super::{ALIGN, Arena};
use crate::error::{Error, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Which numbers a buffer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The engine's float type.
    Float,
    /// `u32`.
    Index,
    /// Floats of 16 bits; see [`Half`](super::Half).
    Half,
}

impl Kind {
    /// Bytes of an element where the engine's floats have four.
    pub fn bytes(self) -> usize {
        self.bytes_where(4)
    }

    /// Bytes of an element where the engine's floats have so many.
    pub(super) fn bytes_where(self, float: usize) -> usize {
        match self {
            Self::Float => float,
            Self::Index => 4,
            Self::Half => 2,
        }
    }
}

/// Whether each lane has its own copy of a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// One copy per lane.
    Lane,
    /// One for all lanes; only operations without lanes write it.
    Shared,
}

/// A buffer's declaration.
#[derive(Debug, Clone, PartialEq)]
pub struct Buffer {
    /// Its name in errors.
    pub name: String,
    /// Elements (per lane).
    pub len: usize,
    /// What it holds.
    pub kind: Kind,
    /// Whose it is.
    pub scope: Scope,
    /// Where it may be cut into several device buffers if it is too large for one, in ascending order.
    pub cuts: Arc<[usize]>,
    /// Those cuts that go through no tensor.
    pub starts: Arc<[usize]>,
}

impl Buffer {
    /// Elements from one lane's copy to the next: the length, padded to [`ALIGN`], at least one block.
    pub fn stride(&self) -> usize {
        self.len.checked_next_multiple_of(ALIGN).unwrap_or(usize::MAX).max(ALIGN)
    }
}

/// A buffer of a [`Layout`]. It knows its layout: its use with another one is an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub(crate) usize, pub(crate) LayoutKey);

/// Tells layouts apart. A copy of a layout has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct LayoutKey(u32);

impl LayoutKey {
    /// Another key than all before it in this process, as far as 32 bits go.
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl BufferId {
    /// A buffer of no layout, for texts of kernels that nobody runs.
    #[cfg(test)]
    pub(crate) fn of_none(index: usize) -> Self {
        Self(index, LayoutKey(0))
    }
}

/// A part of a buffer, the same in each lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// The buffer.
    pub buffer: BufferId,
    /// First element.
    pub offset: usize,
    /// Elements.
    pub len: usize,
}

/// The buffers of a program, for a number of lanes.
#[derive(Debug, Clone, PartialEq)]
pub struct Layout {
    key: LayoutKey,
    lanes: usize,
    buffers: Vec<Buffer>,
}

/// The values of a buffer, copied; memory that there is not becomes an error.
pub(crate) fn copied<T: Copy>(name: &str, values: &[T]) -> Result<Vec<T>> {
    let mut copy = Vec::new();
    let bytes = size_of_val(values) as u64;
    copy.try_reserve_exact(values.len()).map_err(|_| Error::OutOfMemory { what: name.into(), bytes })?;
    copy.extend_from_slice(values);
    Ok(copy)
}

impl Layout {
    /// No buffers yet, for `lanes` lanes.
    pub fn new(lanes: usize) -> Self {
        Self { key: LayoutKey::new(), lanes, buffers: Vec::new() }
    }

    /// Members of the population.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// All buffers, in the order of their ids.
    pub fn buffers(&self) -> &[Buffer] {
        &self.buffers
    }

    /// Declares floats of each lane.
    pub fn floats(&mut self, name: &str, len: usize) -> BufferId {
        self.declare(name, len, Kind::Float, Scope::Lane)
    }

    /// Declares indices of each lane.
    pub fn indices(&mut self, name: &str, len: usize) -> BufferId {
        self.declare(name, len, Kind::Index, Scope::Lane)
    }

    /// Declares floats shared by all lanes.
    pub fn shared_floats(&mut self, name: &str, len: usize) -> BufferId {
        self.declare(name, len, Kind::Float, Scope::Shared)
    }

    /// Declares indices shared by all lanes.
    pub fn shared_indices(&mut self, name: &str, len: usize) -> BufferId {
        self.declare(name, len, Kind::Index, Scope::Shared)
    }

    /// Declares floats of each lane that are laid out as an arena; they may be cut between its chunks.
    pub fn arena(&mut self, name: &str, arena: &Arena) -> BufferId {
        self.declare_arena(name, arena, Kind::Float)
    }

    /// [`Layout::arena`] of floats of 16 bits.
    pub fn half_arena(&mut self, name: &str, arena: &Arena) -> BufferId {
        self.declare_arena(name, arena, Kind::Half)
    }

    fn declare_arena(&mut self, name: &str, arena: &Arena, kind: Kind) -> BufferId {
        let id = self.declare(name, arena.len(), kind, Scope::Lane);
        (self.buffers[id.0].cuts, self.buffers[id.0].starts) = (arena.cuts(), arena.starts());
        id
    }

    fn declare(&mut self, name: &str, len: usize, kind: Kind, scope: Scope) -> BufferId {
        self.buffers.push(Buffer { name: name.into(), len, kind, scope, cuts: Arc::default(), starts: Arc::default() });
        BufferId(self.buffers.len() - 1, self.key)
    }

    /// A buffer's declaration.
    ///
    /// # Errors
    /// [`Error::Setting`] for a buffer of another layout, or of a copy of this one that has more.
    pub fn buffer(&self, id: BufferId) -> Result<&Buffer> {
        self.known(id)
    }

    /// The declaration of a buffer that was checked.
    pub(crate) fn declared(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0]
    }

    /// A buffer's declaration, where the id may be another layout's.
    pub(crate) fn known(&self, id: BufferId) -> Result<&Buffer> {
        let found = self.buffers.get(id.0).filter(|_| id.1 == self.key);
        found.ok_or_else(|| {
            let found = if id.1 == self.key { id.0.to_string() } else { format!("{} of another layout", id.0) };
            Error::setting("buffer", found, &format!("below {}, the buffers of this layout", self.buffers.len()))
        })
    }

    /// The id of a buffer by its place.
    pub(super) fn id(&self, index: usize) -> BufferId {
        BufferId(index, self.key)
    }

    /// A view of all of a buffer. One of another layout's buffer has no elements, and is an error in every plan.
    pub fn whole(&self, id: BufferId) -> View {
        View { buffer: id, offset: 0, len: self.known(id).map_or(0, |declared| declared.len) }
    }

    /// Checks that the buffers can be asked for: an answer has no place for halves.
    pub(crate) fn check_request(&self, buffers: &[BufferId]) -> Result<()> {
        buffers.iter().try_for_each(|&id| match self.known(id)? {
            declared if declared.kind == Kind::Half => Err(Error::shape(&declared.name, "floats or indices", "halves")),
            _ => Ok(()),
        })
    }

    /// Whether a buffer is laid out as an arena.
    pub(crate) fn check_arena(&self, id: BufferId, arena: &Arena) -> Result<()> {
        let declared = self.known(id)?;
        if (declared.len, &declared.cuts, &declared.starts) != (arena.len(), &arena.cuts(), &arena.starts()) {
            let expected = format!("the arena of the slices, of {} elements", arena.len());
            return Err(Error::shape(&declared.name, expected, format!("another of {}", declared.len)));
        }
        Ok(())
    }

    /// Checks that a lane's copy of a buffer exists, holds such elements, and `len` of them from element `offset` on.
    pub(crate) fn check_access(&self, id: BufferId, kind: Kind, lane: usize, offset: usize, len: usize) -> Result<()> {
        let declared = self.known(id)?;
        if declared.kind != kind {
            return Err(Error::shape(&declared.name, format!("{kind:?}"), format!("{:?}", declared.kind)));
        }
        if lane >= self.lanes {
            return Err(Error::setting("lane", lane, &format!("below {}", self.lanes)));
        }
        // A sum that overflows is beyond every buffer.
        let end = offset.saturating_add(len);
        if end > declared.len {
            return Err(Error::shape(&declared.name, format!("at most {} elements", declared.len), end));
        }
        Ok(())
    }
}
