//! The optimizer's kernels (norm, control, update), and the copy that they are measured against.

use super::kernel::{Access, Bound, Kernel, Launch, grid, params};
use super::memory::{Memory, Segment};
use crate::error::{Error, Result};
use crate::plan::{ALIGN, CHUNK, Chunk, Control, Layout, Norm, NormKind, SLOTS, Update, View};
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
params!(UpdateParams { len: u32, lanes: u32, lane: u32, block: u32, current_lane: u32 });

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

pub(super) fn norm_kernel(kind: NormKind) -> Kernel {
    Kernel {
        name: "norm",
        source: concat!(include_str!("../../shaders/norm_kind.wgsl"), include_str!("../../shaders/norm.wgsl")).into(),
        constants: vec![("KIND", kind_number(kind)), ("TRIPS", (CHUNK / 4 / NORM_THREADS) as f64)],
        fields: NormParams::FIELDS,
        bindings: vec![Access::Read, Access::Read, Access::Write, Access::Write],
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

/// One launch per segment.
pub(super) fn norm<'a>(op: &Norm, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let (partials, frozen) = (memory.get(op.partials), memory.get(op.frozen));
    let launch = |segment: &'a Segment| {
        let inside = |chunk: &Chunk| (segment.start..segment.start + segment.len).contains(&chunk.start);
        let chunks: Vec<(usize, &Chunk)> = op.chunks.iter().enumerate().filter(|(_, chunk)| inside(chunk)).collect();
        let words = |(index, chunk): &(usize, &Chunk)| {
            [(chunk.start - segment.start) / 4, chunk.len.div_ceil(4), *index, chunk.group].map(|word| word as u32)
        };
        let (x, y) = grid(chunks.len(), 1);
        let params = NormParams {
            len: segment.len as u32 / 4,
            chunks: chunks.len() as u32,
            lane: segment.lane as u32,
            partials_lane: partials.lane_stride as u32,
            frozen_lane: frozen.lane_stride as u32,
        };
        let table = Bound::Words(chunks.iter().flat_map(words).collect());
        Ok(Launch {
            kernel: norm_kernel(op.kind),
            params: bytes_of(&params).into(),
            buffers: vec![table, frozen.single()?.into(), (&segment.buffer).into(), partials.single()?.into()],
            grid: [x, y, segment.lanes as u32],
            trips: 32,
        })
    };
    let launches = memory.get(op.grads).segments.iter().map(launch);
    if op.chunks.is_empty() { Ok(Vec::new()) } else { launches.collect() }
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
pub(super) fn update_kernel(rule: &dyn AnyRule, groups: bool, lanes: bool) -> Kernel {
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
    source += include_str!("../../shaders/update.wgsl");
    let switches = rule.overrides().into_iter().chain(many.then_some(("GROUPS", groups)));
    let row = if many { Access::Read } else { Access::Uniform };
    Kernel {
        name: "update",
        source,
        constants: switches.map(|(name, on)| (name, f64::from(on))).collect(),
        fields: UpdateParams::FIELDS,
        bindings: [row, Access::Read].into_iter().chain(vec![Access::Write; 2 + planes.len()]).collect(),
    }
}

/// One launch per segment.
pub(super) fn update<'a>(op: &Update, layout: &Layout, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let current = memory.get(op.current);
    let groups = memory.get(op.groups.unwrap_or(op.current)).single()?;
    let launch = |index: usize, segment: &Segment| {
        let elements = segment.len * segment.lanes;
        let (x, y) = grid(elements / 4, THREADS);
        let params = UpdateParams {
            len: segment.len as u32 / 4,
            lanes: segment.lanes as u32,
            lane: segment.lane as u32,
            block: (segment.start / ALIGN) as u32,
            current_lane: (current.lane_stride / Row::LEN) as u32,
        };
        let mut buffers: Vec<Bound> = vec![current.single()?.into(), groups.into()];
        let arenas = [op.params, op.grads].into_iter().chain(op.planes.iter().copied());
        buffers.extend(arenas.map(|id| Bound::from(&memory.get(id).segments[index].buffer)));
        Ok(Launch {
            kernel: update_kernel(&*op.rule, op.groups.is_some(), layout.lanes() > 1),
            params: bytes_of(&params).into(),
            buffers,
            grid: [x, y, 1],
            trips: 0,
        })
    };
    memory.get(op.params).segments.iter().enumerate().map(|(index, segment)| launch(index, segment)).collect()
}

/// Lanes are workgroups along z.
pub(super) fn check_lanes(lanes: usize, allowed: u32) -> Result<()> {
    if lanes > allowed as usize { Err(Error::limit("the number of lanes", lanes as u64, allowed.into())) } else { Ok(()) }
}
