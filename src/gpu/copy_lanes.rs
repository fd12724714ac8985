//! Lanes that take over what other lanes hold.

use super::kernel::{Access, Kernel, Source, params};
use super::launch::{Launch, grid};
use super::memory::{Memory, Segment};
use crate::error::Result;
use crate::plan::CopyLanes;
use bytemuck::bytes_of;

params!(CopyLanesParams { len: u32, lanes: u32, first: u32, first_source: u32, source_lanes: u32 });

/// Threads of a workgroup.
const THREADS: usize = 256;

/// From lanes of the same buffer, or of another one.
pub(super) fn copy_lanes_kernel(other: bool) -> Kernel {
    let mut source = Source::default();
    source.bind(Access::Read, "sources", "array<u32>"); // one per lane
    source.bind(Access::Write, "own", "array<vec4u>"); // len per lane of the segment
    if other {
        source.bind(Access::Read, "others", "array<vec4u>"); // len per lane of the other segment
    }
    let taken = if other { "others" } else { "own" };
    source.join(&format!("fn taken(i: u32) -> vec4u {{ return {taken}[i]; }}"));
    source.join(include_str!("../../shaders/copy_lanes.wgsl"));
    source.kernel("copy_lanes", vec![], CopyLanesParams::FIELDS)
}

/// One launch per buffer; where it is cut, one for each two segments with the same elements of lanes.
pub(super) fn copy_lanes<'a>(op: &CopyLanes, lanes: usize, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let sources = memory.get(op.from).single()?;
    let launch = |bytes: u64, own: &'a Segment, other: &'a Segment| {
        let len = own.len * bytes as usize / size_of::<[u32; 4]>();
        let params = CopyLanesParams {
            len: len as u32,
            lanes: lanes as u32,
            first: own.lane as u32,
            first_source: other.lane as u32,
            source_lanes: other.lanes as u32,
        };
        let apart = !std::ptr::eq(own, other);
        let mut buffers = vec![sources.into(), (&own.buffer).into()];
        buffers.extend(apart.then(|| (&other.buffer).into()));
        let (x, y) = grid(len, THREADS);
        let (kernel, params, grid) = (copy_lanes_kernel(apart), bytes_of(&params).into(), [x, y, own.lanes as u32]);
        Launch { kernel, params, buffers, grid, trips: 0 }
    };
    let of_buffer = |&id| {
        let of = memory.get(id);
        of.segments.iter().flat_map(move |own| {
            let same = of.segments.iter().filter(|other| other.start == own.start);
            same.map(move |other| launch(of.bytes, own, other))
        })
    };
    Ok(op.buffers.iter().flat_map(of_buffer).collect())
}
