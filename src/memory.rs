//! Memory for many numbers: it begins at a cache line, and is in large pages where that is worth it.

use bytemuck::{Pod, Zeroable};
use memmap2::{MmapMut, MmapOptions};

/// A cache line; memory starts at one, so that no vector straddles two.
#[repr(C, align(64))]
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
pub(crate) struct Line([u64; 8]);

#[derive(Debug)]
pub(crate) enum Memory {
    Lines(Vec<Line>),
    /// Pages of its own, large ones to compute with: what streams through many arrays at once needs more look-ups of addresses
    /// with small pages than the processor can hide. The numbers begin at this byte.
    Pages(MmapMut, usize),
}

/// Bytes from which memory is worth pages of its own (large ones have 2 MiB on x86-64).
pub(crate) const LARGE: usize = 16 << 20;

impl Memory {
    /// As many bytes, all zero, to compute with. Large memory begins `shift` bytes behind the start of a page; `shift` is a
    /// multiple of a cache line. None where there is not as much memory.
    pub(crate) fn zeros(bytes: usize, shift: usize) -> Option<Self> {
        let memory = Self::passing(bytes, shift)?;
        #[cfg(target_os = "linux")]
        if let Self::Pages(pages, _) = &memory
            && let Err(error) = pages.advise(memmap2::Advice::HugePage)
        {
            log::debug!("no large pages: {error}");
        }
        Some(memory)
    }

    /// [`Memory::zeros`] for what only passes through, written once and read once. It has no large pages: a virtual machine
    /// that has given them back to its host gets them again at a fifth of the speed of small ones, and nothing here makes up
    /// for that.
    pub(crate) fn passing(bytes: usize, shift: usize) -> Option<Self> {
        // No slice may be longer.
        isize::try_from(bytes).ok()?;
        if bytes >= LARGE {
            let pages = MmapOptions::new().len(bytes.checked_add(shift)?).map_anon().ok()?;
            return Some(Self::Pages(pages, shift));
        }
        let (mut lines, count) = (Vec::new(), bytes.div_ceil(size_of::<Line>()));
        lines.try_reserve_exact(count).ok()?;
        lines.resize(count, Line::zeroed());
        Some(Self::Lines(lines))
    }

    /// All of it, and up to a cache line more.
    pub(crate) fn as_slice<T: Pod>(&self) -> &[T] {
        match self {
            Self::Lines(lines) => bytemuck::cast_slice(lines),
            Self::Pages(pages, shift) => bytemuck::cast_slice(&pages[*shift..]),
        }
    }

    pub(crate) fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        match self {
            Self::Lines(lines) => bytemuck::cast_slice_mut(lines),
            Self::Pages(pages, shift) => bytemuck::cast_slice_mut(&mut pages[*shift..]),
        }
    }
}
