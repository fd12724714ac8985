//! Operations by contract: their views are taken out of the buffers of a lane.

use super::matmul::{Float, products};
use super::share::Threads;
use super::store::Store;
use crate::error::Result;
use crate::plan::{Elements, Kind, MAX_OPERANDS, Operated, Slice, Views};
use smallvec::SmallVec;

/// Runs an operation on the buffers of a lane and on shared ones, or on shared ones alone.
///
/// # Errors
/// Those of the operation's own half.
pub(super) fn operate<F: Float>(op: &Operated, own: &mut Store<F>, shared: Option<&Store<F>>, threads: Threads) -> Result<()> {
    let written = op.operands().iter().filter(|operand| operand.written());
    let mut outputs: SmallVec<[_; MAX_OPERANDS]> = written.map(|operand| own.take(operand.view.buffer)).collect();
    let mut next = outputs.iter_mut();
    let (store, name) = (&*own, op.operation().name());
    let mut views = [const { Elements::NONE }; MAX_OPERANDS];
    let views = &mut views[..op.operands().len()];
    for (view, operand) in views.iter_mut().zip(op.operands()) {
        let (id, range) = (operand.view.buffer, operand.view.offset..operand.view.offset + operand.view.len);
        let slice = if operand.written() {
            let output = next.next().expect("an output for each that is written");
            match operand.kind {
                Kind::Index => Slice::IndicesMut(&mut output.as_mut_slice()[range]),
                _ => Slice::FloatsMut(&mut output.as_mut_slice()[range]),
            }
        } else {
            let owner = shared.filter(|_| !store.has(id)).unwrap_or(store);
            match operand.kind {
                Kind::Index => Slice::Indices(&owner.indices(id)[range]),
                _ => Slice::Floats(&owner.floats(id)[range]),
            }
        };
        *view = Elements::new(slice, operand.name, name);
    }
    let done = F::operate(op.operation(), Views::new(name, views, threads.workers(), products()));
    let written = op.operands().iter().filter(|operand| operand.written());
    written.zip(outputs).for_each(|(operand, output)| own.put(operand.view.buffer, output));
    done
}
