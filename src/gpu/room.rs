//! How many lanes the device has room for: found from declarations, before anything is made.

use super::device::Gpu;
use super::memory::binding_limit;
use super::operation;
use crate::error::{Error, Result};
use crate::plan::{Blueprint, Buffer, BufferId, GateKind, Layout, Need, Op, Plan, Scope, check_memory};

/// Bytes of a float.
const FLOAT: usize = 4;

/// Whether a blueprint can be loaded as far as its lanes are concerned.
///
/// # Errors
/// A lost device, what [`Blueprint::check`] finds, or [`Error::Lanes`]. What does not fit for one lane alone is found where it
/// is made.
pub(super) fn check(gpu: &Gpu, blueprint: &Blueprint) -> Result<()> {
    gpu.alive()?;
    blueprint.check()?;
    let by_memory = gpu.bound.map_or(Ok(()), |bytes| check_memory(blueprint, FLOAT, bytes));
    let in_memory = match &by_memory {
        Ok(()) => usize::MAX,
        Err(Error::Lanes { fit, .. }) => *fit,
        Err(_) => 0,
    };
    let (asked, (fit, tightest)) = (blueprint.layout().lanes(), within_limits(gpu, blueprint));
    if fit == 0 || fit >= asked || fit >= in_memory {
        return by_memory;
    }
    Err(Error::Lanes { asked, fit, reason: reason(gpu, blueprint.layout(), tightest) })
}

/// What an error of the device says of a population, for which it had given so many bytes before: as many lanes fit as these
/// are enough for.
pub(super) fn of_population(error: Error, layout: &Layout, given: u128) -> Error {
    let (asked, need) = (layout.lanes(), Need::of(layout, FLOAT));
    let fit = need.lanes(given);
    if !matches!(error, Error::OutOfMemory { .. }) || fit == 0 || fit >= asked {
        return error;
    }
    Error::Lanes { asked, fit, reason: format!("each takes {} bytes, and the device gave {given} for all of them", need.lane) }
}

/// How many lanes the limits of the device allow, and the buffer that decides; none where lanes themselves do, which are
/// workgroups along z.
fn within_limits(gpu: &Gpu, blueprint: &Blueprint) -> (usize, Option<BufferId>) {
    let (layout, binding) = (blueprint.layout(), binding_limit(gpu));
    let of_buffer = |id| (Need { lane: lane_bytes(layout.declared(id)), shared: 0 }.lanes(binding.into()), Some(id));
    let pieces = blueprint.plans().iter().flat_map(Plan::ops).flat_map(|op| in_one_piece(op, gpu, layout));
    let workgroups = (gpu.device.limits().max_compute_workgroups_per_dimension as usize, None);
    pieces.map(of_buffer).fold(workgroups, |least, next| if next.0 < least.0 { next } else { least })
}

fn reason(gpu: &Gpu, layout: &Layout, tightest: Option<BufferId>) -> String {
    let Some(id) = tightest else {
        return "each is a workgroup, and the device has no more in a dimension of a dispatch".into();
    };
    let (Buffer { name, .. }, lane, binding) = (layout.declared(id), lane_bytes(layout.declared(id)), binding_limit(gpu));
    format!("the buffer '{name}' of all lanes is one piece, each has {lane} bytes of it, and a binding at most {binding}")
}

/// Bytes of a lane's part of a buffer.
fn lane_bytes(declared: &Buffer) -> u128 {
    match declared.scope {
        Scope::Lane => declared.stride() as u128 * declared.kind.bytes() as u128,
        Scope::Shared => 0,
    }
}

/// Buffers that the kernels of an operation want in one piece.
fn in_one_piece(op: &Op, gpu: &Gpu, layout: &Layout) -> Vec<BufferId> {
    match op {
        Op::Operation(op) if operation::takes_pieces(op, gpu, layout) => Vec::new(),
        Op::Operation(op) => op.operands().iter().map(|operand| operand.view.buffer).collect(),
        Op::Norm(op) => vec![op.partials, op.frozen],
        Op::Control(op) => {
            let own = [op.rows, op.frozen, op.current, op.counts, op.scalars];
            own.into_iter()
                .chain(op.norm.map(|(partials, _)| partials))
                .chain(op.micro.as_ref().map(|micro| micro.count))
                .collect()
        }
        Op::Factors(op) => {
            let own = [op.partials.0, op.current, op.norms, op.factors];
            own.into_iter().chain(op.params).chain(op.memory).collect()
        }
        Op::Gate(op) => {
            let count = if let GateKind::Accumulate { count } = op.kind { Some(count) } else { None };
            [op.frozen, op.current].into_iter().chain(op.norm.map(|(partials, _)| partials)).chain(count).collect()
        }
        Op::Orthogonalise(op) => op.scratch.into_iter().chain([op.norms]).collect(),
        Op::Update(op) => {
            let moments = op.moments.as_ref().map(|moments| moments.buffer);
            [op.current].into_iter().chain(op.extras.factors).chain(moments).collect()
        }
        Op::Dots(op) => vec![op.partials.buffer],
        Op::Join { input, output, .. } => vec![input.buffer, output.buffer],
        Op::Combine(op) => vec![op.coefficients.buffer],
        Op::Factored(op) => vec![op.current, op.moments.buffer, op.partials],
        Op::Centralise(_) | Op::CopyLanes(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_device_gave_says_how_many_lanes_fit() {
        let mut layout = Layout::new(10);
        layout.floats("own", 6_400);
        layout.shared_floats("data", 256);
        let fit = |given: u128| {
            let error = Error::OutOfMemory { what: "own".into(), bytes: 256_000 };
            match of_population(error, &layout, given) {
                Error::Lanes { asked: 10, fit, .. } => fit,
                Error::OutOfMemory { .. } => 0,
                error => panic!("{error}"),
            }
        };
        assert_eq!([0, 26_623, 26_624, 52_223, 52_224, 231_424].map(fit), [0, 0, 1, 1, 2, 9]);
        // For what else a program takes.
        assert_eq!(fit(257_024), 0);
        let lost = Error::DeviceLost { reason: "gone".into() };
        assert_eq!(of_population(lost.clone(), &layout, 100_000), lost);
    }
}
