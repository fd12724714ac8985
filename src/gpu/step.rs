//! The optimizer's kernels beside the update (norm, control, gate, factors), and the copy that all are measured against.

use super::kernel::{Access, Bound, Kernel, Launch, Source, grid, params};
use super::memory::{Allocation, Memory, Segment};
use super::part::{Holder, Part};
use crate::error::{Error, Result, Unit};
use crate::plan::{
    BufferId, CHUNK, Centralise, Chunk, Control, Factors, Gate, GateKind, Layout, LossScale, Norm, NormKind, NormOf,
    Part as TensorPart, PerLane, TensorBound, Trust, View,
};
use crate::rule::Row;
use bytemuck::bytes_of;

params!(CopyParams { len: u32, input: u32, input_lane: u32, output: u32, output_lane: u32 });
params!(NormParams { len: u32, chunks: u32, lane: u32, partials_lane: u32, frozen_lane: u32, again: u32 });
params!(ControlParams {
    groups: u32,
    slots: u32,
    domains: u32,
    chunks: u32,
    partials_lane: u32,
    rows_lane: u32,
    frozen_lane: u32,
    current_lane: u32,
    counts_lane: u32,
    scalars_lane: u32,
    scales: u32,
    micro_lane: u32,
});
params!(GateParams {
    groups: u32,
    chunks: u32,
    partials_lane: u32,
    frozen_lane: u32,
    current_lane: u32,
    count_lane: u32,
    rhos: u32,
});
params!(FactorsParams {
    tensors: u32,
    partials_lane: u32,
    params_lane: u32,
    current_lane: u32,
    memory_lane: u32,
    norms_lane: u32,
    factors_lane: u32,
    chunks: u32,
});

params!(CentraliseParams { len: u32, lines: u32 });

/// Threads of a workgroup of the copy.
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
        authored: None,
    }
}

/// One launch; where whole buffers of several segments are copied, one per segment.
pub(super) fn copy<'a>(input: &View, output: &View, layout: &Layout, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let (from, to) = (memory.get(input.buffer), memory.get(output.buffer));
    let whole = *input == layout.whole(input.buffer) && *output == layout.whole(output.buffer);
    let alike = from.segments.iter().map(Segment::place).eq(to.segments.iter().map(Segment::place));
    if from.segments.len() > 1 && whole && alike {
        let segments = from.segments.iter().zip(&to.segments);
        return segments.map(|(a, b)| copy_launch([&a.buffer, &b.buffer], [a.len * a.lanes, 0, 0, 0, 0], 1)).collect();
    }
    let numbers = [input.len, input.offset, from.lane_stride, output.offset, to.lane_stride];
    Ok(vec![copy_launch([from.single()?, to.single()?], numbers, layout.lanes())?])
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

pub(super) fn norm_kernel(kind: NormKind, holder: Holder) -> Kernel {
    let mut source = Source::default();
    source.join(NORM_KIND);
    source.join("alias T = vec4f;");
    source.bind(Access::Read, "chunks", "array<vec4u>"); // first vec4, vec4s, place of the partial norm, group
    source.bind(Access::Read, "frozen", "array<u32>"); // one per group of a lane
    source.bind(Access::Write, "partials", "array<f32>"); // partials_lane per lane
    holder.bind_grads(&mut source, "i");
    source.join(include_str!("../../shaders/norm.wgsl"));
    let trips = (CHUNK / 4 / NORM_THREADS) as f64;
    source.kernel("norm", vec![("KIND", kind_number(kind)), ("TRIPS", trips)], NormParams::FIELDS)
}

/// The number of a norm in norm_kind.wgsl.
pub(super) fn kind_number(kind: NormKind) -> f64 {
    match kind {
        NormKind::L2 => 0.0,
        NormKind::L1 => 1.0,
        NormKind::Max => 2.0,
        NormKind::Count => 3.0,
    }
}

/// One launch per part.
pub(super) fn norm<'a>(op: &Norm, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    let (partials, frozen) = (memory.get(op.partials), memory.get(op.frozen));
    let mut chunks: Vec<(usize, &Chunk)> = op.chunks.iter().enumerate().collect();
    chunks.sort_by_key(|(_, chunk)| chunk.start);
    let launch = |part: Part| {
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
            again: op.chunks.len() as u32,
        };
        let table = Bound::Words(chunks.iter().flat_map(words).collect());
        let grads = part.bound(op.grads, memory)?;
        let places = part.places_of(op.grads, memory);
        let buffers = [table, frozen.single()?.into(), partials.single()?.into(), grads];
        Ok(Launch {
            kernel: norm_kernel(op.kind, memory.holder(op.grads)),
            params: bytes_of(&params).into(),
            buffers: buffers.into_iter().chain(places).collect(),
            grid: [x, y, part.lanes as u32],
            // Read once more where a sum leaves the range.
            trips: 128,
        })
    };
    if op.chunks.is_empty() { Ok(Vec::new()) } else { Part::all(op.grads, memory).into_iter().map(launch).collect() }
}

/// The kinds of norms, and sums of them that leave the range of a float.
const NORM_KIND: &str = concat!(include_str!("../../shaders/norm_kind.wgsl"), include_str!("../../shaders/range.wgsl"));

/// What joins partial norms of a whole lane.
const JOINING: &str = concat!(
    include_str!("../../shaders/norm_kind.wgsl"),
    include_str!("../../shaders/range.wgsl"),
    include_str!("../../shaders/join_partials.wgsl")
);

/// The chunks of a lane's partial norms, and trips of the loops that join them: once, or three times.
fn chunks_of(norm: Option<(BufferId, NormKind)>, layout: &Layout) -> (u32, u64) {
    let chunks = norm.map_or(0, |(id, kind)| layout.declared(id).len / kind.partials(1));
    (chunks as u32, 3 * (chunks as u64 / 256) + 256 + 32)
}

/// The buffer if there is one, else any: something has to be bound, though the kernel does not read it.
fn or_nothing(allocation: Option<&Allocation>) -> Result<Bound<'_>> {
    allocation.map_or(Ok(Bound::Words(vec![0; 4])), |allocation| allocation.single().map(Bound::from))
}

pub(super) fn control_kernel(op: &Control) -> Kernel {
    let kind = op.norm.map_or(0.0, |(_, kind)| kind_number(kind));
    let switches = [
        ("NORM", op.norm.is_some()),
        ("SKIP_BAD", op.skip_bad),
        ("LOSS_SCALE", op.loss_scale.is_some()),
        ("MICRO", op.micro.is_some()),
        ("MEAN", op.micro.is_some_and(|micro| micro.mean)),
    ];
    Kernel {
        name: "control",
        source: [JOINING, include_str!("../../shaders/control.wgsl")].concat(),
        constants: [("KIND", kind)].into_iter().chain(switches.map(|(name, on)| (name, f64::from(on)))).collect(),
        fields: ControlParams::FIELDS,
        bindings: [vec![Access::Read; 4], vec![Access::Write; 4]].concat(),
        authored: None,
    }
}

pub(super) fn control<'a>(op: &Control, layout: &Layout, memory: &'a Memory) -> Result<Launch<'a>> {
    // Without a norm nothing reads the partial norms, but something has to be bound; likewise without micro-batches.
    let partials = memory.get(op.norm.map_or(op.rows, |(partials, _)| partials));
    let micro = op.micro.map(|micro| memory.get(micro.count));
    let [rows, frozen, current, counts, scalars] =
        [op.rows, op.frozen, op.current, op.counts, op.scalars].map(|id| memory.get(id));
    let rules = op.loss_scale.as_ref().map_or(&[][..], PerLane::values);
    let (chunks, trips) = chunks_of(op.norm, layout);
    let params = ControlParams {
        groups: op.groups as u32,
        slots: op.slots as u32,
        domains: op.domains.len() as u32,
        chunks,
        partials_lane: partials.lane_stride as u32,
        rows_lane: rows.lane_stride as u32,
        frozen_lane: frozen.lane_stride as u32,
        current_lane: current.lane_stride as u32,
        counts_lane: counts.lane_stride as u32,
        scalars_lane: scalars.lane_stride as u32,
        scales: rules.len() as u32,
        micro_lane: micro.map_or(0, |micro| micro.lane_stride as u32),
    };
    if rows.segments.len() > 1 {
        let (lanes, groups) = (layout.lanes(), op.groups);
        let what = format!("an optimizer of {lanes} lanes × {groups} groups");
        let row = (op.slots * Row::LEN * 4) as u64;
        return Err(Error::limit(what, (lanes * groups) as u64, rows.binding / row, Unit::Rows));
    }
    let mut buffers: Vec<Bound> = Vec::new();
    for allocation in [partials, rows, frozen] {
        buffers.push(allocation.single()?.into());
    }
    let of_domains = op.domains.iter().flat_map(|chunks| [chunks.start, chunks.len()]);
    let of_rule = |rule: &LossScale| {
        let [growth, backoff, min] = [rule.growth, rule.backoff, rule.min].map(|number| (number as f32).to_bits());
        [rule.interval, growth, backoff, min]
    };
    let of_domains = of_domains.chain(op.domain_of.iter().copied()).map(|word| word as u32);
    buffers.push(Bound::Words(of_domains.chain(rules.iter().flat_map(of_rule)).collect()));
    for allocation in [current, counts, scalars] {
        buffers.push(allocation.single()?.into());
    }
    buffers.push(or_nothing(micro)?);
    Ok(Launch {
        kernel: control_kernel(op),
        params: bytes_of(&params).into(),
        buffers,
        grid: [1, 1, layout.lanes() as u32],
        trips: trips * op.domains.len() as u64 + (op.groups * Row::LEN / 256 + (1 + op.domains.len()) * op.groups) as u64,
    })
}

pub(super) fn gate_kernel(op: &Gate) -> Kernel {
    let kind = op.norm.map_or(0.0, |(_, kind)| kind_number(kind));
    let ascend = matches!(op.kind, GateKind::Ascend { .. });
    let switches = [("NORM", op.norm.is_some()), ("ASCEND", ascend)].map(|(name, on)| (name, f64::from(on)));
    Kernel {
        name: "gate",
        source: [JOINING, include_str!("../../shaders/gate.wgsl")].concat(),
        constants: [("KIND", kind)].into_iter().chain(switches).collect(),
        fields: GateParams::FIELDS,
        bindings: [vec![Access::Read; 3], vec![Access::Write; 2]].concat(),
        authored: None,
    }
}

pub(super) fn gate<'a>(op: &Gate, layout: &Layout, memory: &'a Memory) -> Result<Launch<'a>> {
    let (frozen, current) = (memory.get(op.frozen), memory.get(op.current));
    let partials = op.norm.map(|(partials, _)| memory.get(partials));
    let (count, rhos) = match &op.kind {
        GateKind::Accumulate { count } => (Some(memory.get(*count)), &[0.0][..]),
        GateKind::Ascend { rho } => (None, rho.values()),
    };
    let (chunks, trips) = chunks_of(op.norm, layout);
    let params = GateParams {
        groups: op.groups as u32,
        chunks,
        partials_lane: partials.map_or(0, |partials| partials.lane_stride as u32),
        frozen_lane: frozen.lane_stride as u32,
        current_lane: current.lane_stride as u32,
        count_lane: count.map_or(0, |count| count.lane_stride as u32),
        rhos: rhos.len() as u32,
    };
    Ok(Launch {
        kernel: gate_kernel(op),
        params: bytes_of(&params).into(),
        buffers: vec![
            or_nothing(partials)?,
            frozen.single()?.into(),
            Bound::Words(rhos.iter().map(|rho| (*rho as f32).to_bits()).collect()),
            current.single()?.into(),
            or_nothing(count)?,
        ],
        grid: [1, 1, layout.lanes() as u32],
        trips: trips + (op.groups / 256) as u64,
    })
}

/// Without a rule's trust the second factor is 1.
const NO_TRUST: &str = "struct Hyper { none: f32 }
fn trust(a: f32, b: f32, len: f32, memory: ptr<function, f32>, h: Hyper) -> f32 { return 1.0; }";

/// A cautious update makes up for what it left out.
const CAUTIOUS: &str = "struct Hyper { none: f32 }
fn trust(a: f32, b: f32, len: f32, memory: ptr<function, f32>, h: Hyper) -> f32 { return len / max(a, 1e-3 * len); }";

pub(super) fn factors_kernel(op: &Factors) -> Kernel {
    let mut source = Source::default();
    match &op.trust {
        Trust::Rule(rule) => {
            source = super::update::of_rule(&**rule);
            if rule.factored() {
                source.join("const FACTORED = false;");
            }
        }
        Trust::None => source.join(NO_TRUST),
        Trust::Cautious => source.join(CAUTIOUS),
    }
    source.join(super::update::CAREFUL);
    source.join(NORM_KIND);
    source.join(include_str!("../../shaders/factors.wgsl"));
    let bound = match op.bound {
        TensorBound::None => 0.0,
        TensorBound::Clip => 1.0,
        TensorBound::Normalise => 2.0,
    };
    let mut constants = vec![("KIND", kind_number(op.partials.1)), ("BOUND", bound)];
    constants.extend(
        [("PARAMS", op.params.is_some()), ("PASS", op.of == NormOf::Pass), ("MEMORY", op.memory.is_some())]
            .map(|(name, on)| (name, f64::from(on))),
    );
    if let Trust::Rule(rule) = &op.trust {
        constants.extend(rule.overrides().into_iter().map(|(name, on)| (name, f64::from(on))));
    }
    Kernel {
        bindings: [vec![Access::Read; 4], vec![Access::Write; 3]].concat(),
        ..source.kernel("factors", constants, FactorsParams::FIELDS)
    }
}

pub(super) fn factors<'a>(op: &Factors, layout: &Layout, memory: &'a Memory) -> Result<Vec<Launch<'a>>> {
    if op.tensors.is_empty() {
        return Ok(Vec::new());
    }
    let [partials, current, norms, factors] = [op.partials.0, op.current, op.norms, op.factors].map(|id| memory.get(id));
    let (params_norm, kept) = (op.params.map(|id| memory.get(id)), op.memory.map(|id| memory.get(id)));
    let params = FactorsParams {
        tensors: op.tensors.len() as u32,
        partials_lane: partials.lane_stride as u32,
        params_lane: params_norm.map_or(0, |params| params.lane_stride as u32),
        current_lane: (current.lane_stride / Row::LEN) as u32,
        memory_lane: kept.map_or(0, |kept| kept.lane_stride as u32),
        norms_lane: norms.lane_stride as u32 / 2,
        factors_lane: factors.lane_stride as u32 / 2,
        chunks: (layout.declared(op.partials.0).len / op.partials.1.partials(1)) as u32,
    };
    let words = |part: &TensorPart| {
        [part.chunk as u32, part.chunks as u32, part.len as u32, super::update::tag(part.group, part.tensor)]
    };
    let (x, y) = grid(op.tensors.len(), 1);
    let longest = op.tensors.iter().map(|part| part.chunks).max().unwrap_or(0);
    Ok(vec![Launch {
        kernel: factors_kernel(op),
        params: bytes_of(&params).into(),
        buffers: vec![
            Bound::Words(op.tensors.iter().flat_map(words).collect()),
            partials.single()?.into(),
            or_nothing(params_norm)?,
            current.single()?.into(),
            or_nothing(kept)?,
            norms.single()?.into(),
            factors.single()?.into(),
        ],
        grid: [x, y, layout.lanes() as u32],
        trips: 3 * (longest as u64 / 64) + 64 + 16,
    }])
}

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
    for part in Part::all(op.grads, memory) {
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

fn centralise_part<'a>(op: &Centralise, lines: &[[usize; 2]], part: Part, memory: &'a Memory) -> Result<Launch<'a>> {
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

/// Lanes are workgroups along z.
pub(super) fn check_lanes(lanes: usize, allowed: u32) -> Result<()> {
    if lanes <= allowed as usize {
        return Ok(());
    }
    Err(Error::limit("the population", lanes as u64, allowed.into(), Unit::Lanes))
}
