//! Factors of each tensor, from its norms: a bound and a rule's trust.

use super::kernel::{Access, Kernel, Source, params};
use super::launch::{Bound, Launch, grid};
use super::memory::{Memory, or_nothing};
use super::norm::{NORM_KIND, kind_number};
use super::{update, update_kernel};
use crate::error::Result;
use crate::plan::{Factors, Layout, NormOf, TensorBound, TensorChunks, Trust};
use crate::rule::HyperRow;
use bytemuck::bytes_of;

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
            source = update_kernel::of_rule(&**rule);
            if rule.factored() {
                source.join("const FACTORED = false;");
            }
        }
        Trust::None => source.join(NO_TRUST),
        Trust::Cautious => source.join(CAUTIOUS),
    }
    source.join(update_kernel::CAREFUL);
    source.join(NORM_KIND);
    source.join(include_str!("../../shaders/factors.wgsl"));
    let bound = match op.bound {
        TensorBound::None => 0.0,
        TensorBound::Clip => 1.0,
        TensorBound::Normalise => 2.0,
    };
    let mut constants = vec![("KIND", kind_number(op.partials.1)), ("BOUND", bound)];
    constants.extend(
        [("PARAMS", op.params.is_some()), ("DIRECTION", op.of == NormOf::Direction), ("MEMORY", op.memory.is_some())]
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
        current_lane: (current.lane_stride / HyperRow::LEN) as u32,
        memory_lane: kept.map_or(0, |kept| kept.lane_stride as u32),
        norms_lane: norms.lane_stride as u32 / 2,
        factors_lane: factors.lane_stride as u32 / 2,
        chunks: (layout.declared(op.partials.0).len / op.partials.1.partials(1)) as u32,
    };
    let words =
        |part: &TensorChunks| [part.chunk as u32, part.chunks as u32, part.len as u32, update::tag(part.group, part.tensor)];
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
