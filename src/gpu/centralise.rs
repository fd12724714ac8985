//! The mean of each line, taken out of it.

use super::extent::Extent;
use super::holder::Holder;
use super::kernel::{Access, Kernel, Source, params};
use super::launch::{Bound, Launch, grid};
use super::memory::Memory;
use crate::error::Result;
use crate::plan::Centralise;
use bytemuck::bytes_of;

params!(CentraliseParams { len: u32, lines: u32 });

pub(super) fn centralise_kernel(holder: Holder) -> Kernel {
    let mut source = Source::default();
    source.bind(Access::Read, "lines", "array<vec2u>");
    holder.bind_address(&mut source);
    source.join(include_str!("../../shaders/centralise.wgsl"));
    source.kernel("centralise", Vec::new(), CentraliseParams::FIELDS)
}

/// One launch per part that has lines; a line has to lie in one.
pub(super) fn centralise<'a>(op: &Centralise, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let mut launches = Vec::new();
    for part in Extent::all(op.grads, memory) {
        let end = part.start + part.len;
        let lines: Vec<[usize; 2]> = op.lines.iter().copied().filter(|[start, _]| (part.start..end).contains(start)).collect();
        if let Some(&[start, len]) = lines.iter().find(|[start, len]| start + len > end) {
            let bytes = (start + len - part.start) as u64 * 4;
            return Err(memory.beyond(&format!("lines of {len} elements"), op.grads, [part.lane, start], bytes));
        }
        if !lines.is_empty() {
            launches.push(centralise_part(op, &lines, part, memory)?);
        }
    }
    Ok(launches)
}

fn centralise_part<'a>(op: &Centralise, lines: &[[usize; 2]], part: Extent, memory: &'a Memory) -> Result<Launch<'a>> {
    let table = lines.iter().flat_map(|[start, len]| [(start - part.start) as u32, *len as u32]).collect();
    let params = CentraliseParams { len: part.len as u32, lines: lines.len() as u32 };
    let places = part.places_of(op.grads, memory);
    let (x, y) = grid(lines.len(), 1);
    let longest = lines.iter().map(|[_, len]| len / 64).max().unwrap_or(0);
    Ok(Launch {
        kernel: centralise_kernel(memory.holder(op.grads)),
        params: bytes_of(&params).into(),
        buffers: [Bound::Words(table), part.bound(op.grads, memory)?].into_iter().chain(places).collect(),
        grid: [x, y, part.lanes as u32],
        trips: 2 * longest as u64 + 8,
    })
}
