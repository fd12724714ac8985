//! The buffers of one lane, or those that all lanes share.

use crate::plan::{BufferId, Kind, Layout, Scope, View};
use crate::rule::Real;
use bytemuck::{Pod, Zeroable};
use memmap2::{MmapMut, MmapOptions};

/// A cache line; buffers start at one, so that no vector straddles two.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
struct Line([u64; 8]);

/// Buffers of one scope by id; those of the other scope are absent.
#[derive(Debug)]
pub(super) struct Store<F> {
    buffers: Vec<Option<Elements>>,
    float: std::marker::PhantomData<F>,
}

#[derive(Debug)]
pub(super) struct Elements {
    kind: Kind,
    memory: Memory,
    len: usize,
}

#[derive(Debug)]
enum Memory {
    Lines(Vec<Line>),
    /// Large buffers ask for large pages: updates stream through many arrays at once, and small pages cost them more look-ups of
    /// addresses than the processor can hide. The elements begin at a byte of their own.
    Pages(MmapMut, usize),
}

/// Bytes from which a buffer is worth large pages of its own (2 MiB on x86-64).
const LARGE: usize = 16 << 20;

/// A page and a cache line: by how much more than the one before a large buffer is moved within its pages. Arrays of a power of two of
/// elements would else lie so that one element of each has the same place in the first cache, and AMD's tells lines of one place apart
/// by bits of the address below 2^28 (Lipp et al. 2020, "Take A Way"): five arrays of 64 MiB drive each other out.
const SHIFT: usize = 4096 + size_of::<Line>();

/// Shifts that differ.
const SHIFTS: usize = 16;

impl Memory {
    /// Of the `index`-th buffer.
    fn zeros(index: usize, bytes: usize) -> Self {
        let shift = index % SHIFTS * SHIFT;
        if bytes >= LARGE
            && let Ok(pages) = MmapOptions::new().len(bytes + shift).map_anon()
        {
            #[cfg(target_os = "linux")]
            if let Err(error) = pages.advise(memmap2::Advice::HugePage) {
                log::debug!("no large pages: {error}");
            }
            return Self::Pages(pages, shift);
        }
        Self::Lines(vec![Line::zeroed(); bytes.div_ceil(size_of::<Line>())])
    }
}

impl Elements {
    fn zeros<T: Pod>(index: usize, kind: Kind, len: usize) -> Self {
        Self { kind, memory: Memory::zeros(index, len * size_of::<T>()), len }
    }

    pub(super) fn as_slice<T: Pod>(&self) -> &[T] {
        match &self.memory {
            Memory::Lines(lines) => &bytemuck::cast_slice(lines)[..self.len],
            Memory::Pages(pages, shift) => &bytemuck::cast_slice(&pages[*shift..])[..self.len],
        }
    }

    pub(super) fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        match &mut self.memory {
            Memory::Lines(lines) => &mut bytemuck::cast_slice_mut(lines)[..self.len],
            Memory::Pages(pages, shift) => &mut bytemuck::cast_slice_mut(&mut pages[*shift..])[..self.len],
        }
    }
}

impl<F: Real> Store<F> {
    pub(super) fn new(layout: &Layout, scope: Scope) -> Self {
        let zeros = |index, len, kind| match kind {
            Kind::Float => Elements::zeros::<F>(index, kind, len),
            Kind::Index => Elements::zeros::<u32>(index, kind, len),
            Kind::Half => Elements::zeros::<u16>(index, kind, len),
        };
        let buffers = layout.buffers().iter().enumerate();
        let own = buffers.map(|(index, b)| (b.scope == scope).then(|| zeros(index, b.len, b.kind)));
        Self { buffers: own.collect(), float: std::marker::PhantomData }
    }

    fn elements(&self, id: BufferId) -> &Elements {
        self.buffers[id.0].as_ref().expect("a buffer of this scope")
    }

    fn elements_mut(&mut self, id: BufferId) -> &mut Elements {
        self.buffers[id.0].as_mut().expect("a buffer of this scope")
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
        std::mem::replace(elements, Elements { kind: elements.kind, memory: Memory::Lines(Vec::new()), len: 0 })
    }

    pub(super) fn put(&mut self, id: BufferId, elements: Elements) {
        *self.elements_mut(id) = elements;
    }

    /// Runs `f` with a view's floats to write and everything else to read.
    pub(super) fn write<R>(&mut self, view: &View, f: impl FnOnce(&mut [F], &Self) -> R) -> R {
        let mut elements = self.take(view.buffer);
        let result = f(&mut elements.as_mut_slice()[view.offset..][..view.len], self);
        self.put(view.buffer, elements);
        result
    }
}
