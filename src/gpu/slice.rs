//! Parts of buffers.

/// Elements of `f32` in a buffer that the caller owns.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The buffer; it needs the usage `STORAGE`, and `COPY_SRC` and `COPY_DST` to be read and written by the optimizer. It has
    /// to be of the device of the [`Gpu`](super::Gpu) that it is given to: another device of the same wgpu instance is an
    /// error, another instance cannot be told for sure.
    pub buffer: wgpu::Buffer,
    /// First byte, a multiple of 4. Nothing more is required: slices need not start where bindings may.
    pub offset: u64,
    /// Elements.
    pub len: usize,
}

impl Slice {
    /// The byte after the last; one beyond all buffers where that would be too large a number.
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add((self.len as u64).saturating_mul(4))
    }
}

/// A part of a buffer that is bound.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub buffer: wgpu::Buffer,
    pub start: u64,
    pub end: u64,
}

impl Window {
    pub(super) fn of(slice: &Slice, range: &std::ops::Range<usize>) -> Self {
        let at = |element: usize| slice.offset + 4 * element as u64;
        Self { buffer: slice.buffer.clone(), start: at(range.start), end: at(range.end) }
    }

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        let size = std::num::NonZeroU64::new(self.end - self.start);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &self.buffer, offset: self.start, size })
    }

    /// Whether both are bytes of one buffer that overlap, if bindings start at multiples of `align`.
    pub(super) fn touches(&self, other: &Self, align: u64) -> bool {
        let start = |window: &Self| window.start / align * align;
        self.buffer == other.buffer && start(self) < other.end && start(other) < self.end
    }
}
