//! The buffers of a layout on the device.

use super::borrowed::{Borrowed, Owner, Role};
use super::bucket::{Bucket, Room};
use super::device::Gpu;
use super::holder::Holder;
use super::launch::Bound;
use crate::error::{Error, Result, Unit};
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

impl Segment {
    /// Where an element of a lane stands in it.
    pub(super) fn index_of(&self, lane: usize, element: usize) -> usize {
        (lane - self.lane) * self.len + element - self.start
    }

    /// Which part of the declared buffer it is: first lane, lanes, first element, elements.
    pub(super) fn place(&self) -> [usize; 4] {
        [self.lane, self.lanes, self.start, self.len]
    }
}

/// A declared buffer: one segment, or several where one would exceed the limit of a binding.
#[derive(Debug)]
pub(super) struct Allocation {
    pub segments: Vec<Segment>,
    /// Elements from lane to lane; 0 if lanes share the buffer.
    pub lane_stride: usize,
    /// The most bytes that a binding may have.
    pub binding: u64,
    /// Bytes of an element.
    pub bytes: u64,
    pub name: String,
}

impl Allocation {
    /// The only segment, for kernels that take no other.
    pub(super) fn single(&self) -> Result<&wgpu::Buffer> {
        match &self.segments[..] {
            [segment] => Ok(&segment.buffer),
            [_, ..] => {
                let needed: u64 = self.segments.iter().map(|segment| segment.buffer.size()).sum();
                Err(Error::limit(buffer(&self.name), needed, self.binding, Unit::Binding))
            }
            [] => Err(Error::Empty { what: self.name.clone() }),
        }
    }
}

/// A buffer as errors name it.
fn buffer(name: &str) -> String {
    format!("the buffer '{name}'")
}

/// Some of a lane's elements in a device buffer.
#[derive(Debug)]
pub(super) struct Piece<'a> {
    pub buffer: &'a wgpu::Buffer,
    /// First byte.
    pub at: u64,
    /// Which of the elements asked for.
    pub range: std::ops::Range<usize>,
    /// Which slice it is part of, if the buffer is the caller's.
    owner: Option<Owner<'a>>,
}

impl Piece<'_> {
    /// The caller's buffer may lack a usage that a copy needs.
    pub(super) fn check_usage(&self, usage: wgpu::BufferUsages) -> Result<()> {
        let Some(owner) = self.owner.filter(|_| !self.buffer.usage().contains(usage)) else { return Ok(()) };
        Err(Error::shape(owner.to_string(), format!("usage {usage:?}"), format!("{:?}", self.buffer.usage())))
    }
}

/// All buffers of a layout.
#[derive(Debug)]
pub(super) struct Memory {
    allocations: Vec<Allocation>,
    borrowed: Option<Slices>,
}

/// The buffers that stand for slices, and how dispatches reach them.
#[derive(Debug)]
struct Slices {
    roles: [(BufferId, Role); 2],
    /// Bytes that a binding starts at a multiple of.
    align: u64,
    borrowed: Borrowed,
    buckets: Vec<Bucket>,
}

impl Memory {
    /// # Errors
    /// Those of the device, each with the bytes that it had given until then, and has back.
    pub(super) fn new(gpu: &Gpu, layout: &Layout) -> Result<Self, (Error, u128)> {
        let (mut allocations, mut given) = (Vec::new(), 0);
        for buffer in layout.buffers() {
            let allocation = allocate(gpu, buffer, layout.lanes()).map_err(|error| (error, given))?;
            given += allocation.segments.iter().map(|segment| u128::from(segment.buffer.size())).sum::<u128>();
            allocations.push(allocation);
        }
        Ok(Self { allocations, borrowed: None })
    }

    /// Memory in which two buffers stand for the slices of parameters and gradients.
    pub(super) fn over(gpu: &Gpu, layout: &Layout, [params, grads]: [BufferId; 2], borrowed: Borrowed) -> Result<Self> {
        let limits = gpu.device.limits();
        let limit = binding_limit(gpu);
        let allocations = layout.buffers().iter().enumerate().map(|(index, buffer)| {
            if [params.0, grads.0].contains(&index) {
                let (lane_stride, name) = (buffer.stride(), buffer.name.clone());
                return Ok(Allocation { segments: Vec::new(), lane_stride, binding: limit, bytes: 4, name });
            }
            allocate(gpu, buffer, layout.lanes())
        });
        let allocations = allocations.collect::<Result<_>>()?;
        let (declared, binding) = (layout.declared(params), limit as usize / 4);
        let room = Room {
            align: u64::from(limits.min_storage_buffer_offset_alignment),
            limit,
            cuts: cuts(declared, binding)?,
            lanes: whole_lanes(declared, binding),
        };
        let buckets = borrowed.buckets(&room);
        let roles = [(params, Role::Params), (grads, Role::Grads)];
        Ok(Self { allocations, borrowed: Some(Slices { roles, align: room.align, borrowed, buckets }) })
    }

    /// What a buffer that stands for slices holds.
    pub(super) fn role(&self, id: BufferId) -> Option<Role> {
        let slices = self.borrowed.as_ref()?;
        slices.roles.iter().find(|(known, _)| *known == id).map(|(_, role)| *role)
    }

    /// Who holds a buffer.
    pub(super) fn holder(&self, id: BufferId) -> Holder {
        if self.role(id).is_some() { Holder::Borrowed } else { Holder::Own }
    }

    /// The buckets of the slices; none where there are no slices.
    pub(super) fn buckets(&self) -> &[Bucket] {
        self.borrowed.as_ref().map_or(&[], |slices| &slices.buckets)
    }

    /// The error of something at an element of a lane that does not fit one binding, as it needs `bytes` or more. It names the
    /// slice, if it is the caller's.
    pub(super) fn beyond(&self, what: &str, id: BufferId, [lane, element]: [usize; 2], bytes: u64) -> Error {
        let own = || (buffer(&self.get(id).name), bytes);
        let slice = self
            .borrowed
            .as_ref()
            .zip(self.role(id))
            .and_then(|(slices, role)| slices.borrowed.whole(role, lane, element, slices.align, self.get(id).binding));
        let (whose, needed) = slice.unwrap_or_else(own);
        Error::limit(format!("{what} of {whose}"), needed, self.get(id).binding, Unit::Binding)
    }

    /// A buffer of this layout, or nothing.
    pub(super) fn find(&self, id: BufferId) -> Option<&Allocation> {
        self.allocations.get(id.0)
    }

    pub(super) fn get(&self, id: BufferId) -> &Allocation {
        &self.allocations[id.0]
    }

    /// Buffer, first element and lane stride of a view, as kernels want them.
    pub(super) fn view(&self, view: &View) -> Result<(&wgpu::Buffer, u32, u32)> {
        let allocation = self.get(view.buffer);
        Ok((allocation.single()?, view.offset as u32, allocation.lane_stride as u32))
    }

    /// Calls `f` with each piece of the elements `offset..offset + len` of a lane that a device buffer of its own holds.
    pub(super) fn each_piece(
        &self,
        id: BufferId,
        lane: usize,
        offset: usize,
        len: usize,
        mut f: impl FnMut(&Piece) -> Result<()>,
    ) -> Result<()> {
        let bytes = self.get(id).bytes;
        let mut piece = |buffer: &wgpu::Buffer, owner, byte: u64, start: usize, held: usize| {
            let (first, last) = (offset.max(start), (offset + len).min(start + held));
            let at = byte + bytes * first.saturating_sub(start) as u64;
            if first < last { f(&Piece { buffer, at, range: first - offset..last - offset, owner }) } else { Ok(()) }
        };
        match self.borrowed.as_ref().zip(self.role(id)) {
            Some((slices, role)) => slices
                .borrowed
                .slices(role, lane)
                .try_for_each(|(slice, place, owner)| piece(&slice.buffer, Some(owner), slice.offset, place.offset, slice.len)),
            None => {
                let mut own = self.get(id).segments.iter().filter(|s| (s.lane..s.lane + s.lanes).contains(&lane));
                own.try_for_each(|s| piece(&s.buffer, None, bytes * s.index_of(lane, s.start) as u64, s.start, s.len))
            }
        }
    }
}

/// The buffer if there is one, else any: something has to be bound, though the kernel does not read it.
pub(super) fn or_nothing(allocation: Option<&Allocation>) -> Result<Bound<'_>> {
    allocation.map_or(Ok(Bound::Words(vec![0; 4])), |allocation| allocation.single().map(Bound::from))
}

/// The segments of vectors that are laid out alike: each segment's place, and its buffers.
pub(super) fn segments<'a>(vectors: &[BufferId], memory: &'a Memory) -> Result<Vec<(&'a Segment, Vec<Bound<'a>>)>> {
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

/// The most bytes that a storage binding may have.
pub(super) fn binding_limit(gpu: &Gpu) -> u64 {
    let limits = gpu.device.limits();
    // Kernels count elements in 32 bits.
    limits.max_storage_buffer_binding_size.min(limits.max_buffer_size).min(u64::from(u32::MAX) * 4)
}

fn allocate(gpu: &Gpu, declared: &Buffer, lanes: usize) -> Result<Allocation> {
    let binding = binding_limit(gpu) as usize / 4;
    let (lanes, stride) = (if declared.scope == Scope::Lane { lanes } else { 1 }, declared.stride());
    let bytes = declared.kind.bytes() as u64;
    let segment = |lane, lanes: usize, start, len: usize| {
        let size = (lanes * len) as u64 * bytes;
        let descriptor = wgpu::BufferDescriptor { label: Some(&declared.name), size, usage: USAGES, mapped_at_creation: false };
        let buffer = gpu.scoped(&declared.name, size, || gpu.device.create_buffer(&descriptor))?;
        Ok(Segment { buffer, lane, lanes, start, len })
    };
    let segments = if stride <= binding {
        let whole = whole_lanes(declared, binding);
        (0..lanes).step_by(whole.max(1)).map(|lane| segment(lane, whole.min(lanes - lane), 0, stride)).collect::<Result<_>>()
    } else {
        let cuts = cuts(declared, binding)?;
        let parts = (0..lanes).flat_map(|lane| cuts.windows(2).map(move |cut| (lane, cut[0], cut[1] - cut[0])));
        parts.map(|(lane, start, len)| segment(lane, 1, start, len)).collect()
    }?;
    let lane_stride = if declared.scope == Scope::Lane { stride } else { 0 };
    Ok(Allocation { segments, lane_stride, binding: binding as u64 * 4, bytes, name: declared.name.clone() })
}

/// How many lanes one binding holds.
fn whole_lanes(declared: &Buffer, binding: usize) -> usize {
    binding / declared.stride()
}

/// Where a lane's elements are cut, from 0 to the stride: only where a norm's chunk begins, so that sums do not depend on it;
/// through a tensor only if it is larger than the binding's limit, since some kernels want a matrix in one piece; else as late
/// as the limit allows.
fn cuts(declared: &Buffer, binding: usize) -> Result<Vec<usize>> {
    let stride = declared.stride();
    let latest = |from: &[usize], start: usize| {
        let before = from.partition_point(|&cut| cut <= start + binding);
        (before > 0 && from[before - 1] > start).then(|| before - 1)
    };
    let mut cuts = vec![0];
    loop {
        let start = cuts[cuts.len() - 1];
        if stride - start <= binding {
            cuts.push(stride);
            return Ok(cuts);
        }
        let end = |tensor: usize| declared.starts.get(tensor + 1).copied().unwrap_or(stride);
        let between = latest(&declared.starts, start).filter(|&tensor| end(tensor) - declared.starts[tensor] <= binding);
        let cut = between.map(|tensor| declared.starts[tensor]).or_else(|| Some(declared.cuts[latest(&declared.cuts, start)?]));
        cuts.push(cut.ok_or_else(|| {
            Error::limit(buffer(&declared.name), (stride as u64).saturating_mul(4), binding as u64 * 4, Unit::Binding)
        })?);
    }
}
