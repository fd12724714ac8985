//! Whether a micro-batch counts, or how far to ascend.

use super::kernel::{Access, Kernel, params};
use super::launch::{Bound, Launch};
use super::memory::{Memory, or_nothing};
use super::norm::{JOINING, chunks_of, kind_number};
use crate::error::Result;
use crate::plan::{Gate, GateKind, Layout};
use bytemuck::bytes_of;

params!(GateParams {
    groups: u32,
    chunks: u32,
    partials_lane: u32,
    frozen_lane: u32,
    current_lane: u32,
    count_lane: u32,
    rhos: u32,
});

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
