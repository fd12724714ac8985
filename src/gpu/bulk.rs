//! All lanes of several buffers at once: copies are started together, and the first wait is the only one.

use super::device::Gpu;
use super::memory::Memory;
use super::readback::Copy;
use crate::error::{Error, Result};
use crate::plan::{Buffer, BufferId, Kind, Layout, Scope, Values};
use std::ops::Range;

/// Bytes that may be under way at a time: staging buffers are memory too.
const UNDER_WAY: u64 = 1 << 28;

/// A copy, and what it holds: each lane's elements, and their first byte in the copy.
struct Started {
    /// The place among the buffers that were asked for.
    place: usize,
    parts: Vec<(usize, Range<usize>, usize)>,
    copy: Copy,
}

/// Reads all lanes of buffers, each at least once declared in the layout.
pub(super) fn read(gpu: &Gpu, layout: &Layout, memory: &Memory, ids: &[BufferId]) -> Result<Vec<Values<f32>>> {
    let mut found = ids.iter().map(|&id| empty(layout.known(id)?, layout.lanes())).collect::<Result<Vec<_>>>()?;
    let (mut started, mut bytes) = (Vec::new(), 0);
    for (place, &id) in ids.iter().enumerate() {
        start(gpu, layout, memory, id, &mut |parts, buffer, at, size| {
            if bytes + size > UNDER_WAY {
                finish(gpu, &mut started, &mut found)?;
                bytes = 0;
            }
            bytes += size;
            started.push(Started { place, parts, copy: Copy::of(gpu, buffer, at, size)? });
            Ok(())
        })?;
    }
    finish(gpu, &mut started, &mut found)?;
    Ok(found)
}

/// What is in a part of a device buffer: its lanes' elements, the buffer, first byte and bytes.
type Start<'a> = dyn FnMut(Vec<(usize, Range<usize>, usize)>, &wgpu::Buffer, u64, u64) -> Result<()> + 'a;

fn start(gpu: &Gpu, layout: &Layout, memory: &Memory, id: BufferId, start: &mut Start) -> Result<()> {
    let (declared, allocation) = (layout.declared(id), memory.get(id));
    let bytes = declared.kind.bytes();
    // The caller's slices may lie anywhere.
    if memory.role(id).is_some() {
        return (0..layout.lanes()).try_for_each(|lane| {
            memory.each_piece(id, lane, 0, declared.len, |piece| {
                piece.check_usage(wgpu::BufferUsages::COPY_SRC)?;
                let size = (piece.range.len() * bytes) as u64;
                start(vec![(lane, piece.range.clone(), 0)], piece.buffer, piece.at, size)
            })
        });
    }
    gpu.alive()?;
    allocation.segments.iter().try_for_each(|segment| {
        let elements = segment.start..declared.len.min(segment.start + segment.len);
        let lanes = segment.lane..segment.lane + segment.lanes;
        let parts = lanes.map(|lane| (lane, elements.clone(), bytes * segment.index_of(lane, segment.start)));
        start(parts.filter(|(_, elements, _)| !elements.is_empty()).collect(), &segment.buffer, 0, segment.buffer.size())
    })
}

fn finish(gpu: &Gpu, started: &mut Vec<Started>, found: &mut [Values<f32>]) -> Result<()> {
    for Started { place, parts, copy } in started.drain(..) {
        copy.wait(gpu)?;
        copy.take(gpu, |bytes| {
            parts.into_iter().for_each(|(lane, range, at)| fill(&mut found[place], lane, range, &bytes[at..]))
        })?;
    }
    Ok(())
}

/// Zeros for all lanes of a buffer.
fn empty(declared: &Buffer, lanes: usize) -> Result<Values<f32>> {
    let lanes = if declared.scope == Scope::Lane { lanes } else { 1 };
    Ok(match declared.kind {
        Kind::Float => Values::Floats(zeros(declared, lanes)?),
        Kind::Index => Values::Indices(zeros(declared, lanes)?),
        Kind::Half => Values::Halves(zeros(declared, lanes)?),
    })
}

fn zeros<T: Clone + Default>(declared: &Buffer, lanes: usize) -> Result<Vec<Vec<T>>> {
    let lane = |_| {
        let mut values = Vec::new();
        let bytes = declared.len.saturating_mul(size_of::<T>()) as u64;
        let full = |_| Error::OutOfMemory { what: declared.name.clone(), bytes };
        values.try_reserve_exact(declared.len).map_err(full)?;
        values.resize(declared.len, T::default());
        Ok(values)
    };
    (0..lanes).map(lane).collect()
}

fn fill(values: &mut Values<f32>, lane: usize, range: Range<usize>, bytes: &[u8]) {
    fn copy<T: bytemuck::Pod>(to: &mut [T], bytes: &[u8]) {
        to.copy_from_slice(&bytemuck::pod_collect_to_vec(&bytes[..size_of_val(to)]));
    }
    match values {
        Values::Floats(lanes) => copy(&mut lanes[lane][range], bytes),
        Values::Indices(lanes) => copy(&mut lanes[lane][range], bytes),
        Values::Halves(lanes) => copy(&mut lanes[lane][range], bytes),
    }
}
