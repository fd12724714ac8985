//! Partial norms of chunks, and what kernels need to join them.

use super::extent::Extent;
use super::holder::Holder;
use super::kernel::{Access, Kernel, Source, params};
use super::launch::{Bound, Launch, grid};
use super::memory::Memory;
use crate::error::Result;
use crate::plan::{BufferId, CHUNK, Chunk, Layout, Norm, NormKind};
use bytemuck::bytes_of;

params!(NormParams { len: u32, chunks: u32, lane: u32, partials_lane: u32, frozen_lane: u32, again: u32 });

/// Threads of a workgroup of the norm's kernel, one workgroup per chunk.
const NORM_THREADS: usize = 64;

pub(super) fn norm_kernel(kind: NormKind, holder: Holder) -> Kernel {
    let mut source = Source::default();
    source.join(NORM_KIND);
    source.join("alias T = vec4f;");
    source.bind(Access::Read, "chunks", "array<vec4u>"); // first vec4, vec4s, place of the partial norm, group
    source.bind(Access::Read, "frozen", "array<u32>"); // one per group of a lane
    source.bind(Access::Write, "partials", "array<f32>"); // partials_lane per lane
    holder.bind_grads(&mut source, "i");
    source.join(include_str!("../../shaders/norm.wgsl"));
    let trips = (CHUNK / 4 / NORM_THREADS) as f64;
    source.kernel("norm", vec![("KIND", kind_number(kind)), ("TRIPS", trips)], NormParams::FIELDS)
}

/// The number of a norm in norm_kind.wgsl.
pub(super) fn kind_number(kind: NormKind) -> f64 {
    match kind {
        NormKind::L2 => 0.0,
        NormKind::L1 => 1.0,
        NormKind::Max => 2.0,
        NormKind::Count => 3.0,
    }
}

/// One launch per part.
pub(super) fn norm<'a>(op: &Norm, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let (partials, frozen) = (memory.get(op.partials), memory.get(op.frozen));
    let mut chunks: Vec<(usize, &Chunk)> = op.chunks.iter().enumerate().collect();
    chunks.sort_by_key(|(_, chunk)| chunk.start);
    let launch = |part: Extent| {
        let before = |end: usize| chunks.partition_point(|(_, chunk)| chunk.start < end);
        let chunks = &chunks[before(part.start)..before(part.start + part.len)];
        let words = |(index, chunk): &(usize, &Chunk)| {
            [(chunk.start - part.start) / 4, chunk.len.div_ceil(4), *index, chunk.group].map(|word| word as u32)
        };
        let (x, y) = grid(chunks.len(), 1);
        let params = NormParams {
            len: part.len as u32 / 4,
            chunks: chunks.len() as u32,
            lane: part.lane as u32,
            partials_lane: partials.lane_stride as u32,
            frozen_lane: frozen.lane_stride as u32,
            again: op.chunks.len() as u32,
        };
        let table = Bound::Words(chunks.iter().flat_map(words).collect());
        let grads = part.bound(op.grads, memory)?;
        let places = part.places_of(op.grads, memory);
        let buffers = [table, frozen.single()?.into(), partials.single()?.into(), grads];
        Ok(Launch {
            kernel: norm_kernel(op.kind, memory.holder(op.grads)),
            params: bytes_of(&params).into(),
            buffers: buffers.into_iter().chain(places).collect(),
            grid: [x, y, part.lanes as u32],
            // Read once more where a sum leaves the range.
            trips: 128,
        })
    };
    if op.chunks.is_empty() { Ok(Vec::new()) } else { Extent::all(op.grads, memory).into_iter().map(launch).collect() }
}

/// The kinds of norms, and sums of them that leave the range of a float.
pub(super) const NORM_KIND: &str =
    concat!(include_str!("../../shaders/norm_kind.wgsl"), include_str!("../../shaders/range.wgsl"));

/// What joins partial norms of a whole lane.
pub(super) const JOINING: &str = concat!(
    include_str!("../../shaders/norm_kind.wgsl"),
    include_str!("../../shaders/range.wgsl"),
    include_str!("../../shaders/join_partials.wgsl")
);

/// The chunks of a lane's partial norms, and trips of the loops that join them: once, or three times.
pub(super) fn chunks_of(norm: Option<(BufferId, NormKind)>, layout: &Layout) -> (u32, u64) {
    let chunks = norm.map_or(0, |(id, kind)| layout.declared(id).len / kind.partials(1));
    (chunks as u32, 3 * (chunks as u64 / 256) + 256 + 32)
}
