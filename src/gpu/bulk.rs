//! All lanes of several buffers at once: copies are started together, and the first wait is the only one.

use super::device::Gpu;
use super::memory::Memory;
use super::readback::Copy;
use crate::error::{Error, Result};
use crate::plan::{Buffer, BufferId, Kind, Layout, Scope, Values};
use std::ops::Range;

/// Bytes that may be under way at a time: staging buffers are memory too.
const UNDER_WAY: u64 = 1 << 28;

/// A part of a device buffer that is wanted.
struct Wanted {
    /// The place among the buffers that were asked for.
    place: usize,
    /// What is in it: lanes, their elements, and the first byte of these.
    parts: Vec<(usize, Range<usize>, usize)>,
    buffer: wgpu::Buffer,
    at: u64,
    size: u64,
}

impl Wanted {
    fn start(&self, gpu: &Gpu) -> Result<Copy> {
        Copy::of(gpu, &self.buffer, self.at, self.size)
    }

    /// Takes over what a copy has brought.
    fn take(&self, gpu: &Gpu, copy: &Copy, found: &mut [Values<f32>]) -> Result<()> {
        let found = &mut found[self.place];
        copy.take(gpu, |bytes| {
            self.parts.iter().for_each(|(lane, range, at)| fill(found, *lane, range.clone(), &bytes[*at..]));
        })
    }
}

/// Reads all lanes of buffers, each at least once declared in the layout.
pub(super) fn read(gpu: &Gpu, layout: &Layout, memory: &Memory, ids: &[BufferId]) -> Result<Vec<Values<f32>>> {
    let (mut found, wanted) = all(gpu, layout, memory, ids)?;
    for wanted in together(&wanted) {
        let copies = wanted.iter().map(|wanted| wanted.start(gpu)).collect::<Result<Vec<_>>>()?;
        for (wanted, copy) in wanted.iter().zip(copies) {
            copy.wait(gpu)?;
            wanted.take(gpu, &copy, &mut found)?;
        }
    }
    Ok(found)
}

/// [`read`] without blocking a browser.
pub(super) async fn read_async(gpu: &Gpu, layout: &Layout, memory: &Memory, ids: &[BufferId]) -> Result<Vec<Values<f32>>> {
    let (mut found, wanted) = all(gpu, layout, memory, ids)?;
    for wanted in together(&wanted) {
        let copies = wanted.iter().map(|wanted| wanted.start(gpu)).collect::<Result<Vec<_>>>()?;
        for (wanted, copy) in wanted.iter().zip(copies) {
            copy.arrive(gpu).await?;
            wanted.take(gpu, &copy, &mut found)?;
        }
    }
    Ok(found)
}

/// Runs of parts that may be under way at a time: at least one, and no more bytes than that.
fn together(wanted: &[Wanted]) -> impl Iterator<Item = &[Wanted]> {
    let mut rest = wanted;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let fits = |wanted: &&Wanted| {
            bytes += wanted.size;
            bytes <= UNDER_WAY
        };
        let count = rest.iter().take_while(fits).count().max(1).min(rest.len());
        let (now, later) = rest.split_at(count);
        rest = later;
        (!now.is_empty()).then_some(now)
    })
}

/// Room for the values of buffers, and the parts that will fill it.
fn all(gpu: &Gpu, layout: &Layout, memory: &Memory, ids: &[BufferId]) -> Result<(Vec<Values<f32>>, Vec<Wanted>)> {
    let found = ids.iter().map(|&id| empty(layout.known(id)?, layout.lanes())).collect::<Result<Vec<_>>>()?;
    let mut wanted = Vec::new();
    for (place, &id) in ids.iter().enumerate() {
        parts(gpu, layout, memory, (place, id), &mut wanted)?;
    }
    Ok((found, wanted))
}

fn parts(gpu: &Gpu, layout: &Layout, memory: &Memory, (place, id): (usize, BufferId), wanted: &mut Vec<Wanted>) -> Result<()> {
    let (declared, allocation) = (layout.declared(id), memory.get(id));
    let bytes = declared.kind.bytes();
    // The caller's slices may lie anywhere.
    if memory.role(id).is_some() {
        return (0..layout.lanes()).try_for_each(|lane| {
            memory.each_piece(id, lane, 0, declared.len, |piece| {
                piece.check_usage(wgpu::BufferUsages::COPY_SRC)?;
                let (parts, size) = (vec![(lane, piece.range.clone(), 0)], (piece.range.len() * bytes) as u64);
                wanted.push(Wanted { place, parts, buffer: piece.buffer.clone(), at: piece.at, size });
                Ok(())
            })
        });
    }
    gpu.alive()?;
    wanted.extend(allocation.segments.iter().map(|segment| {
        let elements = segment.start..declared.len.min(segment.start + segment.len);
        let lanes = segment.lane..segment.lane + segment.lanes;
        let parts = lanes.map(|lane| (lane, elements.clone(), bytes * segment.index_of(lane, segment.start)));
        let parts = parts.filter(|(_, elements, _)| !elements.is_empty()).collect();
        Wanted { place, parts, buffer: segment.buffer.clone(), at: 0, size: segment.buffer.size() }
    }));
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
