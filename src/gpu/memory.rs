//! The buffers of a layout on the device.

use super::device::Gpu;
use crate::error::{Error, Result};
use crate::plan::{Buffer, BufferId, Layout, Scope, View};

/// Everything that a buffer of a program may be used for; the rows of a step are written as storage and read as a uniform.
const USAGES: wgpu::BufferUsages = wgpu::BufferUsages::STORAGE
    .union(wgpu::BufferUsages::UNIFORM)
    .union(wgpu::BufferUsages::COPY_SRC)
    .union(wgpu::BufferUsages::COPY_DST);

/// One device buffer: a range of elements of one or several lanes, lane after lane.
#[derive(Debug)]
pub(super) struct Segment {
    pub buffer: wgpu::Buffer,
    /// First lane.
    pub lane: usize,
    /// Lanes.
    pub lanes: usize,
    /// First element within each lane.
    pub start: usize,
    /// Elements of each lane.
    pub len: usize,
}

/// A declared buffer: one segment, or several where one would exceed the limit of a binding.
#[derive(Debug)]
pub(super) struct Allocation {
    pub segments: Vec<Segment>,
    /// Elements from lane to lane; 0 if lanes share the buffer.
    pub lane_stride: usize,
    /// The most bytes that a binding may have.
    pub binding: u64,
    pub name: String,
}

impl Allocation {
    /// The only segment, for kernels that take no other.
    pub(super) fn single(&self) -> Result<&wgpu::Buffer> {
        match &self.segments[..] {
            [segment] => Ok(&segment.buffer),
            [_, ..] => {
                let needed: u64 = self.segments.iter().map(|segment| segment.buffer.size()).sum();
                Err(Error::limit(format!("{} in one binding", self.name), needed, self.binding))
            }
            [] => Err(Error::Empty { what: self.name.clone() }),
        }
    }
}

/// All buffers of a layout.
#[derive(Debug)]
pub(super) struct Memory {
    allocations: Vec<Allocation>,
}

impl Memory {
    pub(super) fn new(gpu: &Gpu, layout: &Layout) -> Result<Self> {
        let allocations = layout.buffers().iter().map(|buffer| allocate(gpu, buffer, layout.lanes()));
        Ok(Self { allocations: allocations.collect::<Result<_>>()? })
    }

    pub(super) fn get(&self, id: BufferId) -> &Allocation {
        &self.allocations[id.0]
    }

    /// Buffer, first element and lane stride of a view, as kernels want them.
    pub(super) fn view(&self, view: &View) -> Result<(&wgpu::Buffer, u32, u32)> {
        let allocation = self.get(view.buffer);
        Ok((allocation.single()?, view.offset as u32, allocation.lane_stride as u32))
    }

    /// The segments that hold elements `offset..offset + len` of a lane: each with the byte offset there, and the range of those
    /// elements that it holds.
    pub(super) fn pieces(
        &self,
        id: BufferId,
        lane: usize,
        offset: usize,
        len: usize,
    ) -> impl Iterator<Item = (&wgpu::Buffer, u64, std::ops::Range<usize>)> {
        self.get(id).segments.iter().filter(move |s| (s.lane..s.lane + s.lanes).contains(&lane)).filter_map(move |s| {
            let first = offset.max(s.start);
            let last = (offset + len).min(s.start + s.len);
            let at = (lane - s.lane) * s.len + first.saturating_sub(s.start);
            (first < last).then(|| (&s.buffer, at as u64 * 4, first - offset..last - offset))
        })
    }
}

fn allocate(gpu: &Gpu, declared: &Buffer, lanes: usize) -> Result<Allocation> {
    let limits = gpu.device.limits();
    let binding = limits.max_storage_buffer_binding_size.min(limits.max_buffer_size) as usize / 4;
    let (lanes, stride) = (if declared.scope == Scope::Lane { lanes } else { 1 }, declared.stride());
    let segment = |lane, lanes: usize, start, len: usize| {
        let size = (lanes * len * 4) as u64;
        let descriptor = wgpu::BufferDescriptor { label: Some(&declared.name), size, usage: USAGES, mapped_at_creation: false };
        let buffer = gpu.scoped(&declared.name, size, || gpu.device.create_buffer(&descriptor))?;
        Ok(Segment { buffer, lane, lanes, start, len })
    };
    let segments = if stride <= binding {
        let whole = binding / stride;
        (0..lanes).step_by(whole).map(|lane| segment(lane, whole.min(lanes - lane), 0, stride)).collect::<Result<_>>()
    } else {
        let cuts = cuts(declared, binding)?;
        let parts = (0..lanes).flat_map(|lane| cuts.windows(2).map(move |cut| (lane, cut[0], cut[1] - cut[0])));
        parts.map(|(lane, start, len)| segment(lane, 1, start, len)).collect()
    }?;
    let lane_stride = if declared.scope == Scope::Lane { stride } else { 0 };
    Ok(Allocation { segments, lane_stride, binding: binding as u64 * 4, name: declared.name.clone() })
}

/// Where a lane's elements are cut, from 0 to the stride: as late as the binding's limit allows, and only where a norm's chunk
/// begins, so that sums do not depend on it.
fn cuts(declared: &Buffer, binding: usize) -> Result<Vec<usize>> {
    let stride = declared.stride();
    let mut cuts = vec![0];
    let mut allowed = declared.cuts.iter().copied().chain([stride]).peekable();
    while let Some(cut) = allowed.next() {
        let start = cuts[cuts.len() - 1];
        if allowed.peek().is_none_or(|&next| next - start > binding) && cut > start {
            if cut - start > binding {
                let what = format!("{} in one binding", declared.name);
                return Err(Error::limit(what, (stride * 4) as u64, (binding * 4) as u64));
            }
            cuts.push(cut);
        }
    }
    Ok(cuts)
}
