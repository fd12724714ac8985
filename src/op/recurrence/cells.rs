//! One step of one sample, forward and back. Gates lie one after the other, each over all units.

use super::Cell;
use crate::rule::{Function, Real};

/// What a step reads and writes of a sample.
pub(super) struct Forward<'a, F> {
    /// `W x + b`, and `U h`, of each gate.
    pub(super) sums: &'a [F],
    pub(super) from_h: &'a [F],
    /// d of a GRU.
    pub(super) bias: &'a [F],
    /// For the gradient.
    pub(super) kept: &'a mut [F],
    /// An LSTM's cells before and after.
    pub(super) cells: &'a [F],
    pub(super) new_cells: &'a mut [F],
    /// The output before, which becomes the one after.
    pub(super) h: &'a mut [F],
    /// As long as sums.
    pub(super) scratch: &'a mut [F],
}

impl<F: Real> Forward<'_, F> {
    #[inline(always)]
    pub(super) fn step(mut self, cell: Cell) {
        match cell {
            Cell::Tanh => {
                self.add(0..self.h.len());
                F::function(Function::Tanh, self.scratch, self.h);
            }
            Cell::Relu => {
                for (h, (&a, &b)) in self.h.iter_mut().zip(self.sums.iter().zip(self.from_h)) {
                    let sum = a + b;
                    *h = if sum <= F::zero() { F::zero() } else { sum };
                }
            }
            Cell::Lstm => self.lstm(),
            Cell::Gru => self.gru(),
        }
    }

    /// Sums of some units of all gates, into scratch.
    #[inline(always)]
    fn add(&mut self, range: std::ops::Range<usize>) {
        let (a, b) = (&self.sums[range.clone()], &self.from_h[range.clone()]);
        self.scratch[range].iter_mut().zip(a.iter().zip(b)).for_each(|(to, (&a, &b))| *to = a + b);
    }

    #[inline(always)]
    fn lstm(mut self) {
        let units = self.h.len();
        self.add(0..4 * units);
        let (kept, scratch) = (self.kept, self.scratch);
        F::function(Function::Sigmoid, &scratch[..2 * units], &mut kept[..2 * units]);
        F::function(Function::Tanh, &scratch[2 * units..3 * units], &mut kept[2 * units..3 * units]);
        F::function(Function::Sigmoid, &scratch[3 * units..], &mut kept[3 * units..]);
        let [input, forget, new, output] = quarters(kept);
        let gates = input.iter().zip(forget).zip(new);
        for ((to, &c), ((&input, &forget), &new)) in self.new_cells.iter_mut().zip(self.cells).zip(gates) {
            *to = forget * c + input * new;
        }
        F::function(Function::Tanh, self.new_cells, &mut scratch[..units]);
        self.h.iter_mut().zip(output.iter().zip(&*scratch)).for_each(|(h, (&output, &tanh))| *h = output * tanh);
    }

    #[inline(always)]
    fn gru(mut self) {
        let units = self.h.len();
        self.add(0..2 * units);
        let (kept, scratch) = (self.kept, self.scratch);
        scratch.iter_mut().zip(self.bias).take(2 * units).for_each(|(sum, &bias)| *sum += bias);
        F::function(Function::Sigmoid, &scratch[..2 * units], &mut kept[..2 * units]);
        let (gates, of_h) = kept.split_at_mut(3 * units);
        of_h.copy_from_slice(&self.from_h[2 * units..]);
        of_h.iter_mut().zip(self.bias.iter().skip(2 * units)).for_each(|(sum, &bias)| *sum += bias);
        let inputs = self.sums[2 * units..].iter().zip(&gates[..units]).zip(&*of_h);
        let sums = &mut scratch[2 * units..];
        sums.iter_mut().zip(inputs).for_each(|(to, ((&x, &reset), &of_h))| *to = x + reset * of_h);
        F::function(Function::Tanh, sums, &mut gates[2 * units..]);
        for (h, (&update, &new)) in self.h.iter_mut().zip(gates[units..2 * units].iter().zip(&gates[2 * units..])) {
            *h = (F::one() - update) * new + update * *h;
        }
    }
}

/// What the gradient of a step reads and writes of a sample.
pub(super) struct Backward<'a, F> {
    pub(super) kept: &'a [F],
    /// h before the step of a GRU, after it of a plain cell.
    pub(super) h: &'a [F],
    /// An LSTM's cells before and after.
    pub(super) cells: [&'a [F]; 2],
    /// The gradient by h after the step, which becomes that part of the gradient by h before it which does not go through U;
    /// and that by the cells.
    pub(super) h_grad: &'a mut [F],
    pub(super) cells_grad: &'a mut [F],
    /// The gradient by the sums, and by those of a GRU's `U h + d`.
    pub(super) sums: &'a mut [F],
    pub(super) from_h: &'a mut [F],
    /// As long as h.
    pub(super) scratch: &'a mut [F],
}

impl<F: Real> Backward<'_, F> {
    #[inline(always)]
    pub(super) fn step(self, cell: Cell) {
        match cell {
            Cell::Tanh => self.plain(|h| F::one() - h * h),
            Cell::Relu => self.plain(|h| if h > F::zero() { F::one() } else { F::zero() }),
            Cell::Lstm => self.lstm(),
            Cell::Gru => self.gru(),
        }
    }

    #[inline(always)]
    fn plain(self, slope: impl Fn(F) -> F) {
        for ((sum, grad), &h) in self.sums.iter_mut().zip(self.h_grad).zip(self.h) {
            *sum = *grad * slope(h);
            *grad = F::zero();
        }
    }

    #[inline(always)]
    fn lstm(self) {
        let units = self.h_grad.len();
        let tanh = &mut self.scratch[..units];
        F::function(Function::Tanh, self.cells[1], tanh);
        let [input, forget, new, output] = quarters(self.kept).map(|gate| &gate[..units]);
        let (low, high) = self.sums.split_at_mut(2 * units);
        let ((of_input, of_forget), (of_new, of_output)) = (low.split_at_mut(units), high.split_at_mut(units));
        let [of_new, of_output] = [of_new, of_output].map(|of| &mut of[..units]);
        let (before, h_grad, cells_grad) = (&self.cells[0][..units], &mut self.h_grad[..units], &mut self.cells_grad[..units]);
        let one = F::one();
        for i in 0..units {
            let (dh, t) = (h_grad[i], tanh[i]);
            let dc = cells_grad[i] + dh * output[i] * (one - t * t);
            of_output[i] = dh * t * output[i] * (one - output[i]);
            of_input[i] = dc * new[i] * input[i] * (one - input[i]);
            of_forget[i] = dc * before[i] * forget[i] * (one - forget[i]);
            of_new[i] = dc * input[i] * (one - new[i] * new[i]);
            cells_grad[i] = dc * forget[i];
            h_grad[i] = F::zero();
        }
    }

    #[inline(always)]
    fn gru(self) {
        let units = self.h_grad.len();
        let [reset, update, new, of_h] = quarters(self.kept).map(|gate| &gate[..units]);
        let (of_gates, of_new) = self.sums.split_at_mut(2 * units);
        let (of_reset, of_update) = of_gates.split_at_mut(units);
        let (h, h_grad, of_new) = (&self.h[..units], &mut self.h_grad[..units], &mut of_new[..units]);
        let from_h = &mut self.from_h[2 * units..][..units];
        let one = F::one();
        for i in 0..units {
            let dh = h_grad[i];
            let dn = dh * (one - update[i]) * (one - new[i] * new[i]);
            of_new[i] = dn;
            of_reset[i] = dn * of_h[i] * reset[i] * (one - reset[i]);
            of_update[i] = dh * (h[i] - new[i]) * update[i] * (one - update[i]);
            from_h[i] = dn * reset[i];
            h_grad[i] = dh * update[i];
        }
        self.from_h[..2 * units].copy_from_slice(&self.sums[..2 * units]);
    }
}

/// Four gates, one after the other.
#[inline(always)]
fn quarters<F>(kept: &[F]) -> [&[F]; 4] {
    let units = kept.len() / 4;
    [0, 1, 2, 3].map(|gate| &kept[gate * units..][..units])
}
