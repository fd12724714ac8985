//! The optimizer's kernels (norm, control, update), and the copy that they are measured against.

use super::foreign::Bucket;
use super::kernel::{Access, Bound, Kernel, Launch, grid, params};
use super::memory::{Memory, Segment};
use crate::error::{Error, Result};
use crate::plan::{ALIGN, BufferId, CHUNK, Chunk, Control, Extras, Layout, Norm, NormKind, SLOTS, Update, View};
use crate::rule::{AnyRule, Row};
use bytemuck::bytes_of;

params!(CopyParams { len: u32, input: u32, input_lane: u32, output: u32, output_lane: u32 });
params!(NormParams { len: u32, chunks: u32, lane: u32, partials_lane: u32, frozen_lane: u32 });
params!(ControlParams {
    groups: u32,
    slots: u32,
    chunks: u32,
    partials_lane: u32,
    rows_lane: u32,
    frozen_lane: u32,
    current_lane: u32,
    counts_lane: u32,
    scalars_lane: u32,
    interval: u32,
    growth: f32,
    backoff: f32,
});
params!(UpdateParams { len: u32, lanes: u32, lane: u32, block: u32, current_lane: u32, plane: u32 });

/// Threads of a workgroup of the norm's and the update's kernel.
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
    }
}

/// One launch; where whole buffers of several segments are copied, one per segment.
pub(super) fn copy<'a>(input: &View, output: &View, lanes: usize, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let (from, to) = (memory.get(input.buffer), memory.get(output.buffer));
    let whole = input.offset == 0 && output.offset == 0 && from.lane_stride == to.lane_stride;
    if from.segments.len() > 1 && whole {
        let segments = from.segments.iter().zip(&to.segments);
        return segments.map(|(a, b)| copy_launch([&a.buffer, &b.buffer], [a.len * a.lanes, 0, 0, 0, 0], 1)).collect();
    }
    let numbers = [input.len, input.offset, from.lane_stride, output.offset, to.lane_stride];
    Ok(vec![copy_launch([from.single()?, to.single()?], numbers, lanes)?])
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

/// Threads of a workgroup of the norm's kernel, one workgroup per chunk.
const NORM_THREADS: usize = 64;

/// Who holds parameters and gradients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Holder {
    /// An arena of this crate.
    Own,
    /// Slices of somebody else's buffers.
    Foreign,
}

impl Holder {
    fn grads(self) -> &'static str {
        match self {
            Self::Own => include_str!("../../shaders/grads_own.wgsl"),
            Self::Foreign => include_str!("../../shaders/grads_foreign.wgsl"),
        }
    }

    fn params(self) -> &'static str {
        match self {
            Self::Own => include_str!("../../shaders/params_own.wgsl"),
            Self::Foreign => include_str!("../../shaders/params_foreign.wgsl"),
        }
    }

    /// The declaration of the table of places, where there is one.
    fn places(self, binding: usize) -> String {
        match self {
            Self::Own => String::new(),
            // First parameter, first gradient, elements and group of each block of 64.
            Self::Foreign => format!("@group(0) @binding({binding}) var<storage, read> places: array<vec4u>;\n"),
        }
    }

    fn tables(self) -> Option<Access> {
        (self == Self::Foreign).then_some(Access::Read)
    }
}

pub(super) fn norm_kernel(kind: NormKind, holder: Holder) -> Kernel {
    let kinds = include_str!("../../shaders/norm_kind.wgsl");
    let source = [kinds, holder.grads(), &holder.places(5), include_str!("../../shaders/norm.wgsl")].concat();
    let bindings = [Access::Read, Access::Read, Access::Write, Access::Write].into_iter().chain(holder.tables());
    Kernel {
        name: "norm",
        source,
        constants: vec![("KIND", kind_number(kind)), ("TRIPS", (CHUNK / 4 / NORM_THREADS) as f64)],
        fields: NormParams::FIELDS,
        bindings: bindings.collect(),
    }
}

/// The number of a norm in norm_kind.wgsl.
fn kind_number(kind: NormKind) -> f64 {
    match kind {
        NormKind::L2 => 0.0,
        NormKind::L1 => 1.0,
        NormKind::Max => 2.0,
    }
}

/// A range of a lane's arena that one launch covers, and what it binds there.
struct Part<'a> {
    start: usize,
    len: usize,
    lane: usize,
    lanes: usize,
    holder: Holder,
    grads: Bound<'a>,
    places: Option<Bound<'a>>,
}

impl<'a> Part<'a> {
    /// The parts of a buffer of gradients: its segments, or the buckets of its slices.
    fn all(grads: BufferId, memory: &'a Memory) -> Vec<Self> {
        let own = |segment: &'a Segment| {
            let &Segment { lane, lanes, start, len, .. } = segment;
            Part { start, len, lane, lanes, holder: Holder::Own, grads: (&segment.buffer).into(), places: None }
        };
        let foreign = |bucket: &'a Bucket| {
            let (grads, places) = (Bound::Part(&bucket.grads), Some(Bound::Words(bucket.places.concat())));
            Part { start: bucket.start, len: bucket.len, lane: 0, lanes: 1, holder: Holder::Foreign, grads, places }
        };
        match memory.buckets(grads) {
            Some(buckets) => buckets.iter().map(foreign).collect(),
            None => memory.get(grads).segments.iter().map(own).collect(),
        }
    }
}

/// One launch per part.
pub(super) fn norm<'a>(op: &Norm, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let (partials, frozen) = (memory.get(op.partials), memory.get(op.frozen));
    let mut chunks: Vec<(usize, &Chunk)> = op.chunks.iter().enumerate().collect();
    chunks.sort_by_key(|(_, chunk)| chunk.start);
    let launch = |part: Part<'a>| {
        let before = |end: usize| chunks.partition_point(|(_, chunk)| chunk.start < end);
        let chunks = &chunks[before(part.start)..before(part.start + part.len)];
        let words = |(index, chunk): &(usize, &Chunk)| {
            [(chunk.start - part.start) / 4, chunk.len.div_ceil(4), *index, chunk.group].map(|word| word as u32)
        };
        let (x, y) = grid(chunks.len(), 1);
        let params = NormParams {
            len: part.len as u32 / 4,
            chunks: chunks.len() as u32,
            lane: part.lane as u32,
            partials_lane: partials.lane_stride as u32,
            frozen_lane: frozen.lane_stride as u32,
        };
        let table = Bound::Words(chunks.iter().flat_map(words).collect());
        let buffers = [table, frozen.single()?.into(), partials.single()?.into(), part.grads];
        Ok(Launch {
            kernel: norm_kernel(op.kind, part.holder),
            params: bytes_of(&params).into(),
            buffers: buffers.into_iter().chain(part.places).collect(),
            grid: [x, y, part.lanes as u32],
            trips: 32,
        })
    };
    if op.chunks.is_empty() { Ok(Vec::new()) } else { Part::all(op.grads, memory).into_iter().map(launch).collect() }
}

pub(super) fn control_kernel(norm: Option<NormKind>, loss_scale: bool) -> Kernel {
    let kind = norm.map_or(0.0, kind_number);
    let switches = [("NORM", norm.is_some()), ("LOSS_SCALE", loss_scale)].map(|(name, on)| (name, f64::from(on)));
    Kernel {
        name: "control",
        source: concat!(include_str!("../../shaders/norm_kind.wgsl"), include_str!("../../shaders/control.wgsl")).into(),
        constants: [("KIND", kind)].into_iter().chain(switches).collect(),
        fields: ControlParams::FIELDS,
        bindings: [vec![Access::Read; 3], vec![Access::Write; 3]].concat(),
    }
}

pub(super) fn control<'a>(op: &Control, layout: &Layout, memory: &'a Memory) -> Result<Launch<'a>> {
    // Without a norm nothing reads the partial norms, but something has to be bound.
    let partials = memory.get(op.norm.map_or(op.rows, |(partials, _)| partials));
    let [rows, frozen, current, counts, scalars] =
        [op.rows, op.frozen, op.current, op.counts, op.scalars].map(|id| memory.get(id));
    let rule = op.loss_scale.unwrap_or_default();
    let params = ControlParams {
        groups: op.groups as u32,
        slots: SLOTS as u32,
        chunks: op.norm.map_or(0, |(partials, _)| layout.buffer(partials).len as u32),
        partials_lane: partials.lane_stride as u32,
        rows_lane: rows.lane_stride as u32,
        frozen_lane: frozen.lane_stride as u32,
        current_lane: current.lane_stride as u32,
        counts_lane: counts.lane_stride as u32,
        scalars_lane: scalars.lane_stride as u32,
        interval: rule.interval,
        growth: rule.growth as f32,
        backoff: rule.backoff as f32,
    };
    let buffers = [partials, rows, frozen, current, counts, scalars].into_iter();
    Ok(Launch {
        kernel: control_kernel(op.norm.map(|(_, kind)| kind), op.loss_scale.is_some()),
        params: bytes_of(&params).into(),
        buffers: buffers.map(|allocation| allocation.single().map(Bound::from)).collect::<Result<_>>()?,
        grid: [1, 1, layout.lanes() as u32],
        trips: u64::from(params.chunks) / 256 + (op.groups * Row::LEN / 256 + op.groups) as u64 + 16,
    })
}

/// The rule, its planes' bindings, and the skeleton, joined.
pub(super) fn update_kernel(rule: &dyn AnyRule, groups: bool, lanes: bool, holder: Holder, extras: Extras) -> Kernel {
    let many = groups || lanes;
    let planes = rule.planes();
    let mut source = format!("{}\nalias T = vec4f;\n", rule.wgsl().trim_end());
    let names = rule.state_names();
    for (i, &plane) in planes.iter().enumerate() {
        let name = names[plane];
        source += &format!("@group(0) @binding({}) var<storage, read_write> plane_{name}: array<T>;\n", i + 5);
    }
    let loaded = |plane: usize| if planes.contains(&plane) { format!("plane_{}[i]", names[plane]) } else { "T()".into() };
    let fields: Vec<String> = (0..names.len()).map(loaded).collect();
    source += &format!("fn load(i: u32) -> State {{ return State({}); }}\n", fields.join(", "));
    let stored: Vec<String> = planes.iter().map(|&plane| format!("plane_{0}[i] = s.{0};", names[plane])).collect();
    source += &format!("fn store(i: u32, s: State) {{ {} }}\n", stored.join(" "));
    source += if many { include_str!("../../shaders/row_many.wgsl") } else { include_str!("../../shaders/row_one.wgsl") };
    // A block's group stands in one of two tables, so that four planes fit into WebGPU's eight storage buffers.
    source += &[holder.params(), holder.grads(), &holder.places(2)].concat();
    source += include_str!("../../shaders/update.wgsl");
    let extras = [("MAX_VALUE", extras.max_value), ("L1", extras.l1)];
    let switches = rule.overrides().into_iter().chain(many.then_some(("GROUPS", groups))).chain(extras);
    let row = if many { Access::Read } else { Access::Uniform };
    Kernel {
        name: "update",
        source,
        constants: switches.map(|(name, on)| (name, f64::from(on))).collect(),
        fields: UpdateParams::FIELDS,
        bindings: [vec![row, Access::Read], vec![Access::Write; 2 + planes.len()]].concat(),
    }
}

/// One launch per part.
pub(super) fn update<'a>(op: &Update, layout: &Layout, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let current = memory.get(op.current);
    let groups = memory.get(op.groups.unwrap_or(op.current)).single()?;
    let launch = |(index, part): (usize, Part<'a>)| {
        let (x, y) = grid(part.len * part.lanes / 4, THREADS);
        // The planes' segment that holds this part; for an arena it is the part itself.
        let plane_of = |id: &BufferId| {
            let holds = |s: &&Segment| s.lane == part.lane && (s.start..s.start + s.len).contains(&part.start);
            memory.get(*id).segments.iter().find(holds).ok_or_else(|| Error::Empty { what: memory.get(*id).name.clone() })
        };
        let planes: Vec<&Segment> = op.planes.iter().map(plane_of).collect::<Result<_>>()?;
        let params = UpdateParams {
            len: part.len as u32 / 4,
            lanes: part.lanes as u32,
            lane: part.lane as u32,
            block: (part.start / ALIGN) as u32,
            current_lane: (current.lane_stride / Row::LEN) as u32,
            plane: planes.first().map_or(0, |segment| (part.start - segment.start) as u32 / 4),
        };
        let own = match memory.buckets(op.params) {
            Some(buckets) => Bound::Part(&buckets[index].params),
            None => Bound::from(&memory.get(op.params).segments[index].buffer),
        };
        let buffers = [current.single()?.into(), part.places.unwrap_or(groups.into()), own, part.grads];
        let planes = planes.into_iter().map(|segment| Bound::from(&segment.buffer));
        Ok(Launch {
            kernel: update_kernel(&*op.rule, op.groups.is_some(), layout.lanes() > 1, part.holder, op.extras),
            params: bytes_of(&params).into(),
            buffers: buffers.into_iter().chain(planes).collect(),
            grid: [x, y, 1],
            trips: 0,
        })
    };
    Part::all(op.grads, memory).into_iter().enumerate().map(launch).collect()
}

/// Lanes are workgroups along z.
pub(super) fn check_lanes(lanes: usize, allowed: u32) -> Result<()> {
    if lanes > allowed as usize { Err(Error::limit("the number of lanes", lanes as u64, allowed.into())) } else { Ok(()) }
}
