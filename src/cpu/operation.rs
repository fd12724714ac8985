//! Operations by contract: their views are taken out of the buffers of a lane.

use super::matmul::{Float, products};
use super::share::Threads;
use super::store::Store;
use crate::plan::{Elements, Kind, MAX_OPERANDS, Operated, Views};
use smallvec::SmallVec;

/// Runs an operation on the buffers of a lane and on shared ones, or on shared ones alone.
pub(super) fn operate<F: Float>(op: &Operated, own: &mut Store<F>, shared: Option<&Store<F>>, threads: Threads) {
    let written = op.operands().iter().filter(|operand| operand.written());
    let mut outputs: SmallVec<[_; MAX_OPERANDS]> = written.map(|operand| own.take(operand.view.buffer)).collect();
    let mut next = outputs.iter_mut();
    let store = &*own;
    let views = op.operands().iter().map(|operand| {
        let (id, range) = (operand.view.buffer, operand.view.offset..operand.view.offset + operand.view.len);
        if operand.written() {
            let output = next.next().expect("an output for each that is written");
            return match operand.kind {
                Kind::Index => Elements::IndicesMut(&mut output.as_mut_slice()[range]),
                _ => Elements::FloatsMut(&mut output.as_mut_slice()[range]),
            };
        }
        let owner = shared.filter(|_| !store.has(id)).unwrap_or(store);
        match operand.kind {
            Kind::Index => Elements::Indices(&owner.indices(id)[range]),
            _ => Elements::Floats(&owner.floats(id)[range]),
        }
    });
    F::operate(op.operation(), Views::new(views, threads.workers(), products()));
    let written = op.operands().iter().filter(|operand| operand.written());
    written.zip(outputs).for_each(|(operand, output)| own.put(operand.view.buffer, output));
}
