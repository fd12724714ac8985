//! The buffers of one lane, or those that all lanes share.

use crate::error::{Error, Result};
#[cfg(feature = "checkpoint")]
use crate::memory::LARGE;
use crate::memory::{Line, Memory};
#[cfg(feature = "checkpoint")]
use crate::plan::Fresh;
use crate::plan::{Buffer, BufferId, Kind, Layout, Scope, View};
use crate::rule::Real;
use bytemuck::Pod;

/// Buffers of one scope by id; those of the other scope are absent.
#[derive(Debug)]
pub(super) struct Store<F> {
    buffers: Vec<Option<Elements>>,
    /// The lane's place among the others; 0 for what they share.
    lane: usize,
    float: std::marker::PhantomData<F>,
}

#[derive(Debug)]
pub(super) struct Elements {
    kind: Kind,
    memory: Memory,
    len: usize,
    /// Whether somebody may have written to it.
    used: bool,
}

/// A page and a cache line: each large buffer is moved by this much more within its pages than the one before. Without it, in
/// arrays whose lengths are a power of two, elements with the same index would have the same place in the first cache. AMD's
/// cache tells lines of one place apart by bits of the address below 2^28 (Lipp et al. 2020, "Take A Way"), so five arrays of
/// 64 MiB would evict each other.
const SHIFT: usize = 4096 + size_of::<Line>();

/// Shifts that differ.
const SHIFTS: usize = 16;

impl Elements {
    fn zeros<T: Pod>(index: usize, declared: &Buffer) -> Result<Self> {
        let &Buffer { kind, len, .. } = declared;
        let bytes = len.saturating_mul(size_of::<T>());
        let memory = Memory::zeros(bytes, index % SHIFTS * SHIFT);
        let memory = memory.ok_or_else(|| Error::OutOfMemory { what: declared.name.clone(), bytes: bytes as u64 })?;
        Ok(Self { kind, memory, len, used: false })
    }

    pub(super) fn as_slice<T: Pod>(&self) -> &[T] {
        &self.memory.as_slice()[..self.len]
    }

    pub(super) fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        &mut self.memory.as_mut_slice()[..self.len]
    }
}

impl<F: Real> Store<F> {
    /// # Errors
    /// [`Error::OutOfMemory`], naming the buffer.
    pub(super) fn new(layout: &Layout, scope: Scope, lane: usize) -> Result<Self> {
        let zeros = |(index, declared): (usize, &Buffer)| match declared.kind {
            _ if declared.scope != scope => Ok(None),
            Kind::Float => Elements::zeros::<F>(index, declared).map(Some),
            Kind::Index => Elements::zeros::<u32>(index, declared).map(Some),
            Kind::Half => Elements::zeros::<u16>(index, declared).map(Some),
        };
        let buffers = layout.buffers().iter().enumerate().map(zeros).collect::<Result<_>>()?;
        Ok(Self { buffers, lane, float: std::marker::PhantomData })
    }

    /// The stores of all lanes.
    ///
    /// # Errors
    /// As for [`Store::new`].
    pub(super) fn lanes(layout: &Layout) -> Result<Vec<Self>> {
        let (mut stores, lanes) = (Vec::new(), layout.lanes());
        let bytes = lanes.saturating_mul(size_of::<Self>()) as u64;
        stores.try_reserve_exact(lanes).map_err(|_| Error::OutOfMemory { what: format!("{lanes} lanes"), bytes })?;
        for lane in 0..lanes {
            stores.push(Self::new(layout, Scope::Lane, lane)?);
        }
        Ok(stores)
    }

    pub(super) fn lane(&self) -> usize {
        self.lane
    }

    fn elements(&self, id: BufferId) -> &Elements {
        self.buffers[id.0].as_ref().expect("a buffer of this scope")
    }

    fn elements_mut(&mut self, id: BufferId) -> &mut Elements {
        let elements = self.buffers[id.0].as_mut().expect("a buffer of this scope");
        elements.used = true;
        elements
    }

    pub(super) fn floats(&self, id: BufferId) -> &[F] {
        self.elements(id).as_slice()
    }

    pub(super) fn floats_mut(&mut self, id: BufferId) -> &mut [F] {
        self.elements_mut(id).as_mut_slice()
    }

    pub(super) fn indices(&self, id: BufferId) -> &[u32] {
        self.elements(id).as_slice()
    }

    pub(super) fn indices_mut(&mut self, id: BufferId) -> &mut [u32] {
        self.elements_mut(id).as_mut_slice()
    }

    pub(super) fn halves(&self, id: BufferId) -> &[u16] {
        self.elements(id).as_slice()
    }

    pub(super) fn halves_mut(&mut self, id: BufferId) -> &mut [u16] {
        self.elements_mut(id).as_mut_slice()
    }

    /// Makes a buffer what another lane has.
    pub(super) fn take_over(&mut self, other: &Self, id: BufferId) {
        match self.elements(id).kind {
            Kind::Float => self.floats_mut(id).copy_from_slice(other.floats(id)),
            Kind::Index => self.indices_mut(id).copy_from_slice(other.indices(id)),
            Kind::Half => self.halves_mut(id).copy_from_slice(other.halves(id)),
        }
    }

    /// The floats of a view, from this lane or from the shared buffers.
    pub(super) fn view<'a>(&'a self, view: &View, shared: &'a Self) -> &'a [F] {
        let owner = if self.buffers[view.buffer.0].is_some() { self } else { shared };
        &owner.floats(view.buffer)[view.offset..][..view.len]
    }

    /// Whether a buffer is of this scope.
    pub(super) fn has(&self, id: BufferId) -> bool {
        self.buffers[id.0].is_some()
    }

    /// Takes a buffer out, so that it can be written while others are read; [`Store::put`] brings it back.
    pub(super) fn take(&mut self, id: BufferId) -> Elements {
        let elements = self.elements_mut(id);
        std::mem::replace(elements, Elements { memory: Memory::Lines(Vec::new()), len: 0, ..*elements })
    }

    pub(super) fn put(&mut self, id: BufferId, elements: Elements) {
        *self.elements_mut(id) = elements;
    }

    /// Memory for a large buffer that nobody has written to. The system has not found pages for the old memory yet, so both
    /// together take no more than one.
    #[cfg(feature = "checkpoint")]
    pub(super) fn fresh(&self, id: BufferId, declared: &Buffer) -> Option<Fresh<F>> {
        let bytes = declared.len.checked_mul(size_of::<F>()).filter(|&bytes| bytes >= LARGE && !self.elements(id).used)?;
        Memory::zeros(bytes, id.0 % SHIFTS * SHIFT).map(|memory| Fresh::new(memory, declared.len))
    }

    /// Gives a buffer other memory, which is as long.
    #[cfg(feature = "checkpoint")]
    pub(super) fn replace(&mut self, id: BufferId, fresh: Fresh<F>) {
        self.elements_mut(id).memory = fresh.into_memory();
    }

    /// Runs `f` with a view's floats to write and everything else to read.
    pub(super) fn write<R>(&mut self, view: &View, f: impl FnOnce(&mut [F], &Self) -> R) -> R {
        let mut elements = self.take(view.buffer);
        let result = f(&mut elements.as_mut_slice()[view.offset..][..view.len], self);
        self.put(view.buffer, elements);
        result
    }
}
