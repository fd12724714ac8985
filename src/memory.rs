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
    /// Large pages: what streams through many arrays at once needs more look-ups of addresses with small pages than the
    /// processor can hide, and the system gives large pages out much faster. The numbers begin at this byte.
    Pages(MmapMut, usize),
}

/// Bytes from which memory is worth large pages of its own (2 MiB on x86-64).
const LARGE: usize = 16 << 20;

impl Memory {
    /// As many bytes, all zero. Large memory begins `shift` bytes behind the start of a page; `shift` is a multiple of a cache
    /// line. None where there is not as much memory.
    pub(crate) fn zeros(bytes: usize, shift: usize) -> Option<Self> {
        // No slice may be longer.
        isize::try_from(bytes).ok()?;
        if bytes >= LARGE {
            let pages = MmapOptions::new().len(bytes.checked_add(shift)?).map_anon().ok()?;
            #[cfg(target_os = "linux")]
            if let Err(error) = pages.advise(memmap2::Advice::HugePage) {
                log::debug!("no large pages: {error}");
            }
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
