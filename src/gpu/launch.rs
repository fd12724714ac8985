//! Launches of kernels: what is bound, and how many workgroups there are.

use super::kernel::Kernel;
use super::slice::Window;
use crate::plan::GROUPS;

/// Bytes from one uniform to the next: the alignment of bindings that every device grants.
pub(super) const UNIFORM: usize = 256;

/// One launch of a kernel.
pub(crate) struct Launch<'a> {
    pub kernel: Kernel,
    /// The uniform at binding 0.
    pub params: Vec<u8>,
    /// Buffers at bindings 1, 2, …
    pub buffers: Vec<Bound<'a>>,
    /// Workgroups.
    pub grid: [u32; 3],
    /// Loop iterations of one invocation, at most.
    pub trips: u64,
}

impl Launch<'_> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.grid.contains(&0)
    }
}

/// What is bound to a storage binding.
#[derive(Debug, Clone)]
pub(crate) enum Bound<'a> {
    /// All of a buffer.
    Whole(&'a wgpu::Buffer),
    /// A part of a buffer that the caller owns.
    Window(&'a Window),
    /// Words that never change; a buffer is made of them.
    Words(Vec<u32>),
}

impl<'a> From<&'a wgpu::Buffer> for Bound<'a> {
    fn from(buffer: &'a wgpu::Buffer) -> Self {
        Self::Whole(buffer)
    }
}

/// Workgroups for `threads` threads along x and y, in workgroups of `size`: no dimension exceeds [`GROUPS`].
pub(crate) fn grid(threads: usize, size: usize) -> (u32, u32) {
    let groups = threads.div_ceil(size).max(1);
    let rows = groups.div_ceil(GROUPS);
    (groups.div_ceil(rows) as u32, rows as u32)
}
