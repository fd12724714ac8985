//! Recurrent layers over whole sequences: one operation for all steps of a layer in one direction, and one for its gradient.

mod cells;
mod steps;
mod wgsl;

use super::map::declared;
use crate::error::Result;
use crate::plan::{BoundsChecks, Dispatch, Elements, Kind, Layout, Operands, Operation, Use, View, Views};
use crate::rule::Real;

/// What a recurrent layer computes at each step, from the input x and its own output h of the step before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cell {
    /// `h = tanh(W x + b + U h + d)`.
    Tanh,
    /// The same with a ReLU.
    Relu,
    /// Long short-term memory (Hochreiter and Schmidhuber 1997), gates in the order i, f, g, o: `c = σ(f) c + σ(i) tanh(g)`,
    /// `h = σ(o) tanh(c)`.
    Lstm,
    /// Gated recurrent unit (Cho et al. 2014), gates in the order r, z, n: `n = tanh(W x + b + σ(r) (U h + d))`, `h = (1 −
    /// σ(z)) n + σ(z) h`.
    Gru,
}

impl Cell {
    /// Matrices of hidden × inputs that lie one below the other in a weight.
    pub fn gates(self) -> usize {
        match self {
            Self::Tanh | Self::Relu => 1,
            Self::Lstm => 4,
            Self::Gru => 3,
        }
    }

    /// Arrays of a state: h, and the cells of an LSTM.
    pub fn states(self) -> usize {
        if self == Self::Lstm { 2 } else { 1 }
    }

    /// Numbers that the gradient needs of each unit and step: the gates, and of a GRU `U h + d` of the last one.
    fn kept(self) -> usize {
        match self {
            Self::Tanh | Self::Relu => 0,
            Self::Lstm | Self::Gru => 4,
        }
    }
}

/// Sizes of a recurrent layer in one direction. Sequences have the shape samples × steps × units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecurrenceSizes {
    /// What a step computes.
    pub cell: Cell,
    /// Sequences.
    pub samples: usize,
    /// Steps of each, at least 1.
    pub steps: usize,
    /// Units, at least 1.
    pub hidden: usize,
    /// Whether it goes from the last step to the first.
    pub backward: bool,
}

impl RecurrenceSizes {
    /// Units of one gate in all samples, and in all their steps.
    fn units(&self) -> [usize; 2] {
        let of_samples = Operands::product(&[self.samples, self.hidden]);
        [of_samples, of_samples.saturating_mul(self.steps)]
    }

    /// Elements of sums, weight, start, outputs, cells (with those before the first step), and of what is kept for the
    /// gradient.
    pub fn lens(&self) -> [usize; 6] {
        let ([of_samples, all], gates) = (self.units(), self.cell.gates());
        let cells = if self.cell == Cell::Lstm { all.saturating_add(of_samples) } else { 0 };
        [
            all.saturating_mul(gates),
            Operands::product(&[gates, self.hidden, self.hidden]),
            of_samples.saturating_mul(self.cell.states()),
            all,
            cells,
            all.saturating_mul(self.cell.kept()),
        ]
    }

    /// The step that comes at a place of the order.
    fn step(&self, place: usize) -> usize {
        if self.backward { self.steps - 1 - place } else { place }
    }

    fn operands(&self, o: &mut Operands) {
        o.at_least("steps", self.steps, 1);
        o.at_least("hidden", self.hidden, 1);
    }
}

/// All steps of a recurrent layer in one direction, from the sums `W x + b` of its inputs. A sample that is over keeps its
/// state.
///
/// On a GPU it is one kernel per step. On the CPU samples are shared out among threads, each of which goes through all steps,
/// with the weight in the order in which it is multiplied. Bits depend neither on other samples and lanes, nor on threads.
#[derive(Debug, Clone)]
pub struct Recurrence {
    /// Sizes.
    pub sizes: RecurrenceSizes,
    /// samples × steps × gates × hidden: `W x + b`, and d but for a GRU.
    pub sums: View,
    /// Uᵀ: hidden × gates × hidden.
    pub weight: View,
    /// d of a GRU, if it has one: gates × hidden.
    pub bias: Option<View>,
    /// h before the first step, and then the cells of an LSTM: samples × hidden each. Nothing is zeros.
    pub start: Option<View>,
    /// Steps of each sample (indices); nothing if all have all.
    pub lengths: Option<View>,
    /// h before each step.
    pub before: View,
    /// h after each step.
    pub after: View,
    /// An LSTM's cells before the first step, and after each: samples × (steps + 1) × hidden, in the order of computation.
    pub cells: Option<View>,
    /// What the gradient needs: samples × steps × 4 × hidden.
    pub kept: Option<View>,
}

/// The gradient of a [`Recurrence`].
#[derive(Debug, Clone)]
pub struct RecurrenceGrad {
    /// Sizes.
    pub sizes: RecurrenceSizes,
    /// The gradient by h after each step.
    pub grad: View,
    /// The gradient by the cells of an LSTM, if they have one.
    pub cells_grad: Option<View>,
    /// h before each step of a GRU, after each of a plain cell; not for an LSTM.
    pub h: Option<View>,
    /// As the recurrence wrote them.
    pub cells: Option<View>,
    /// As the recurrence wrote it.
    pub kept: Option<View>,
    /// U: gates × hidden × hidden.
    pub weight: View,
    /// As the recurrence has them.
    pub lengths: Option<View>,
    /// The gradient by the sums.
    pub sums: View,
    /// The gradient by `U h + d` of a GRU; that of other cells is that by the sums.
    pub from_h: Option<View>,
    /// The gradient by the state before the first step.
    pub start: View,
}

/// Declares what may be missing.
fn maybe(o: &mut Operands, name: &'static str, view: Option<View>, usage: Use, len: usize) {
    if let Some(view) = view {
        o.declare(name, view, Kind::Float, usage, len);
    }
}

fn lengths(o: &mut Operands, view: Option<View>, samples: usize) {
    if let Some(view) = view {
        o.indices("lengths", view, samples);
    }
}

/// Requires a view exactly where there is something to hold.
fn required(o: &mut Operands, name: &'static str, view: Option<View>, wanted: bool) {
    o.at_least(name, usize::from(view.is_some()), usize::from(wanted));
    o.at_least(name, usize::from(view.is_none()), usize::from(!wanted));
}

impl Operation for Recurrence {
    const NAME: &'static str = "recurrence";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        let RecurrenceSizes { cell, samples, hidden, .. } = self.sizes;
        self.sizes.operands(o);
        required(o, "views of cells", self.cells, cell == Cell::Lstm);
        required(o, "views of what is kept", self.kept, cell.kept() > 0);
        o.at_least("views of a bias", usize::from(self.bias.is_none()), usize::from(cell != Cell::Gru));
        let [sums, weight, start, outputs, cells, kept] = self.sizes.lens();
        o.read("sums", self.sums, sums);
        o.read("weight", self.weight, weight);
        maybe(o, "bias", self.bias, Use::Read, cell.gates() * hidden);
        maybe(o, "start", self.start, Use::Read, start);
        lengths(o, self.lengths, samples);
        o.write("before", self.before, outputs);
        o.write("after", self.after, outputs);
        maybe(o, "cells", self.cells, Use::Write, cells);
        maybe(o, "kept", self.kept, Use::Write, kept);
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        wgsl::forward(self)
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let (workers, fast) = (views.workers(), views.product().is_some());
        let mut views = views.list();
        let mut read = |wanted: bool| if wanted { views.next() } else { None };
        let mut floats = |wanted: bool| read(wanted).map_or(Ok(&[][..]), Elements::floats);
        let (sums, weight) = (floats(true)?, floats(true)?);
        let (bias, start) = (floats(self.bias.is_some())?, floats(self.start.is_some())?);
        let lengths = read(self.lengths.is_some()).map(Elements::indices).transpose()?;
        let mut write = |wanted: bool| read(wanted).map_or(Ok(&mut [][..]), Elements::floats_mut);
        let (before, after) = (write(true)?, write(true)?);
        let (cells, kept) = (write(self.cells.is_some())?, write(self.kept.is_some())?);
        let given = steps::Given { sums, weight, bias, start, lengths };
        steps::forward(&self.sizes, given, steps::Made { before, after, cells, kept }, workers, fast);
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        all_cases()
            .into_iter()
            .map(|(sizes, with_start, with_lengths)| {
                let [sums, weight, start, outputs, cells, kept] = sizes.lens();
                let mut some = |wanted: bool, len: usize| wanted.then(|| declared(layout, len));
                Self {
                    sizes,
                    bias: some(sizes.cell == Cell::Gru, 3 * sizes.hidden),
                    start: some(with_start, start),
                    cells: some(cells > 0 || sizes.cell == Cell::Lstm, cells),
                    kept: some(sizes.cell.kept() > 0, kept),
                    sums: declared(layout, sums),
                    weight: declared(layout, weight),
                    before: declared(layout, outputs),
                    after: declared(layout, outputs),
                    lengths: with_lengths.then(|| indices(layout, sizes.samples)),
                }
            })
            .collect()
    }
}

impl Operation for RecurrenceGrad {
    const NAME: &'static str = "recurrence_grad";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        let RecurrenceSizes { cell, samples, .. } = self.sizes;
        self.sizes.operands(o);
        required(o, "views of cells", self.cells, cell == Cell::Lstm);
        required(o, "views of h", self.h, cell != Cell::Lstm);
        required(o, "views of what is kept", self.kept, cell.kept() > 0);
        required(o, "views of the gradient by U h", self.from_h, cell == Cell::Gru);
        o.at_least("views of the gradient by cells", usize::from(self.cells_grad.is_none()), usize::from(cell != Cell::Lstm));
        let [sums, weight, start, outputs, cells, kept] = self.sizes.lens();
        o.read("grad", self.grad, outputs);
        maybe(o, "cells_grad", self.cells_grad, Use::Read, cells);
        maybe(o, "h", self.h, Use::Read, outputs);
        maybe(o, "cells", self.cells, Use::Read, cells);
        maybe(o, "kept", self.kept, Use::Read, kept);
        o.read("weight", self.weight, weight);
        lengths(o, self.lengths, samples);
        o.write("sums", self.sums, sums);
        maybe(o, "from_h", self.from_h, Use::Write, sums);
        o.write("start", self.start, start);
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        wgsl::backward(self)
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let (workers, fast) = (views.workers(), views.product().is_some());
        let mut views = views.list();
        let mut read = |wanted: bool| if wanted { views.next() } else { None };
        let mut floats = |wanted: bool| read(wanted).map_or(Ok(&[][..]), Elements::floats);
        let grad = floats(true)?;
        let (cells_grad, h) = (floats(self.cells_grad.is_some())?, floats(self.h.is_some())?);
        let (cells, kept) = (floats(self.cells.is_some())?, floats(self.kept.is_some())?);
        let weight = floats(true)?;
        let lengths = read(self.lengths.is_some()).map(Elements::indices).transpose()?;
        let mut write = |wanted: bool| read(wanted).map_or(Ok(&mut [][..]), Elements::floats_mut);
        let (sums, from_h, start) = (write(true)?, write(self.from_h.is_some())?, write(true)?);
        let known = steps::Known { grad, cells_grad, h, cells, kept, weight, lengths };
        steps::backward(&self.sizes, known, steps::Slopes { sums, from_h, start }, workers, fast);
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        all_cases()
            .into_iter()
            .map(|(sizes, with_cells_grad, with_lengths)| {
                let [sums, weight, start, outputs, cells, kept] = sizes.lens();
                let lstm = sizes.cell == Cell::Lstm;
                let mut some = |wanted: bool, len: usize| wanted.then(|| declared(layout, len));
                Self {
                    sizes,
                    cells_grad: some(lstm && with_cells_grad, cells),
                    h: some(!lstm, outputs),
                    cells: some(lstm, cells),
                    kept: some(sizes.cell.kept() > 0, kept),
                    from_h: some(sizes.cell == Cell::Gru, sums),
                    grad: declared(layout, outputs),
                    weight: declared(layout, weight),
                    sums: declared(layout, sums),
                    start: declared(layout, start),
                    lengths: with_lengths.then(|| indices(layout, sizes.samples)),
                }
            })
            .collect()
    }
}

fn indices(layout: &mut Layout, len: usize) -> View {
    let id = layout.indices("lengths", len);
    layout.whole(id)
}

/// Sizes, whether there is a start, and whether there are lengths.
fn all_cases() -> Vec<(RecurrenceSizes, bool, bool)> {
    let sizes = [(0, 1, 1), (1, 1, 9), (5, 3, 7), (9, 4, 33), (3, 2, 65)];
    let cells = [Cell::Tanh, Cell::Relu, Cell::Lstm, Cell::Gru];
    let all = cells.into_iter().flat_map(|cell| {
        sizes.into_iter().enumerate().map(move |(index, (samples, steps, hidden))| {
            let backward = index % 2 == 1;
            (RecurrenceSizes { cell, samples, steps, hidden, backward }, index % 3 > 0, index > 1)
        })
    });
    all.collect()
}
