//! The GPU's half: a kernel per step, in which a thread has a unit of a sample.

use super::{Cell, Recurrence, RecurrenceGrad, RecurrenceSizes};
use crate::plan::Dispatch;

/// A kernel's text: the skeleton, what a cell computes, and what stands for views that are missing.
fn text(cell: Cell, [skeleton, of_cell]: [&str; 2], missing: impl IntoIterator<Item = (bool, &'static str)>) -> String {
    let constants = format!("const GATES = {}u;\nconst CELLS = {};\n", cell.gates(), cell == Cell::Lstm);
    let missing: String = missing.into_iter().filter(|(is, _)| *is).map(|(_, text)| text).collect();
    [of_cell, skeleton, include_str!("../../../shaders/op/elementary.wgsl"), &constants, &missing].concat()
}

// Accessors of views that are not there.
const NO_BIAS: &str = "fn bias(lane: u32, i: u32) -> f32 { return 0.0; }\n";
const NO_START: &str = "fn start(lane: u32, i: u32) -> f32 { return 0.0; }\n";
const NO_LENGTHS: &str = "fn lengths(lane: u32, i: u32) -> u32 { return 0xffffffffu; }\n";
const NO_CELLS: &str = "fn cells(lane: u32, i: u32) -> f32 { return 0.0; }\n";
const NO_PUT_CELLS: &str = "fn put_cells(lane: u32, i: u32, value: f32) { }\n";
const NO_KEPT: &str = "fn kept(lane: u32, i: u32) -> f32 { return 0.0; }\n";
const NO_PUT_KEPT: &str = "fn put_kept(lane: u32, i: u32, value: f32) { }\n";
const NO_H: &str = "fn h(lane: u32, i: u32) -> f32 { return 0.0; }\n";
const NO_CELLS_GRAD: &str = "fn cells_grad(lane: u32, i: u32) -> f32 { return 0.0; }\n";
/// What goes through U is the gradient by the sums, but for a GRU.
const NO_FROM_H: &str = "fn from_h(lane: u32, i: u32) -> f32 { return sums(lane, i); }\n";
const NO_PUT_FROM_H: &str = "fn put_from_h(lane: u32, i: u32, value: f32) { }\n";

fn dispatch(entry: &'static str, text: String, sizes: &RecurrenceSizes) -> Dispatch {
    let &RecurrenceSizes { cell, samples, steps, hidden, .. } = sizes;
    let dispatch = Dispatch::new(entry, text);
    let dispatch = if matches!(cell, Cell::Tanh | Cell::Relu) {
        dispatch.constant("RELU", f64::from(u8::from(cell == Cell::Relu)))
    } else {
        dispatch
    };
    dispatch.size("samples", samples).size("steps", steps).size("hidden", hidden)
}

/// A kernel per step, in their order.
pub(super) fn forward(of: &Recurrence) -> Vec<Dispatch> {
    let (sizes, cell) = (&of.sizes, of.sizes.cell);
    let of_cell = match cell {
        Cell::Tanh | Cell::Relu => include_str!("../../../shaders/op/recurrence/plain.wgsl"),
        Cell::Lstm => include_str!("../../../shaders/op/recurrence/lstm.wgsl"),
        Cell::Gru => include_str!("../../../shaders/op/recurrence/gru.wgsl"),
    };
    let text = text(
        cell,
        [include_str!("../../../shaders/op/recurrence/recurrence.wgsl"), of_cell],
        [
            (of.bias.is_none(), NO_BIAS),
            (of.start.is_none(), NO_START),
            (of.lengths.is_none(), NO_LENGTHS),
            (of.cells.is_none(), NO_CELLS),
            (of.cells.is_none(), NO_PUT_CELLS),
            (of.kept.is_none(), NO_PUT_KEPT),
        ],
    );
    let one = |place: usize| {
        let (step, before) = (sizes.step(place), sizes.step(place.saturating_sub(1)));
        let dispatch =
            dispatch("recurrence", text.clone(), sizes).size("place", place).size("step", step).size("before", before);
        dispatch.elements(sizes.samples * sizes.hidden, 64).trips(sizes.hidden)
    };
    (0..sizes.steps).map(one).collect()
}

/// A kernel per step, from the last to the first, and one for the start.
pub(super) fn backward(of: &RecurrenceGrad) -> Vec<Dispatch> {
    let (sizes, cell) = (&of.sizes, of.sizes.cell);
    let of_cell = match cell {
        Cell::Tanh | Cell::Relu => include_str!("../../../shaders/op/recurrence/plain_grad.wgsl"),
        Cell::Lstm => include_str!("../../../shaders/op/recurrence/lstm_grad.wgsl"),
        Cell::Gru => include_str!("../../../shaders/op/recurrence/gru_grad.wgsl"),
    };
    let text = text(
        cell,
        [include_str!("../../../shaders/op/recurrence/recurrence_grad.wgsl"), of_cell],
        [
            (of.h.is_none(), NO_H),
            (of.lengths.is_none(), NO_LENGTHS),
            (of.cells.is_none(), NO_CELLS),
            (of.kept.is_none(), NO_KEPT),
            (of.cells_grad.is_none(), NO_CELLS_GRAD),
            (of.from_h.is_none(), NO_FROM_H),
            (of.from_h.is_none(), NO_PUT_FROM_H),
        ],
    );
    // One place beyond the first step is the start.
    let one = |left: usize| {
        let (step, after) = (sizes.step(left.saturating_sub(1)), sizes.step(left.min(sizes.steps - 1)));
        let dispatch =
            dispatch("recurrence_grad", text.clone(), sizes).size("left", left).size("step", step).size("later", after);
        dispatch.elements(sizes.samples * sizes.hidden, 64).trips(cell.gates() * sizes.hidden)
    };
    (0..=sizes.steps).rev().map(one).collect()
}
