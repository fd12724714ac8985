//! Linear combinations of vectors.

use super::kernel::{Access, Kernel, params};
use super::launch::{Launch, grid};
use super::memory::{Memory, segments};
use crate::error::Result;
use crate::plan::Combine;
use bytemuck::bytes_of;

params!(CombineParams { len: u32, lanes: u32, lane: u32, coefficients: u32, coefficients_lane: u32 });

/// Terms of one launch: with the coefficients and the output, the eight storage buffers that WebGPU grants.
const TERMS: usize = 6;
/// Threads of a workgroup of the linear combination's kernel.
const THREADS: usize = 256;

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
