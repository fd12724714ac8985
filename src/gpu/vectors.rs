//! Kernels over vectors as wholes: inner products and linear combinations.

use super::kernel::{Access, Bound, Kernel, Launch, grid, params};
use super::memory::{Memory, Segment};
use super::step::kind_number;
use crate::error::{Error, Result};
use crate::plan::{BufferId, CHUNK, Chunk, Combine, Dots, NormKind, View};
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
params!(JoinParams { rows: u32, columns: u32, input: u32, input_lane: u32, output: u32, output_lane: u32 });
params!(CombineParams { len: u32, lanes: u32, lane: u32, coefficients: u32, coefficients_lane: u32 });

/// Left and right vectors of one launch: with the table and the partial sums, the eight storage buffers that WebGPU grants.
const LEFT: usize = 2;
const RIGHT: usize = 4;
/// Terms of one launch of a linear combination, likewise.
const TERMS: usize = 6;
/// Threads of a workgroup of the inner products' kernel, one workgroup per chunk.
const DOTS_THREADS: usize = 64;
/// Threads of a workgroup of the linear combination's kernel.
const THREADS: usize = 256;

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
        constants: vec![("TRIPS", (CHUNK / 4 / DOTS_THREADS) as f64)],
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

/// The segments of vectors that are laid out alike: each segment's place, and its buffers.
fn segments<'a>(vectors: &[BufferId], memory: &'a Memory) -> Result<Vec<(&'a Segment, Vec<Bound<'a>>)>> {
    for &id in vectors {
        // The caller's buffers have no segments.
        if memory.get(id).segments.is_empty() {
            return Err(Error::Empty { what: memory.get(id).name.clone() });
        }
    }
    let places = memory.get(vectors[0]).segments.iter().enumerate();
    let buffer = |id: &BufferId, index: usize| Bound::from(&memory.get(*id).segments[index].buffer);
    Ok(places.map(|(index, place)| (place, vectors.iter().map(|id| buffer(id, index)).collect())).collect())
}

pub(super) fn join_kernel(kind: NormKind) -> Kernel {
    Kernel {
        name: "join_rows",
        source: concat!(include_str!("../../shaders/norm_kind.wgsl"), include_str!("../../shaders/join_rows.wgsl")).into(),
        constants: vec![("KIND", kind_number(kind))],
        fields: JoinParams::FIELDS,
        bindings: vec![Access::Read, Access::Write],
        authored: None,
    }
}

pub(super) fn join<'a>(kind: NormKind, views: [&View; 2], lanes: usize, memory: &'a Memory) -> Result<Launch<'a>> {
    let [rows, columns] = [views[1].len, views[0].len / views[1].len.max(1)];
    let (input, input_offset, input_lane) = memory.view(views[0])?;
    let (output, output_offset, output_lane) = memory.view(views[1])?;
    let params = JoinParams {
        rows: rows as u32,
        columns: columns as u32,
        input: input_offset,
        input_lane,
        output: output_offset,
        output_lane,
    };
    let (x, y) = grid(rows, 1);
    Ok(Launch {
        kernel: join_kernel(kind),
        params: bytes_of(&params).into(),
        buffers: vec![input.into(), output.into()],
        grid: [x, y, lanes as u32],
        trips: (columns / 256) as u64 + 16,
    })
}

pub(super) fn combine_kernel(terms: usize, add: bool) -> Kernel {
    let mut source = String::new();
    for k in 0..terms {
        source += &format!("@group(0) @binding({}) var<storage, read> term_{k}: array<vec4f>; // len per lane\n", 3 + k);
    }
    let products: Vec<String> = (0..terms).map(|k| format!("coefficients[c + {k}u] * term_{k}[i]")).collect();
    source += &format!("fn sum(c: u32, i: u32) -> vec4f {{ return {}; }}\n", products.join(" + "));
    Kernel {
        name: "combine",
        source: source + include_str!("../../shaders/combine.wgsl"),
        constants: vec![("ADD", f64::from(add))],
        fields: CombineParams::FIELDS,
        bindings: [vec![Access::Read, Access::Write], vec![Access::Read; terms]].concat(),
        authored: None,
    }
}

/// One launch per segment, for each few terms.
pub(super) fn combine<'a>(op: &Combine, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let (coefficients, offset, coefficients_lane) = memory.view(&op.coefficients)?;
    let mut launches = Vec::new();
    for (index, terms) in op.terms.chunks(TERMS).enumerate() {
        for (segment, vectors) in segments(&[&[op.output], terms].concat(), memory)? {
            let params = CombineParams {
                len: segment.len as u32 / 4,
                lanes: segment.lanes as u32,
                lane: segment.lane as u32,
                coefficients: offset + (index * TERMS) as u32,
                coefficients_lane,
            };
            let (x, y) = grid(segment.len * segment.lanes / 4, THREADS);
            launches.push(Launch {
                kernel: combine_kernel(terms.len(), index > 0),
                params: bytes_of(&params).into(),
                buffers: std::iter::once(coefficients.into()).chain(vectors).collect(),
                grid: [x, y, 1],
                trips: 0,
            });
        }
    }
    Ok(launches)
}
