//! Recurrent layers: plain cells, LSTM and GRU, in several layers and both directions.

use super::tape::Recurring;
use super::{Dropout, Init, Model, Tape, Value};
use crate::error::{Error, range};
use crate::op::{Cell, RecurrenceSizes};

/// In which order the gates of a cell lie in its weights and biases, one below the other.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GateOrder {
    /// PyTorch's: i, f, g, o of an LSTM, and r, z, n of a GRU.
    #[default]
    Torch,
    /// Keras': i, f, c, o of an LSTM, where c is PyTorch's g, and z, r, h of a GRU (with `reset_after`), where h is PyTorch's
    /// n. Keras has the transposed matrices.
    Keras,
    /// That of ONNX: i, o, f, c of an LSTM, and z, r, h of a GRU (with `linear_before_reset`).
    Onnx,
}

impl GateOrder {
    /// Where each gate of PyTorch's order lies; nothing where the orders are the same.
    fn places(self, cell: Cell) -> Option<&'static [usize]> {
        match (self, cell) {
            (Self::Onnx, Cell::Lstm) => Some(&[0, 2, 3, 1]),
            (Self::Keras | Self::Onnx, Cell::Gru) => Some(&[1, 0, 2]),
            _ => None,
        }
    }
}

/// A recurrent network over samples × steps × inputs: PyTorch's `RNN`, `LSTM` and `GRU` with `batch_first`, with their
/// parameters (`weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, `…_l1`, `…_reverse`), order of gates and start
/// values.
///
/// The products of all inputs are one product per layer and direction, and so are the gradients of each weight. On a GPU a step
/// is one kernel, and its gradient another.
///
/// # Examples
///
/// ```
/// use thalweg::nn::{Cell, Model, Recurrent, Tape};
///
/// let lstm = Recurrent { layers: 2, both_directions: true, ..Recurrent::new(Cell::Lstm, 8, 16) };
/// let mut tape = Tape::training();
/// let x = tape.constant(&[4, 10, 8], 0.5);
/// let run = lstm.run(&mut tape, &x, None, None);
/// assert_eq!(run.outputs.shape(), [4, 10, 32]);
/// assert_eq!(run.state.h.shape(), [4, 4, 16]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Recurrent {
    /// What a step computes.
    pub cell: Cell,
    /// Elements of the input at each step.
    pub inputs: usize,
    /// Elements of the output of one direction at each step.
    pub hidden: usize,
    /// Layers; each takes the outputs of the one below. Default 1.
    pub layers: usize,
    /// Whether each layer also goes from the last step to the first; then both outputs lie side by side. Default false.
    pub both_directions: bool,
    /// The share of outputs that is dropped between layers while training. Default 0.
    pub dropout: f64,
    /// Whether there are biases. Default true.
    pub bias: bool,
    /// In which order the gates lie in weights and biases. Default PyTorch's.
    pub order: GateOrder,
}

/// The state of a recurrent network between steps: layers × samples × hidden. With both directions there are two for each
/// layer, the backward one second.
#[derive(Debug, Clone)]
pub struct RecurrentState {
    /// The outputs.
    pub h: Value,
    /// The cells of an LSTM; of other cells nothing.
    pub c: Option<Value>,
}

/// The results of a recurrent network for a sequence.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecurrentRun {
    /// The outputs of the last layer: samples × steps × hidden, or twice hidden with both directions. 0 beyond the end of a
    /// sample.
    pub outputs: Value,
    /// After the last step of each sample; backward, after its first.
    pub state: RecurrentState,
}

impl Recurrent {
    /// One layer in one direction, with biases.
    pub fn new(cell: Cell, inputs: usize, hidden: usize) -> Self {
        let order = GateOrder::Torch;
        Self { cell, inputs, hidden, layers: 1, both_directions: false, dropout: 0.0, bias: true, order }
    }

    /// As [`Recurrent::new`], with gates in the order of Keras.
    pub fn keras(cell: Cell, inputs: usize, hidden: usize) -> Self {
        Self { order: GateOrder::Keras, ..Self::new(cell, inputs, hidden) }
    }

    /// As [`Recurrent::new`], with gates in the order of ONNX.
    pub fn onnx(cell: Cell, inputs: usize, hidden: usize) -> Self {
        Self { order: GateOrder::Onnx, ..Self::new(cell, inputs, hidden) }
    }

    /// The gates of a weight or a bias in PyTorch's order, in which they are computed.
    fn ordered(&self, tape: &mut Tape, of: Value) -> Value {
        let (Some(places), hidden) = (self.order.places(self.cell), self.hidden) else { return of };
        let gates: Vec<Value> = places.iter().map(|gate| of.slice(0, gate * hidden..(gate + 1) * hidden)).collect();
        tape.concatenate(&gates.iter().collect::<Vec<_>>(), 0)
    }

    /// Records the network on samples × steps × inputs, from a state, or from zeros. Samples may end before the last step:
    /// `lengths` has the number of steps of each (an input of indices, from 1 to the number of steps: see
    /// [`Recurrent::check_lengths`]); the backward direction begins at a sample's own end.
    ///
    /// The gradient flows into the state; a state that was read from an earlier run and is given as an input cuts it off, as
    /// truncated back-propagation wants it.
    pub fn run(&self, tape: &mut Tape, x: &Value, lengths: Option<&Value>, state: Option<&RecurrentState>) -> RecurrentRun {
        if let Err(error) = self.check(x, lengths, state) {
            let failed = tape.fail(error);
            let c = (self.cell == Cell::Lstm).then(|| failed.clone());
            return RecurrentRun { outputs: failed.clone(), state: RecurrentState { h: failed, c } };
        }
        let sizes = [x.shape()[0], x.shape()[1]];
        let (mut x, mut last_h, mut last_c) = (x.clone(), Vec::new(), Vec::new());
        for layer in 0..self.layers {
            let mut outputs = Vec::new();
            for direction in 0..self.directions() {
                let place = layer * self.directions() + direction;
                let start = state.map(|state| self.start(tape, state, place));
                let (of_steps, h, c) = self.line(tape, (&x, sizes), (layer, direction == 1), lengths, start.as_ref());
                outputs.push(of_steps);
                last_h.push(h);
                last_c.extend(c);
            }
            x = tape.concatenate(&outputs.iter().collect::<Vec<_>>(), 2);
            if layer + 1 < self.layers {
                x = Dropout { p: self.dropout }.forward(tape, &x);
            }
        }
        let stacked = |tape: &mut Tape, of: Vec<Value>| {
            let rows: Vec<Value> = of.iter().map(|value| value.reshape(&[&[1], value.shape()].concat())).collect();
            tape.concatenate(&rows.iter().collect::<Vec<_>>(), 0)
        };
        let h = stacked(tape, last_h);
        let c = (self.cell == Cell::Lstm).then(|| stacked(tape, last_c));
        RecurrentRun { outputs: x, state: RecurrentState { h, c } }
    }

    /// Checks numbers of steps before they are written to the buffer of `lengths`.
    ///
    /// # Errors
    /// [`Error::Setting`] for one that is 0 or above `steps`.
    pub fn check_lengths(lengths: &[u32], steps: usize) -> Result<(), Error> {
        match lengths.iter().position(|&length| length == 0 || length as usize > steps) {
            Some(sample) => {
                let allowed = format!("from 1 to {steps}");
                Err(Error::setting(&format!("steps of sample {sample}"), lengths[sample], &allowed))
            }
            None => Ok(()),
        }
    }

    fn directions(&self) -> usize {
        1 + usize::from(self.both_directions)
    }

    fn check(&self, x: &Value, lengths: Option<&Value>, state: Option<&RecurrentState>) -> Result<(), Error> {
        range::require(self.layers >= 1 && self.hidden >= 1, "layers and hidden", self.layers.min(self.hidden), "at least 1")?;
        range::fraction("dropout", self.dropout)?;
        let &[samples, steps, inputs] = x.shape() else {
            let expected = format!("samples × steps × {}", self.inputs);
            return Err(Error::shape("input of a recurrent layer", expected, format!("{:?}", x.shape())));
        };
        if inputs != self.inputs || steps == 0 {
            let expected = format!("[{samples}, at least 1, {}]", self.inputs);
            return Err(Error::shape("input of a recurrent layer", expected, format!("{:?}", x.shape())));
        }
        if let Some(lengths) = lengths.filter(|lengths| lengths.shape() != [samples]) {
            return Err(Error::shape("lengths of a recurrent layer", format!("[{samples}]"), format!("{:?}", lengths.shape())));
        }
        let Some(state) = state else { return Ok(()) };
        if state.c.is_some() != (self.cell == Cell::Lstm) {
            let expected = if self.cell == Cell::Lstm { "h and c" } else { "h alone" };
            return Err(Error::shape(
                "state of a recurrent layer",
                expected,
                if state.c.is_some() { "h and c" } else { "h alone" },
            ));
        }
        let expected = [self.layers * self.directions(), samples, self.hidden];
        match [Some(&state.h), state.c.as_ref()].into_iter().flatten().find(|value| value.shape() != expected) {
            Some(other) => {
                Err(Error::shape("state of a recurrent layer", format!("{expected:?}"), format!("{:?}", other.shape())))
            }
            None => Ok(()),
        }
    }

    /// The state of a layer in one direction, h and then the cells.
    fn start(&self, tape: &mut Tape, state: &RecurrentState, place: usize) -> Value {
        let own: Vec<Value> =
            [Some(&state.h), state.c.as_ref()].into_iter().flatten().map(|of| of.slice(0, place..place + 1)).collect();
        match &own[..] {
            [h] => h.clone(),
            all => tape.concatenate(&all.iter().collect::<Vec<_>>(), 0),
        }
    }

    /// A layer in one direction: its outputs (samples × steps × hidden), and the last h and c (samples × hidden).
    fn line(
        &self,
        tape: &mut Tape,
        (x, [samples, steps]): (&Value, [usize; 2]),
        (layer, backward): (usize, bool),
        lengths: Option<&Value>,
        start: Option<&Value>,
    ) -> (Value, Value, Option<Value>) {
        let (width, hidden) = (if layer == 0 { self.inputs } else { self.directions() * self.hidden }, self.hidden);
        let rows = self.cell.gates() * hidden;
        let suffix = format!("l{layer}{}", if backward { "_reverse" } else { "" });
        let init = Init::Uniform((hidden as f64).sqrt().recip());
        let mut parameter = |name: &str, shape: &[usize]| {
            let parameter = tape.parameter(&format!("{name}_{suffix}"), shape, init.clone());
            self.ordered(tape, parameter)
        };
        let [of_x, weight] = [("weight_ih", width), ("weight_hh", hidden)].map(|(name, width)| parameter(name, &[rows, width]));
        let biases = self.bias.then(|| ["bias_ih", "bias_hh"].map(|name| parameter(name, &[rows])));
        let from_inputs = x.matmul(&of_x.transpose());
        // Both biases at once for all steps, but for a GRU, of which a gate multiplies one.
        let (sums, bias) = match biases {
            Some([of_x, of_h]) if self.cell == Cell::Gru => (&from_inputs + &of_x, Some(of_h)),
            Some([of_x, of_h]) => (&from_inputs + &(&of_x + &of_h).stored(), None),
            None => (from_inputs, None),
        };
        let sizes = RecurrenceSizes { cell: self.cell, samples, steps, hidden, backward };
        let of = Recurring { sums: &sums, weight: &weight, bias: bias.as_ref(), start, lengths };
        let (after, cells) = tape.recurred(sizes, &of);
        let last = |of: &Value, at: usize| of.slice(1, at..at + 1).reshape(&[samples, hidden]);
        let h = last(&after, if backward { 0 } else { steps - 1 });
        let c = cells.map(|cells| last(&cells, steps));
        (self.shown(tape, after, lengths), h, c)
    }

    /// Outputs, which are 0 where a sample is over.
    fn shown(&self, tape: &mut Tape, after: Value, lengths: Option<&Value>) -> Value {
        let Some(lengths) = lengths else { return after };
        let lengths = lengths.reshape(&[after.shape()[0], 1, 1]);
        let step = tape.places(after.shape(), 1);
        tape.map(&[&after, &step, &lengths], |of| of[1].clone().less(of[2].clone()).select(of[0].clone(), 0.0))
    }
}

impl Model for Recurrent {
    /// The outputs of all steps, from a state of zeros, all samples being as long as there are steps.
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        self.run(tape, x, None, None).outputs
    }
}
