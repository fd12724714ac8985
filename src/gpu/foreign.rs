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
    /// The byte after the last; one beyond all buffers where that would be too large a number.
    fn end(&self) -> u64 {
        self.offset.saturating_add((self.len as u64).saturating_mul(4))
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

/// What one dispatch can reach: a run of chunks whose parameters lie within one binding, their gradients within another, and their
/// planes in one segment; or all chunks of several lanes.
#[derive(Debug)]
pub(super) struct Bucket {
    /// First lane.
    pub lane: usize,
    /// Lanes.
    pub lanes: usize,
    /// First element in each lane's arena.
    pub start: usize,
    /// Elements in each lane's arena, padding included.
    pub len: usize,
    pub params: Window,
    pub grads: Window,
    /// For each block of the arena, lane after lane: first parameter and first gradient, counted in their windows, and how many there
    /// are.
    pub places: Vec<[u32; 3]>,
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

    /// Both together, if they are of one buffer and a binding holds them.
    fn join(&self, other: &Self, room: &Room) -> Option<Self> {
        let (start, end) = (self.start.min(other.start), self.end.max(other.end));
        let joined = Self { buffer: self.buffer.clone(), start, end };
        (self.buffer == other.buffer && room.holds(&joined)).then_some(joined)
    }
}

/// What a device binds at once.
#[derive(Debug)]
pub(super) struct Room {
    /// Bytes that a binding starts at a multiple of.
    pub align: u64,
    /// The most bytes of a binding.
    pub limit: u64,
    /// Where planes of a lane are cut into segments.
    pub cuts: Vec<usize>,
    /// Lanes whose planes share a segment.
    pub lanes: usize,
}

impl Room {
    fn holds(&self, window: &Window) -> bool {
        window.end - window.start / self.align * self.align <= self.limit
    }

    fn cuts_before(&self, chunk: &Chunk) -> bool {
        self.cuts.contains(&chunk.start)
    }
}

/// What becomes a bucket.
struct Run {
    lane: usize,
    lanes: usize,
    /// The first of its chunks, and how many each lane has.
    first: usize,
    chunks: usize,
    /// Of parameters and gradients.
    windows: [Window; 2],
}

impl Run {
    /// Windows for what is in others too, if bindings hold them.
    fn widened(&self, [params, grads]: &[Window; 2], room: &Room) -> Option<[Window; 2]> {
        Some([self.windows[0].join(params, room)?, self.windows[1].join(grads, room)?])
    }
}

/// Slices of one lane or of several, laid out as an arena.
#[derive(Debug)]
pub struct Foreign {
    /// Each lane's tensors in the arena's order.
    lanes: Vec<Vec<SliceTensor>>,
    arena: Arena,
}

impl Foreign {
    /// Checks the slices of each lane and gives them places in an arena: neighbours in a buffer become neighbours there, sums over all
    /// tensors keep the order given.
    ///
    /// # Errors
    /// Naming the tensor: a name given twice, a slice with more or fewer elements than the shape, an offset that is no multiple of 4,
    /// a slice beyond its buffer, a buffer without `STORAGE`, slices that overlap; or lanes whose tensors differ.
    pub fn new(lanes: &[Vec<SliceTensor>]) -> Result<Self> {
        let first = lanes.first().ok_or_else(|| Error::Empty { what: "the list of lanes".into() })?;
        for (lane, tensors) in lanes.iter().enumerate() {
            tensors.iter().try_for_each(|tensor| check(tensor, (lanes.len() > 1).then_some(lane)))?;
            check_alike(lane, tensors, first)?;
        }
        check_overlaps(lanes)?;
        let mut ranks: Vec<usize> = (0..first.len()).collect();
        ranks.sort_by_key(|&rank| {
            let SliceTensor { params, grads, .. } = &first[rank];
            (&params.buffer, &grads.buffer, params.offset)
        });
        let mut arena = Arena::default();
        for &rank in &ranks {
            arena.add(&first[rank].name, &first[rank].shape, first[rank].group)?;
        }
        arena.rank(&ranks);
        let in_order = |tensors: &Vec<SliceTensor>| ranks.iter().map(|&rank| tensors[rank].clone()).collect();
        Ok(Self { lanes: lanes.iter().map(in_order).collect(), arena })
    }

    /// Binds each buffer once, so that one of another device is found before anything is recorded.
    pub(super) fn check_device(&self, gpu: &Gpu) -> Result<()> {
        let tensors = self.lanes.iter().flatten();
        let slices = tensors.flat_map(|tensor| [(&tensor.params, tensor), (&tensor.grads, tensor)]);
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

    /// How many lanes there are.
    pub fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// The slices of a role in a lane, in the arena's order, with their places there.
    pub(super) fn slices(&self, role: Role, lane: usize) -> impl Iterator<Item = (&Slice, &Tensor, Owner<'_>)> {
        let lanes = self.lanes.len();
        self.lanes[lane].iter().zip(self.arena.tensors()).map(move |(tensor, place)| {
            let owner = Owner { role, tensor: &tensor.name, lane: (lanes > 1).then_some(lane) };
            (role.of(tensor), place, owner)
        })
    }

    /// The slice at an element of a lane's arena, and the bytes of a binding that holds all of it.
    pub(super) fn whole(&self, role: Role, lane: usize, element: usize, align: u64) -> Option<(Owner<'_>, u64)> {
        // Tensors without elements start where the next one does.
        let own = |place: &Tensor| (place.offset..place.offset + place.len()).contains(&element);
        let (slice, _, owner) = self.slices(role, lane).find(|(_, place, _)| own(place))?;
        Some((owner, slice.end() - slice.offset / align * align))
    }

    /// As few buckets as one pass over lanes and chunks finds.
    pub(super) fn buckets(&self, room: &Room) -> Vec<Bucket> {
        let mut chunks = self.arena.chunks();
        chunks.sort_by_key(|chunk| chunk.start);
        let mut all: Vec<Run> = Vec::new();
        for lane in 0..self.lanes.len() {
            let mut runs = self.runs(lane, &chunks, room);
            let before = all.last_mut().filter(|run| run.chunks == chunks.len() && !lane.is_multiple_of(room.lanes));
            let joined = match (before, &runs[..]) {
                (Some(run), [own]) => run.widened(&own.windows, room).map(|windows| (windows, run)),
                _ => None,
            };
            match joined {
                Some((windows, run)) => {
                    run.windows = windows;
                    run.lanes += 1;
                }
                None => all.append(&mut runs),
            }
        }
        all.into_iter().map(|run| self.bucket(run, &chunks, room)).collect()
    }

    /// A lane's runs, which do not cross a cut.
    fn runs(&self, lane: usize, chunks: &[Chunk], room: &Room) -> Vec<Run> {
        let (mut runs, mut first): (Vec<Run>, _) = (Vec::new(), 0);
        let tensors = chunks.chunk_by(|a, b| a.tensor == b.tensor);
        for piece in tensors.flat_map(|tensor| self.pieces(lane, tensor, room)) {
            let windows = self.windows(lane, piece);
            let before = runs.last_mut().filter(|_| !room.cuts_before(&piece[0]));
            match before.and_then(|run| Some((run.widened(&windows, room)?, run))) {
                Some((windows, run)) => {
                    run.windows = windows;
                    run.chunks += piece.len();
                }
                None => runs.push(Run { lane, lanes: 1, first, chunks: piece.len(), windows }),
            }
            first += piece.len();
        }
        runs
    }

    /// What of a tensor stays in one run: all of it where bindings can hold it, since some kernels want a matrix in one piece, else
    /// single chunks.
    fn pieces<'c>(&self, lane: usize, tensor: &'c [Chunk], room: &Room) -> std::slice::Chunks<'c, Chunk> {
        let whole = self.windows(lane, tensor).iter().all(|window| room.holds(window));
        let cut = tensor[1..].iter().any(|chunk| room.cuts_before(chunk));
        tensor.chunks(if whole && !cut { tensor.len() } else { 1 })
    }

    fn bucket(&self, run: Run, chunks: &[Chunk], room: &Room) -> Bucket {
        let Run { lane, lanes, first, .. } = run;
        let [params, grads] = run.windows.map(|window| Window { start: window.start / room.align * room.align, ..window });
        let chunks = &chunks[first..][..run.chunks];
        let starts = [params.start, grads.start];
        let of_lane = |lane| chunks.iter().flat_map(move |chunk| self.places(lane, chunk, starts));
        let places: Vec<[u32; 3]> = (lane..lane + lanes).flat_map(of_lane).collect();
        Bucket { lane, lanes, start: chunks[0].start, len: places.len() / lanes * ALIGN, params, grads, places }
    }

    /// Where parameters and gradients of neighbouring chunks of one tensor lie.
    fn windows(&self, lane: usize, chunks: &[Chunk]) -> [Window; 2] {
        let index = chunks[0].tensor;
        let tensor = &self.lanes[lane][index];
        let first = chunks[0].start - self.arena.tensors()[index].offset;
        let range = first..first + chunks.iter().map(|chunk| chunk.len).sum::<usize>();
        [Window::of(&tensor.params, &range), Window::of(&tensor.grads, &range)]
    }

    /// The places of a chunk's blocks within windows that start at these bytes.
    fn places(&self, lane: usize, chunk: &Chunk, starts: [u64; 2]) -> impl Iterator<Item = [u32; 3]> + use<> {
        let [params, grads] = self.windows(lane, std::slice::from_ref(chunk)).map(|window| window.start);
        let firsts = [(params - starts[0]) / 4, (grads - starts[1]) / 4].map(|at| at as u32);
        let len = chunk.len;
        (0..len).step_by(ALIGN).map(move |at| {
            let [params, grads] = firsts.map(|first| first + at as u32);
            [params, grads, ALIGN.min(len - at) as u32]
        })
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

/// Which slice something is about.
#[derive(Debug, Clone, Copy)]
pub(super) struct Owner<'a> {
    role: Role,
    tensor: &'a str,
    /// Where there are several.
    lane: Option<usize>,
}

impl std::fmt::Display for Owner<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let role = match self.role {
            Role::Params => "parameters",
            Role::Grads => "gradients",
        };
        write!(f, "{role} of tensor '{}'", self.tensor)?;
        self.lane.map_or(Ok(()), |lane| write!(f, " in lane {lane}"))
    }
}

/// The slices of a tensor, and what they are.
fn owned(tensor: &SliceTensor, lane: Option<usize>) -> [(&Slice, Owner<'_>); 2] {
    [Role::Params, Role::Grads].map(|role| (role.of(tensor), Owner { role, tensor: &tensor.name, lane }))
}

fn check(tensor: &SliceTensor, lane: Option<usize>) -> Result<()> {
    let shape = &tensor.shape;
    let elements = shape.iter().try_fold(1_usize, |elements, &size| elements.checked_mul(size));
    for (slice, what) in owned(tensor, lane) {
        if !slice.offset.is_multiple_of(4) {
            return Err(Error::setting(&format!("offset of the {what}"), slice.offset, "a multiple of 4 bytes"));
        }
        if slice.end() > slice.buffer.size() {
            let found = format!("bytes {}..{}", slice.offset, slice.end());
            return Err(Error::shape(
                what.to_string(),
                format!("at most the {} bytes of its buffer", slice.buffer.size()),
                found,
            ));
        }
        if !slice.buffer.usage().contains(wgpu::BufferUsages::STORAGE) {
            return Err(Error::shape(what.to_string(), "a buffer with usage STORAGE", format!("{:?}", slice.buffer.usage())));
        }
        if elements != Some(slice.len) {
            return Err(Error::shape(what.to_string(), format!("the elements of shape {shape:?}"), slice.len));
        }
    }
    Ok(())
}

/// Lanes are copies of one model.
fn check_alike(lane: usize, tensors: &[SliceTensor], first: &[SliceTensor]) -> Result<()> {
    if tensors.len() != first.len() {
        return Err(Error::shape(format!("tensors of lane {lane}"), first.len(), tensors.len()));
    }
    let text = |SliceTensor { name, shape, group, .. }: &SliceTensor| format!("'{name}' of shape {shape:?} in group {group}");
    for (index, (tensor, expected)) in tensors.iter().zip(first).enumerate() {
        if (&tensor.name, &tensor.shape, tensor.group) != (&expected.name, &expected.shape, expected.group) {
            return Err(Error::shape(format!("tensor {index} of lane {lane}"), text(expected), text(tensor)));
        }
    }
    Ok(())
}

fn check_overlaps(lanes: &[Vec<SliceTensor>]) -> Result<()> {
    let several = lanes.len() > 1;
    let all = lanes.iter().enumerate().flat_map(|(lane, tensors)| tensors.iter().map(move |tensor| (tensor, lane)));
    let owned = all.flat_map(|(tensor, lane)| owned(tensor, several.then_some(lane)));
    let mut slices: Vec<(&Slice, Owner)> = owned.filter(|(slice, _)| slice.len > 0).collect();
    slices.sort_by_key(|(slice, _)| (&slice.buffer, slice.offset));
    for pair in slices.windows(2) {
        let [(first, what), (second, other)] = pair else { continue };
        if first.buffer == second.buffer && second.offset < first.end() {
            let found = format!("bytes {}..{} overlap the {what}", second.offset, second.end());
            return Err(Error::shape(other.to_string(), "a slice of its own", found));
        }
    }
    Ok(())
}
