//! Tensors in buffers that somebody else owns.

use super::device::Gpu;
use crate::error::{Error, Result};
use crate::plan::{ALIGN, Arena, Chunk, Span, Tensor};

/// Elements of `f32` in a buffer that somebody else owns.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The buffer; it needs the usage `STORAGE`, and `COPY_SRC` and `COPY_DST` to be read and written by the optimizer.
    pub buffer: wgpu::Buffer,
    /// First byte, a multiple of 4. Nothing more is required: slices need not start where bindings may.
    pub offset: u64,
    /// Elements.
    pub len: usize,
}

impl Slice {
    fn end(&self) -> u64 {
        self.offset + 4 * self.len as u64
    }
}

/// A tensor whose parameters and gradients are slices.
#[derive(Debug, Clone, PartialEq)]
pub struct SliceTensor {
    /// Its name.
    pub name: String,
    /// Its shape, row after row in memory, with as many elements as each slice; empty for a scalar.
    pub shape: Vec<usize>,
    /// Its parameters.
    pub params: Slice,
    /// Its gradients.
    pub grads: Slice,
    /// Its group of hyper-parameters.
    pub group: usize,
}

/// A run of chunks whose parameters lie within one binding, their gradients within another, and their planes in one segment: what
/// one dispatch can reach.
#[derive(Debug)]
pub(super) struct Bucket {
    /// First element in the arena.
    pub start: usize,
    /// Elements in the arena, padding included.
    pub len: usize,
    pub params: Window,
    pub grads: Window,
    /// For each block of the arena: first parameter and first gradient, counted in their windows, how many there are, and its tag.
    pub places: Vec<[u32; 4]>,
}

impl Bucket {
    pub(super) fn window(&self, role: Role) -> &Window {
        match role {
            Role::Params => &self.params,
            Role::Grads => &self.grads,
        }
    }
}

/// A part of a buffer that is bound.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub buffer: wgpu::Buffer,
    pub start: u64,
    pub end: u64,
}

impl Window {
    fn of(slice: &Slice, range: &std::ops::Range<usize>) -> Self {
        let at = |element: usize| slice.offset + 4 * element as u64;
        Self { buffer: slice.buffer.clone(), start: at(range.start), end: at(range.end) }
    }

    pub(super) fn binding(&self) -> wgpu::BindingResource<'_> {
        let size = std::num::NonZeroU64::new(self.end - self.start);
        wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &self.buffer, offset: self.start, size })
    }

    /// Whether a binding of `limit` bytes that starts at a multiple of `align` holds it.
    fn fits(&self, align: u64, limit: u64) -> bool {
        self.end - self.start / align * align <= limit
    }

    /// Both together, if they are of one buffer and fit into one binding.
    fn join(&self, other: &Self, align: u64, limit: u64) -> Option<Self> {
        let (start, end) = (self.start.min(other.start), self.end.max(other.end));
        let joined = Self { buffer: self.buffer.clone(), start, end };
        (self.buffer == other.buffer && joined.fits(align, limit)).then_some(joined)
    }
}

/// Slices laid out as an arena.
#[derive(Debug)]
pub struct Foreign {
    tensors: Vec<SliceTensor>,
    arena: Arena,
}

impl Foreign {
    /// Checks the slices and gives them places in an arena: neighbours in a buffer become neighbours there, sums over all tensors
    /// keep the order given.
    ///
    /// # Errors
    /// Naming the tensor: a name given twice, a slice with more or fewer elements than the shape, an offset that is no multiple of 4,
    /// a slice beyond its buffer, a buffer without `STORAGE`, or slices that overlap.
    pub fn new(tensors: &[SliceTensor]) -> Result<Self> {
        tensors.iter().try_for_each(check)?;
        check_overlaps(tensors)?;
        let mut ranks: Vec<usize> = (0..tensors.len()).collect();
        ranks.sort_by_key(|&rank| {
            let SliceTensor { params, grads, .. } = &tensors[rank];
            (&params.buffer, &grads.buffer, params.offset)
        });
        let mut arena = Arena::default();
        for &rank in &ranks {
            arena.add(&tensors[rank].name, &tensors[rank].shape, tensors[rank].group)?;
        }
        arena.rank(&ranks);
        Ok(Self { tensors: ranks.iter().map(|&rank| tensors[rank].clone()).collect(), arena })
    }

    /// The same slices in the groups of another arena of these tensors.
    pub(crate) fn regrouped(self, arena: Arena) -> Self {
        Self { arena, ..self }
    }

    /// Binds each buffer once, so that one of another device is found before anything is recorded.
    pub(super) fn check_device(&self, gpu: &Gpu) -> Result<()> {
        let slices = self.tensors.iter().flat_map(|tensor| [(&tensor.params, tensor), (&tensor.grads, tensor)]);
        let mut buffers: Vec<(&wgpu::Buffer, &str)> = slices.map(|(slice, t)| (&slice.buffer, t.name.as_str())).collect();
        buffers.sort();
        buffers.dedup_by_key(|(buffer, _)| *buffer);
        buffers
            .iter()
            .try_for_each(|(buffer, name)| gpu.scoped(&format!("tensor '{name}'"), 0, || try_binding(&gpu.device, buffer)))
    }

    /// The tensors' places.
    pub fn arena(&self) -> &Arena {
        &self.arena
    }

    /// The slices of a role, in the arena's order.
    pub(super) fn slices(&self, role: Role) -> impl Iterator<Item = (&Slice, &Tensor)> {
        self.tensors.iter().map(move |tensor| role.of(tensor)).zip(self.arena.tensors())
    }

    /// As few buckets as one pass over the pieces finds, none of which crosses one of `cuts`.
    pub(super) fn buckets(&self, cuts: &[usize], align: u64, limit: u64) -> Vec<Bucket> {
        let mut chunks = self.arena.chunks();
        chunks.sort_by_key(|chunk| chunk.start);
        let mut buckets: Vec<Bucket> = Vec::new();
        let mut members: Vec<Vec<&Chunk>> = Vec::new();
        let tensors = chunks.chunk_by(|a, b| a.tensor == b.tensor);
        for piece in tensors.flat_map(|tensor| self.pieces(tensor, cuts, align, limit)) {
            let (params, grads) = self.windows(piece);
            let joined = buckets.last().filter(|_| !cuts.contains(&piece[0].start)).and_then(|bucket| {
                Some((bucket.params.join(&params, align, limit)?, bucket.grads.join(&grads, align, limit)?))
            });
            match (joined, buckets.last_mut(), members.last_mut()) {
                (Some((params, grads)), Some(bucket), Some(members)) => {
                    (bucket.params, bucket.grads) = (params, grads);
                    members.extend(piece);
                }
                _ => {
                    buckets.push(Bucket { start: piece[0].start, len: 0, params, grads, places: Vec::new() });
                    members.push(piece.iter().collect());
                }
            }
        }
        for (bucket, members) in buckets.iter_mut().zip(members) {
            bucket.params.start = bucket.params.start / align * align;
            bucket.grads.start = bucket.grads.start / align * align;
            bucket.places = members.iter().flat_map(|chunk| self.places(chunk, bucket)).collect();
            bucket.len = bucket.places.len() * ALIGN;
        }
        buckets
    }

    /// What of a tensor stays in one bucket: all of it where one can hold it, since some kernels want a matrix in one piece, else
    /// single chunks.
    fn pieces<'c>(&self, tensor: &'c [Chunk], cuts: &[usize], align: u64, limit: u64) -> std::slice::Chunks<'c, Chunk> {
        let (params, grads) = self.windows(tensor);
        let whole = [params, grads].iter().all(|window| window.fits(align, limit));
        let cut = tensor[1..].iter().any(|chunk| cuts.contains(&chunk.start));
        tensor.chunks(if whole && !cut { tensor.len() } else { 1 })
    }

    /// Where parameters and gradients of neighbouring chunks of one tensor lie.
    fn windows(&self, chunks: &[Chunk]) -> (Window, Window) {
        let index = chunks[0].tensor;
        let tensor = &self.tensors[index];
        let first = chunks[0].start - self.arena.tensors()[index].offset;
        let range = first..first + chunks.iter().map(|chunk| chunk.len).sum::<usize>();
        (Window::of(&tensor.params, &range), Window::of(&tensor.grads, &range))
    }

    /// The places of a chunk's blocks within its bucket's windows.
    fn places(&self, chunk: &Chunk, bucket: &Bucket) -> Vec<[u32; 4]> {
        let (params, grads) = self.windows(std::slice::from_ref(chunk));
        let firsts = [(params.start - bucket.params.start) / 4, (grads.start - bucket.grads.start) / 4].map(|at| at as u32);
        let tag = tag(chunk.group, self.arena.tensors()[chunk.tensor].rank);
        let block = |at: usize| {
            let [params, grads] = firsts.map(|first| first + at as u32);
            [params, grads, ALIGN.min(chunk.len - at) as u32, tag]
        };
        (0..chunk.len).step_by(ALIGN).map(block).collect()
    }
}

/// Bits of a tag that name the tensor; those above name the group.
const TENSOR_BITS: u32 = 20;

/// Group and place of a tensor in one word, as kernels want them.
pub(super) fn tag(group: usize, tensor: usize) -> u32 {
    (group as u32) << TENSOR_BITS | tensor as u32
}

/// Whether all groups and tensors have tags.
pub(super) fn check_tags(spans: &[Span]) -> Result<()> {
    let (groups, tensors) = (1 << (32 - TENSOR_BITS), 1 << TENSOR_BITS);
    for (what, found, allowed) in [
        ("the number of groups", spans.iter().map(|span| span.group + 1).max(), groups),
        ("the number of tensors", spans.iter().map(|span| span.tensor + 1).max(), tensors),
    ] {
        if found.is_some_and(|found| found > allowed) {
            return Err(Error::limit(what, found.unwrap_or(0) as u64, allowed as u64));
        }
    }
    Ok(())
}

fn try_binding(device: &wgpu::Device, buffer: &wgpu::Buffer) {
    let ty = wgpu::BindingType::Buffer {
        ty: wgpu::BufferBindingType::Storage { read_only: false },
        has_dynamic_offset: false,
        min_binding_size: None,
    };
    let entry = wgpu::BindGroupLayoutEntry { binding: 0, visibility: wgpu::ShaderStages::COMPUTE, ty, count: None };
    let layout = device.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: None, entries: &[entry] });
    let size = std::num::NonZeroU64::new(4);
    let resource = wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer, offset: 0, size });
    let entries = [wgpu::BindGroupEntry { binding: 0, resource }];
    let _ = device.create_bind_group(&wgpu::BindGroupDescriptor { label: None, layout: &layout, entries: &entries });
}

/// What a slice holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Params,
    Grads,
}

impl Role {
    fn of(self, tensor: &SliceTensor) -> &Slice {
        match self {
            Self::Params => &tensor.params,
            Self::Grads => &tensor.grads,
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Params => "parameters",
            Self::Grads => "gradients",
        })
    }
}

fn check(tensor: &SliceTensor) -> Result<()> {
    let SliceTensor { name, shape, params, grads, .. } = tensor;
    let elements = shape.iter().try_fold(1_usize, |elements, &size| elements.checked_mul(size));
    for (role, slice) in [(Role::Params, params), (Role::Grads, grads)] {
        let what = format!("{role} of tensor '{name}'");
        if !slice.offset.is_multiple_of(4) {
            return Err(Error::setting(&format!("offset of the {what}"), slice.offset, "a multiple of 4 bytes"));
        }
        if slice.end() > slice.buffer.size() {
            let found = format!("bytes {}..{}", slice.offset, slice.end());
            return Err(Error::shape(what, format!("at most the {} bytes of its buffer", slice.buffer.size()), found));
        }
        if !slice.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return Err(Error::shape(what, "a buffer with usage STORAGE", format!("{:?}", slice.buffer.usage())));
        }
        if elements != Some(slice.len) {
            return Err(Error::shape(what, format!("the elements of shape {shape:?}"), slice.len));
        }
    }
    Ok(())
}

fn check_overlaps(tensors: &[SliceTensor]) -> Result<()> {
    let named = |tensor| {
        let SliceTensor { name, params, grads, .. }: &SliceTensor = tensor;
        [(params, format!("parameters of tensor '{name}'")), (grads, format!("gradients of tensor '{name}'"))]
    };
    let mut slices: Vec<(&Slice, String)> = tensors.iter().flat_map(named).filter(|(slice, _)| slice.len > 0).collect();
    slices.sort_by_key(|(slice, _)| (&slice.buffer, slice.offset));
    for pair in slices.windows(2) {
        let [(first, what), (second, other)] = pair else { continue };
        if first.buffer == second.buffer && second.offset < first.end() {
            let found = format!("bytes {}..{} overlap the {what}", second.offset, second.end());
            return Err(Error::shape(other.clone(), "a slice of its own", found));
        }
    }
    Ok(())
}
