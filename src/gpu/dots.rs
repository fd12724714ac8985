//! Inner products of vectors, chunk by chunk.

use super::kernel::{Access, Kernel, params};
use super::launch::{Bound, Launch, grid};
use super::memory::{Memory, segments};
use crate::error::Result;
use crate::plan::{CHUNK, Chunk, Dots};
use bytemuck::bytes_of;

params!(DotsParams {
    len: u32,
    chunks: u32,
    columns: u32,
    first: u32,
    right: u32,
    lane: u32,
    partials: u32,
    partials_lane: u32
});

/// Left and right vectors of one launch: with the table and the partial sums, the eight storage buffers that WebGPU grants.
const LEFT: usize = 2;
const RIGHT: usize = 4;
/// Threads of a workgroup of the inner products' kernel, one workgroup per chunk.
const THREADS: usize = 64;

pub(super) fn dots_kernel(left: usize, right: usize) -> Kernel {
    let mut source = format!("const LEFT = {left}u;\nconst RIGHT = {right}u;\n");
    let names = || (0..left).map(|k| format!("left_{k}")).chain((0..right).map(|k| format!("right_{k}")));
    for (k, name) in names().enumerate() {
        source += &format!("@group(0) @binding({}) var<storage, read> {name}: array<vec4f>; // len per lane\n", 3 + k);
    }
    source += "fn add(all: ptr<function, array<vec4f, PRODUCTS>>, i: u32) {\n";
    for name in names() {
        source += &format!("    let {name}_i = {name}[i];\n");
    }
    for k in 0..left * right {
        source += &format!("    (*all)[{k}] += left_{}_i * right_{}_i;\n", k / right, k % right);
    }
    source += "}\n";
    Kernel {
        name: "dots",
        source: source + include_str!("../../shaders/dots.wgsl"),
        constants: vec![("TRIPS", (CHUNK / 4 / THREADS) as f64)],
        fields: DotsParams::FIELDS,
        bindings: [vec![Access::Read, Access::Write], vec![Access::Read; left + right]].concat(),
        authored: None,
    }
}

/// One launch per segment, for each few vectors.
pub(super) fn dots<'a>(op: &Dots, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    if op.chunks.is_empty() {
        return Ok(Vec::new());
    }
    let mut chunks: Vec<(usize, &Chunk)> = op.chunks.iter().enumerate().collect();
    chunks.sort_by_key(|(_, chunk)| chunk.start);
    let (partials, offset, partials_lane) = memory.view(&op.partials)?;
    let mut launches = Vec::new();
    for (l, left) in op.left.chunks(LEFT).enumerate() {
        for (r, right) in op.right.chunks(RIGHT).enumerate() {
            for (segment, vectors) in segments(&[left, right].concat(), memory)? {
                let before = |end: usize| chunks.partition_point(|(_, chunk)| chunk.start < end);
                let chunks = &chunks[before(segment.start)..before(segment.start + segment.len)];
                let words = |(index, chunk): &(usize, &Chunk)| {
                    [(chunk.start - segment.start) / 4, chunk.len.div_ceil(4), *index, 0].map(|word| word as u32)
                };
                let params = DotsParams {
                    len: segment.len as u32 / 4,
                    chunks: chunks.len() as u32,
                    columns: op.chunks.len() as u32,
                    first: (l * LEFT * op.right.len() + r * RIGHT) as u32,
                    right: op.right.len() as u32,
                    lane: segment.lane as u32,
                    partials: offset,
                    partials_lane,
                };
                let (x, y) = grid(chunks.len(), 1);
                let table = Bound::Words(chunks.iter().flat_map(words).collect());
                launches.push(Launch {
                    kernel: dots_kernel(left.len(), right.len()),
                    params: bytes_of(&params).into(),
                    buffers: [table, partials.into()].into_iter().chain(vectors).collect(),
                    grid: [x, y, segment.lanes as u32],
                    trips: 128,
                });
            }
        }
    }
    Ok(launches)
}
