//! Copies of views.

use super::kernel::{Access, Kernel, params};
use super::launch::{Bound, Launch, grid};
use super::memory::{Memory, Segment};
use crate::error::Result;
use crate::plan::{Layout, View};
use bytemuck::bytes_of;

params!(CopyParams { len: u32, input: u32, input_lane: u32, output: u32, output_lane: u32 });

/// Threads of a workgroup of the copy.
const THREADS: usize = 256;

/// Copies words, or vectors of four where every number is a multiple of four.
pub(super) fn copy_kernel(vectors: bool) -> Kernel {
    let word = if vectors { "alias W = vec4u;\n" } else { "alias W = u32;\n" };
    Kernel {
        name: "copy",
        source: format!("{}{word}", include_str!("../../shaders/copy.wgsl")),
        constants: vec![],
        fields: CopyParams::FIELDS,
        bindings: vec![Access::Read, Access::Write],
        authored: None,
    }
}

/// One launch; where whole buffers of several segments are copied, one per segment.
pub(super) fn copy<'a>(input: &View, output: &View, layout: &Layout, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let (from, to) = (memory.get(input.buffer), memory.get(output.buffer));
    let whole = *input == layout.whole(input.buffer) && *output == layout.whole(output.buffer);
    let alike = from.segments.iter().map(Segment::place).eq(to.segments.iter().map(Segment::place));
    if from.segments.len() > 1 && whole && alike {
        let segments = from.segments.iter().zip(&to.segments);
        return segments.map(|(a, b)| copy_launch([&a.buffer, &b.buffer], [a.len * a.lanes, 0, 0, 0, 0], 1)).collect();
    }
    let numbers = [input.len, input.offset, from.lane_stride, output.offset, to.lane_stride];
    Ok(vec![copy_launch([from.single()?, to.single()?], numbers, layout.lanes())?])
}

fn copy_launch<'a>(buffers: [&'a wgpu::Buffer; 2], numbers: [usize; 5], lanes: usize) -> Result<Launch<'a>> {
    let vectors = numbers.iter().all(|number| number % 4 == 0);
    let [len, input, input_lane, output, output_lane] =
        numbers.map(|number| (if vectors { number / 4 } else { number }) as u32);
    let params = CopyParams { len, input, input_lane, output, output_lane };
    let (x, y) = grid(len as usize, THREADS);
    let (kernel, params) = (copy_kernel(vectors), bytes_of(&params).into());
    Ok(Launch { kernel, params, buffers: buffers.map(Bound::from).into(), grid: [x, y, lanes as u32], trips: 0 })
}
