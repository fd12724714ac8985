//! Recurrent layers on a tape: one node for all steps of a layer in one direction.

use super::backward::Backward;
use super::graph::{Graph, Node, Product};
use super::look::Look;
use super::{Tape, Value};
use crate::error::{Error, Result};
use crate::op::{Cell, Expr, Recurrence, RecurrenceGrad, RecurrenceSizes, Reduction};
use crate::plan::{Plan, View};

/// All steps of a layer in one direction, or their gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Recurrent {
    sizes: RecurrenceSizes,
    /// Which of the inputs are there that may be missing.
    bias: bool,
    start: bool,
    lengths: bool,
    /// The gradient, and whether the cells have one.
    gradient: Option<bool>,
}

impl Recurrent {
    /// Elements of its outputs: h before and after each step, cells, and what the gradient needs; or the gradients by the sums,
    /// by what goes through the weight where that is another, and by the start.
    fn lens(&self) -> Vec<usize> {
        let [sums, _, start, outputs, cells, kept] = self.sizes.lens();
        let cell = self.sizes.cell;
        match self.gradient {
            None => {
                let more = [(cell == Cell::Lstm).then_some(cells), matches!(cell, Cell::Lstm | Cell::Gru).then_some(kept)];
                [outputs; 2].into_iter().chain(more.into_iter().flatten()).collect()
            }
            Some(_) => [Some(sums), (cell == Cell::Gru).then_some(sums), Some(start)].into_iter().flatten().collect(),
        }
    }

    /// Floating-point operations of the products.
    pub(super) fn flops(&self) -> usize {
        2 * self.sizes.lens()[0] * self.sizes.hidden
    }

    /// Appends it to a plan.
    ///
    /// # Errors
    /// Fewer views than there are inputs and outputs.
    pub(super) fn operate(&self, reads: &[View], writes: &[View], plan: &mut Plan) -> Result<()> {
        let found = reads.len() + writes.len();
        let (mut reads, mut writes) = (reads.iter().copied(), writes.iter().copied());
        let mut read = |wanted: bool| if wanted { reads.next() } else { None };
        let mut write = |wanted: bool| if wanted { writes.next() } else { None };
        let (sizes, cell) = (self.sizes, self.sizes.cell);
        let (lstm, gru) = (cell == Cell::Lstm, cell == Cell::Gru);
        let recorded = match self.gradient {
            None => (|| {
                let (sums, weight) = (read(true)?, read(true)?);
                // The weight as it is, which only the gradient reads.
                read(true)?;
                let (bias, start, lengths) = (read(self.bias), read(self.start), read(self.lengths));
                let (before, after) = (write(true)?, write(true)?);
                let (cells, kept) = (write(lstm), write(lstm || gru));
                plan.operate(Recurrence { sizes, sums, weight, bias, start, lengths, before, after, cells, kept });
                Some(())
            })(),
            Some(with_cells) => (|| {
                let (grad, cells_grad, h) = (read(true)?, read(with_cells), read(!lstm));
                let (cells, kept) = (read(lstm), read(lstm || gru));
                let (weight, lengths) = (read(true)?, read(self.lengths));
                let (sums, from_h, start) = (write(true)?, write(gru), write(true)?);
                let views = RecurrenceGrad { sizes, grad, cells_grad, h, cells, kept, weight, lengths, sums, from_h, start };
                plan.operate(views);
                Some(())
            })(),
        };
        recorded.ok_or_else(|| Error::shape("views of a recurrent layer", "one for each input and output", found))
    }
}

impl Graph {
    fn recurrent(&mut self, op: Recurrent, inputs: Vec<Look>) -> Vec<Look> {
        let (lens, trained) = (op.lens(), self.any_trained(inputs.iter()));
        let node = |outputs: &[usize]| Node::Recurrent { op, inputs, outputs: outputs.to_vec() };
        self.push(node, &lens, trained).into_iter().zip(lens).map(|(tensor, len)| Look::whole(tensor, &[len])).collect()
    }
}

impl Backward<'_> {
    /// Passes what the outputs of a recurrent layer got on to its inputs.
    pub(super) fn recurrent(&mut self, op: Recurrent, inputs: &[Look], outputs: &[usize], grads: &[Option<Look>]) {
        let sizes = op.sizes;
        let [_, of_weight, _, len, ..] = sizes.lens();
        let (lstm, gru) = (sizes.cell == Cell::Lstm, sizes.cell == Cell::Gru);
        let output = |index: usize, len: usize| Look::whole(outputs[index], &[len]);
        let lens = Recurrent { gradient: None, ..op }.lens();
        let of_h = grads[1].clone().unwrap_or_else(|| self.graph.map(&[len], Vec::new(), 0.0.into()));
        let of_h = self.whole(of_h);
        let of_cells = grads.get(2).filter(|_| lstm).cloned().flatten();
        let gradient = Some(of_cells.is_some());
        let mut reads: Vec<Look> = [of_h].into_iter().chain(of_cells).collect();
        match sizes.cell {
            Cell::Lstm => reads.extend([output(2, lens[2]), output(3, lens[3])]),
            Cell::Gru => reads.extend([output(0, len), output(2, lens[2])]),
            Cell::Tanh | Cell::Relu => reads.push(output(1, len)),
        }
        let mut rest = inputs[3..].iter();
        let mut next = |wanted: bool| if wanted { rest.next() } else { None };
        let (bias, start, lengths) = (next(op.bias), next(op.start), next(op.lengths));
        let weight = &inputs[2];
        reads.push(weight.clone());
        reads.extend(lengths.cloned());
        let slopes = self.graph.recurrent(Recurrent { gradient, ..op }, reads);
        let through = if gru { &slopes[1] } else { &slopes[0] };
        let (rows, gates) = (sizes.samples * sizes.steps, sizes.cell.gates() * sizes.hidden);
        if self.wanted(weight) {
            let product = Product { batch: 1, m: gates, k: rows, n: sizes.hidden, trans_a: true, trans_b: false };
            let part = self.graph.product(through.clone(), output(0, len), product, &[of_weight]);
            self.give_flat(weight, part);
        }
        if let Some(bias) = bias.filter(|bias| self.wanted(bias)) {
            let columns = Look { shape: vec![gates, rows], strides: vec![1, gates], ..through.clone() };
            let sums = vec![(Reduction::Sum, Expr::input(0))];
            let part = self.graph.fold(&[gates, rows], 1, vec![columns], sums).swap_remove(0);
            self.give_flat(bias, part);
        }
        if let Some(start) = start.filter(|start| self.wanted(start)) {
            let part = slopes[slopes.len() - 1].clone();
            self.give_flat(start, part);
        }
        if self.wanted(&inputs[0]) {
            self.give_flat(&inputs[0], slopes[0].clone());
        }
    }
}

/// What a recurrent layer in one direction reads.
pub(in crate::nn) struct Recurring<'a> {
    /// samples × steps × (gates · hidden).
    pub(in crate::nn) sums: &'a Value,
    /// (gates · hidden) × hidden.
    pub(in crate::nn) weight: &'a Value,
    pub(in crate::nn) bias: Option<&'a Value>,
    /// States × samples × hidden.
    pub(in crate::nn) start: Option<&'a Value>,
    pub(in crate::nn) lengths: Option<&'a Value>,
}

impl Tape {
    /// Records all steps of a layer in one direction: h after each of them (samples × steps × hidden), and an LSTM's cells
    /// before the first and after each (samples × (steps + 1) × hidden, in the order of computation).
    pub(in crate::nn) fn recurred(&mut self, sizes: RecurrenceSizes, of: &Recurring) -> (Value, Option<Value>) {
        let turned = of.weight.transpose().contiguous();
        let (sums, weight) = (of.sums.contiguous(), of.weight.contiguous());
        let more = [of.bias, of.start].into_iter().flatten().map(Value::contiguous).collect::<Vec<_>>();
        let all = [&sums, &turned, &weight].into_iter().chain(&more).chain(of.lengths);
        let inputs = all.map(|value| value.look.clone()).collect();
        let op = Recurrent {
            sizes,
            bias: of.bias.is_some(),
            start: of.start.is_some(),
            lengths: of.lengths.is_some(),
            gradient: None,
        };
        let looks = self.graph.borrow_mut().recurrent(op, inputs);
        let RecurrenceSizes { samples, steps, hidden, cell, .. } = sizes;
        let after = self.value(looks[1].clone()).reshape(&[samples, steps, hidden]);
        let cells = (cell == Cell::Lstm).then(|| self.value(looks[2].clone()).reshape(&[samples, steps + 1, hidden]));
        (after, cells)
    }
}
