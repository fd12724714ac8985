//! Operations of a plan, grouped by what they belong to, and how those of a lane are run.

use super::borrowed::Borrowed;
use super::matmul::Float;
use super::share::Threads;
use super::store::Store;
use super::{centralise, combine, control, dots, factored, factors, gate, join_rows, norm, operation, orthogonal, update};
use crate::error::Result;
use crate::plan::{CopyLanes, Layout, Op, Operated, Plan};

/// Operations that belong to no lane, that lead from lane to lane, or that run for each lane on its own.
#[derive(Debug)]
pub(super) enum Phase {
    Shared(Operated),
    Copies(CopyLanes),
    Lanes(Vec<Op>),
}

impl Phase {
    pub fn of_lanes(&self) -> Option<&[Op]> {
        match self {
            Self::Shared(_) | Self::Copies(_) => None,
            Self::Lanes(ops) => Some(ops),
        }
    }
}

/// Operations without lanes and copies of lanes are barriers; those between them are one task per lane.
pub(super) fn phases(plan: &Plan, layout: &Layout) -> Vec<Phase> {
    let mut phases = Vec::new();
    for op in plan.ops() {
        match (op, phases.last_mut()) {
            (Op::Operation(op), _) if op.is_shared(layout) => phases.push(Phase::Shared(op.clone())),
            (Op::CopyLanes(op), _) => phases.push(Phase::Copies(op.clone())),
            (_, Some(Phase::Lanes(ops))) => ops.push(op.clone()),
            _ => phases.push(Phase::Lanes(vec![op.clone()])),
        }
    }
    phases
}

/// Runs one operation of one lane.
///
/// # Errors
/// Those of operations by contract.
pub(super) fn run<F: Float>(
    op: &Op,
    lane: &mut Store<F>,
    shared: &Store<F>,
    borrowed: Option<&mut Borrowed<F>>,
    threads: Threads,
) -> Result<()> {
    match op {
        Op::Operation(op) => return operation::operate(op, lane, Some(shared), threads),
        Op::Norm(op) => norm::norm(op, lane, borrowed.as_deref(), threads),
        Op::Control(op) => control::control(op, lane),
        Op::Factors(op) => factors::factors(op, lane),
        Op::Gate(op) => gate::gate(op, lane),
        Op::Centralise(op) => centralise::centralise(op, lane, borrowed),
        Op::Orthogonalise(op) => orthogonal::orthogonalise(op, lane, threads),
        Op::Update(op) => update::update(op, lane, borrowed, threads),
        Op::Dots(op) => dots::dots(op, lane, threads),
        Op::Join { kind, input, output } => join_rows::join_rows(*kind, input, output, lane, shared),
        Op::Combine(op) => combine::combine(op, lane, threads),
        Op::Factored(op) => factored::factored(op, lane, borrowed, threads),
        // A phase of its own.
        Op::CopyLanes(_) => {}
    }
    Ok(())
}
