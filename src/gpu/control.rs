//! The decision about a step: its norm, clip coefficient and hyper row, or that it is skipped.

use super::kernel::{Access, Kernel, params};
use super::launch::{Bound, Launch};
use super::memory::{Memory, or_nothing};
use super::norm::{JOINING, chunks_of, kind_number};
use crate::error::Result;
use crate::plan::{Control, Layout, LossScale, PerLane};
use crate::rule::HyperRow;
use bytemuck::bytes_of;

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
        trips: trips * op.domains.len() as u64 + (op.groups * HyperRow::LEN / 256 + (1 + op.domains.len()) * op.groups) as u64,
    })
}
