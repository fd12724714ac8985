//! Recurrent layers: plain cells, LSTM and GRU, in several layers and both directions.

use super::layers::{Dropout, Model};
use super::{Init, Tape, Value};
use crate::error::{Error, range};
use crate::op::Expr;

/// What a recurrent layer computes at each step, from the input x and its own output h of the step before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell {
    /// `h = tanh(W x + b + U h + d)`.
    Tanh,
    /// The same with a ReLU.
    Relu,
    /// Long short-term memory (Hochreiter and Schmidhuber 1997), gates in the order i, f, g, o: `c = σ(f) c + σ(i) tanh(g)`,
    /// `h = σ(o) tanh(c)`.
    Lstm,
    /// Gated recurrent unit (Cho et al. 2014), gates in the order r, z, n: `n = tanh(W x + b + σ(r) (U h + d))`, `h = (1 − σ(z)) n + σ(z) h`.
    Gru,
}

impl Cell {
    /// The number of gates, whose matrices are stacked in one weight.
    fn gates(self) -> usize {
        match self {
            Self::Tanh | Self::Relu => 1,
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }
}

/// A recurrent network over samples × steps × inputs: PyTorch's `RNN`, `LSTM` and `GRU` with `batch_first`, with their parameters
/// (`weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, `…_l1`, `…_reverse`), order of gates and start values.
///
/// For each layer and direction, the inputs of all steps are multiplied in one product, and the gradient of each weight is one
/// product too.
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
}

/// The state of a recurrent network between steps: layers × samples × hidden. With both directions there are two for each
/// layer, the backward one second.
#[derive(Debug, Clone)]
pub struct RecurrentState {
    /// The outputs.
    pub h: Value,
    /// The cell state of an LSTM; `None` for other cells.
    pub c: Option<Value>,
}

/// The results of a recurrent network for a sequence.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RecurrentRun {
    /// The outputs of the last layer: samples × steps × hidden, or twice hidden with both directions. 0 beyond the end of a sample.
    pub outputs: Value,
    /// The state after the last step of each sample; of the backward direction, after its first step.
    pub state: RecurrentState,
}

/// A layer in one direction.
struct Line<'a> {
    cell: Cell,
    hidden: usize,
    /// Products of all inputs, with biases: samples × (steps · gates · hidden).
    from_inputs: Value,
    /// Gates × hidden by hidden, transposed.
    weight: Value,
    /// The bias that the reset gate of a GRU multiplies.
    bias: Option<Value>,
    lengths: Option<&'a Value>,
}

impl Recurrent {
    /// One layer in one direction, with biases.
    pub fn new(cell: Cell, inputs: usize, hidden: usize) -> Self {
        Self { cell, inputs, hidden, layers: 1, both_directions: false, dropout: 0.0, bias: true }
    }

    /// Records the network on samples × steps × inputs, from a state, or from zeros. Samples may end before the last step: `lengths` has
    /// the number of steps of each (an input of indices, from 1 to the number of steps: see [`Recurrent::check_lengths`]); the backward
    /// direction begins at a sample's own end.
    ///
    /// The gradient flows into the state. For truncated back-propagation, read the state of an earlier run and give it as an
    /// input: the gradient stops there.
    pub fn run(&self, tape: &mut Tape, x: &Value, lengths: Option<&Value>, state: Option<&RecurrentState>) -> RecurrentRun {
        if let Err(error) = self.check(x, lengths, state) {
            let failed = tape.fail(error);
            let c = (self.cell == Cell::Lstm).then(|| failed.clone());
            return RecurrentRun { outputs: failed.clone(), state: RecurrentState { h: failed, c } };
        }
        let lengths = lengths.map(|lengths| lengths.reshape(&[x.shape()[0], 1]));
        let (mut x, mut last_h, mut last_c) = (x.clone(), Vec::new(), Vec::new());
        let (samples, steps) = (x.shape()[0], x.shape()[1]);
        for layer in 0..self.layers {
            let mut outputs = Vec::new();
            for direction in 0..self.directions() {
                let place = layer * self.directions() + direction;
                let line = self.line(tape, &x, (layer, direction == 1), lengths.as_ref());
                let before = |of: Option<&Value>| of.map(|of| of.slice(0, place..place + 1).reshape(&of.shape()[1..]));
                let h = before(state.map(|state| &state.h));
                let c = before(state.and_then(|state| state.c.as_ref()));
                let (of_steps, h, c) = line.run(tape, steps, direction == 1, [h, c]);
                outputs.push(of_steps);
                last_h.push(h);
                last_c.extend(c);
            }
            x = self.joined(tape, [samples, steps], outputs);
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

    /// Parameters of a layer in one direction, and the products of its inputs.
    fn line<'a>(&self, tape: &mut Tape, x: &Value, (layer, backward): (usize, bool), lengths: Option<&'a Value>) -> Line<'a> {
        // Not from the shape of x: if the layer below failed, x has none.
        let (width, hidden) = (if layer == 0 { self.inputs } else { self.directions() * self.hidden }, self.hidden);
        let rows = self.cell.gates() * hidden;
        let suffix = format!("l{layer}{}", if backward { "_reverse" } else { "" });
        let init = Init::Uniform((hidden as f64).sqrt().recip());
        let mut parameter = |name: &str, shape: &[usize]| tape.parameter(&format!("{name}_{suffix}"), shape, init.clone());
        let [of_x, of_h] = [("weight_ih", width), ("weight_hh", hidden)].map(|(name, width)| parameter(name, &[rows, width]));
        let biases = self.bias.then(|| ["bias_ih", "bias_hh"].map(|name| parameter(name, &[rows])));
        let mut from_inputs = x.matmul(&of_x.transpose());
        // Both biases are added at once for all steps; only the one that a GRU's gate multiplies stays apart.
        let bias = match biases {
            Some([of_x, of_h]) if self.cell == Cell::Gru => {
                from_inputs = &from_inputs + &of_x;
                Some(of_h)
            }
            Some([of_x, of_h]) => {
                from_inputs = tape.map(&[&from_inputs, &of_x, &of_h], |of| of[0].clone() + (of[1].clone() + of[2].clone()));
                None
            }
            None => None,
        };
        let from_inputs = from_inputs.stored().reshape(&[x.shape()[0], x.shape()[1] * rows]);
        Line { cell: self.cell, hidden, from_inputs, weight: of_h.transpose(), bias, lengths }
    }

    /// The outputs of all steps and directions as samples × steps × features.
    fn joined(&self, tape: &mut Tape, [samples, steps]: [usize; 2], outputs: Vec<Vec<Value>>) -> Value {
        let all: Vec<&Value> = (0..steps).flat_map(|step| outputs.iter().map(move |direction| &direction[step])).collect();
        tape.concatenate(&all, 1).reshape(&[samples, steps, self.directions() * self.hidden])
    }
}

impl Model for Recurrent {
    /// The outputs of all steps, from a state of zeros, for samples that all have every step.
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        self.run(tape, x, None, None).outputs
    }
}

impl Line<'_> {
    /// Goes through the steps: the output of each, and the last h and c.
    fn run(
        &self,
        tape: &mut Tape,
        steps: usize,
        backward: bool,
        [mut h, mut c]: [Option<Value>; 2],
    ) -> (Vec<Value>, Value, Option<Value>) {
        let mut outputs = vec![None; steps];
        for at in 0..steps {
            let step = if backward { steps - 1 - at } else { at };
            let gates = self.gates(step, h.as_ref());
            let (new_h, new_c) = match self.cell {
                Cell::Tanh => (self.kept(tape, step, &gates, h.as_ref(), |of| of[0].clone().tanh()), None),
                Cell::Relu => (self.kept(tape, step, &gates, h.as_ref(), |of| of[0].clone().relu()), None),
                Cell::Lstm => {
                    let (c, h) = self.lstm(tape, step, &gates, [c.as_ref(), h.as_ref()]);
                    (h, Some(c))
                }
                Cell::Gru => (self.gru(tape, step, &gates, h.as_ref()), None),
            };
            outputs[step] = Some(self.shown(tape, step, &new_h));
            (h, c) = (Some(new_h), new_c);
        }
        let h = h.unwrap_or_else(|| self.from_inputs.clone());
        (outputs.into_iter().flatten().collect(), h, c)
    }

    /// The sums of each gate; of a GRU those of the inputs, then those of h.
    fn gates(&self, step: usize, h: Option<&Value>) -> Vec<Value> {
        let (count, hidden) = (self.cell.gates(), self.hidden);
        let part = |of: &Value, first: usize| of.slice(1, first * hidden..(first + 1) * hidden);
        let parts = |of: &Value, first: usize| (first..first + count).map(|gate| part(of, gate)).collect::<Vec<_>>();
        let from_inputs = parts(&self.from_inputs, step * count);
        let Some(h) = h else {
            // Before the first step h is 0.
            let bias = self.bias.iter().flat_map(|bias| parts(&bias.reshape(&[1, count * hidden]), 0));
            return from_inputs.into_iter().chain(bias).collect();
        };
        let from_h = h.matmul(&self.weight);
        let from_h = self.bias.as_ref().map_or_else(|| from_h.clone(), |bias| (&from_h + bias).stored());
        if self.cell == Cell::Gru {
            return from_inputs.into_iter().chain(parts(&from_h, 0)).collect();
        }
        let all = self.from_inputs.slice(1, step * count * hidden..(step + 1) * count * hidden);
        parts(&(&all + &from_h), 0)
    }

    /// The new value where a sample has this step, else the old value, or 0 where there is no old one.
    fn kept(&self, tape: &mut Tape, step: usize, of: &[Value], old: Option<&Value>, f: impl FnOnce(&[Expr]) -> Expr) -> Value {
        let count = of.len();
        let rest = self.lengths.into_iter().chain(self.lengths.and(old));
        let all: Vec<&Value> = of.iter().chain(rest).collect();
        tape.map(&all, |all| {
            let new = f(&all[..count]);
            match &all[count..] {
                [] => new,
                [length] => Expr::number(step as f64).less(length.clone()).select(new, 0.0),
                [length, old, ..] => Expr::number(step as f64).less(length.clone()).select(new, old.clone()),
            }
        })
    }

    /// The output of a step: 0 where a sample is over.
    fn shown(&self, tape: &mut Tape, step: usize, h: &Value) -> Value {
        match self.lengths {
            None => h.clone(),
            Some(_) => self.kept(tape, step, std::slice::from_ref(h), None, |of| of[0].clone()),
        }
    }

    fn lstm(&self, tape: &mut Tape, step: usize, gates: &[Value], [c, h]: [Option<&Value>; 2]) -> (Value, Value) {
        let [input, forget, cell, output] = [0, 1, 2, 3].map(|gate| &gates[gate]);
        let added = |input: &Expr, cell: &Expr| input.clone().sigmoid() * cell.clone().tanh();
        let new_c = match c {
            None => self.kept(tape, step, &[input.clone(), cell.clone()], None, |of| added(&of[0], &of[1])),
            Some(old) => {
                let of = [input.clone(), cell.clone(), forget.clone(), old.clone()];
                self.kept(tape, step, &of, Some(old), |of| of[2].clone().sigmoid() * of[3].clone() + added(&of[0], &of[1]))
            }
        };
        let new_c = new_c.stored();
        let of = [output.clone(), new_c.clone()];
        (new_c, self.kept(tape, step, &of, h, |of| of[0].clone().sigmoid() * of[1].clone().tanh()))
    }

    fn gru(&self, tape: &mut Tape, step: usize, gates: &[Value], h: Option<&Value>) -> Value {
        let of: Vec<Value> = gates.iter().chain(h).cloned().collect();
        let has_h_sums = gates.len() == 6;
        self.kept(tape, step, &of, h, |of| {
            let sum =
                |gate: usize| if has_h_sums && gate < 2 { of[gate].clone() + of[gate + 3].clone() } else { of[gate].clone() };
            let reset = sum(0).sigmoid();
            let new = if has_h_sums { of[2].clone() + reset * of[5].clone() } else { of[2].clone() }.tanh();
            let update = sum(1).sigmoid();
            let fresh = (1.0 - update.clone()) * new;
            match of.get(gates.len()) {
                Some(h) => fresh + update * h.clone(),
                None => fresh,
            }
        })
    }
}
