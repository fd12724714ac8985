//! Reductions of an expression over axes: one kernel per expression.

mod reduce;
mod wgsl;

use super::map::program::{Program, with_scratch};
use super::map::source::{Given, Inputs, Turned};
use super::map::{Expr, Rows, Source, declared, parts};
use crate::error::Result;
use crate::plan::{BoundsChecks, Dispatch, Elements, Kind, Layout, Operands, Operation, Use, View, Views};
use crate::rule::Real;
use reduce::{Partial, SIDE, ShortRows, Tree, of_chunk, of_rows, results};
use smallvec::SmallVec;
use std::ops::Range;

/// Elements that are reduced one after the other before trees join them.
const CHUNK: usize = 256;
/// Rows side by side that are computed together.
const WIDTH: usize = 256;
/// Elements up to which one stage reduces a row.
const SPAN: usize = 16 * CHUNK;

/// How an output of a [`Fold`] reduces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reduction {
    /// The sum; 0 of nothing.
    Sum,
    /// The largest value; NaN if there is one, −∞ of nothing.
    Max,
    /// The place of the first largest value, or of the first NaN; NaN of nothing.
    FirstMax,
    /// The largest value m, and ln Σ e^(x − m): together ln Σ eˣ. Apart they keep the digits of differences x − m. Where m is
    /// infinite, the second is 0. −∞ and 0 of nothing.
    LogSumExp,
    /// The mean, and the sum of squared deviations from it; NaN and 0 of nothing.
    Moments,
}

impl Reduction {
    /// Numbers that it gives.
    pub fn results(self) -> usize {
        if matches!(self, Self::Moments | Self::LogSumExp) { 2 } else { 1 }
    }
}

/// Reduces an expression over the last dimensions of a shape: `y[i] = Σ_j f(x₀[i, j], x₁[i, j], …)`, or another [`Reduction`];
/// several in one reading. Inputs may be broadcast views; as their strides are free, any dimensions can be the last ones.
///
/// Chunks of 256 elements are joined in a fixed tree. Beyond 4,096 elements a second stage joins what the first left in scratch
/// memory. In one shape, the bits of a row depend neither on other rows and lanes, nor on threads.
///
/// # Examples
///
/// Means of rows:
///
/// ```
/// use thalweg::cpu::Cpu;
/// use thalweg::op::{Expr, Fold};
/// use thalweg::plan::{Blueprint, Engine, Layout, Plan, PlanId, Program};
///
/// let mut layout = Layout::new(1);
/// let (x, y) = (layout.floats("x", 6), layout.floats("y", 2));
/// let fold = Fold::new(&[2], &[3]).input(layout.whole(x), &[3, 1]).sum(layout.whole(y), Expr::input(0) / 3.0);
/// let mut plan = Plan::default();
/// plan.operate(fold);
///
/// let mut program = Cpu::<f64>::default().load(&Blueprint::of(&layout, &[plan]))?;
/// program.write(x, 0, 0, &[1.0, 2.0, 3.0, -4.0, -5.0, -6.0])?;
/// program.run(PlanId::FIRST, 1)?;
/// assert_eq!(program.read(y, 0)?, [2.0, -5.0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Fold {
    inputs: Inputs,
    /// The inputs in the order of columns.
    turned: Turned,
    /// How many of the shape's dimensions are kept.
    kept: usize,
    outputs: Vec<Output>,
    exprs: Vec<Expr>,
    scratch: Option<View>,
    program: Program,
}

#[derive(Debug, Clone)]
struct Output {
    reduction: Reduction,
    views: SmallVec<[View; 2]>,
}

/// Names of views in the kernel.
const OUTPUTS: [&str; 8] = ["y0", "y1", "y2", "y3", "y4", "y5", "y6", "y7"];

impl Fold {
    /// No inputs and outputs yet: rows of the shape `kept`, over each of which the shape `folded` is reduced. Both together
    /// have at most four dimensions; more are an error of the plan.
    pub fn new(kept: &[usize], folded: &[usize]) -> Self {
        let inputs = Inputs::new(&[kept, folded].concat());
        let (outputs, exprs, program) = (Vec::new(), Vec::new(), Program::default());
        let turned = Turned::default();
        Self { inputs, turned, kept: 4 - folded.len().min(4), outputs, exprs, scratch: None, program }
    }

    /// With another input, which expressions know by its index. Strides are given for each dimension, first those that are
    /// kept.
    pub fn input(self, view: View, strides: &[usize]) -> Self {
        self.source(Source::Floats(view), strides)
    }

    /// With another input of any source.
    pub fn source(self, source: Source, strides: &[usize]) -> Self {
        self.part(source, 0, strides)
    }

    /// With another input of any source, whose first place is `offset` elements from its beginning. Several parts of one view
    /// count as one view.
    pub fn part(mut self, source: Source, offset: usize, strides: &[usize]) -> Self {
        self.inputs.push(source, offset, strides);
        self.turned = self.inputs.permuted(self.columns_first());
        self
    }

    /// With the sum of an expression.
    pub fn sum(self, view: View, expr: Expr) -> Self {
        self.output(Reduction::Sum, &[view], expr)
    }

    /// With another output: one view for each number that the reduction gives; more or fewer are an error of the plan.
    pub fn output(mut self, reduction: Reduction, views: &[View], expr: Expr) -> Self {
        self.outputs.push(Output { reduction, views: views.into() });
        self.exprs.push(expr);
        self.program = Program::new(self.exprs.iter());
        self
    }

    /// With scratch memory of [`Fold::scratch_len`] elements.
    pub fn scratch(mut self, view: View) -> Self {
        self.scratch = Some(view);
        self
    }

    /// Elements of scratch memory that it needs; 0 if none.
    pub fn scratch_len(&self) -> usize {
        if self.spans() == 1 { 0 } else { Operands::product(&[2, self.outputs.len(), self.rows(), self.spans()]) }
    }

    fn rows(&self) -> usize {
        Operands::product(&self.inputs.shape[..self.kept])
    }

    fn folded(&self) -> usize {
        Operands::product(&self.inputs.shape[self.kept..])
    }

    /// Parts of a row that the first stage reduces on their own.
    fn spans(&self) -> usize {
        self.folded().div_ceil(SPAN).max(1)
    }

    /// Whether rows lie side by side in memory, so that sums run along them. It follows from shape and strides alone.
    fn by_columns(&self) -> bool {
        let last = (0..self.kept).rev().find(|&d| self.inputs.shape[d] > 1);
        let inner = (self.kept..4).rev().find(|&d| self.inputs.shape[d] > 1);
        let (Some(last), Some(inner)) = (last, inner) else { return false };
        let side_by_side = self.inputs.list.iter().any(|input| input.strides[last] == 1);
        // One value per place, for all rows, is read once in either way.
        let in_line = self.inputs.list.iter().any(|input| input.strides[inner] == 1 && input.strides[last] > 0);
        let sums = self.outputs.iter().all(|output| output.reduction == Reduction::Sum);
        sums && side_by_side && !in_line && self.inputs.shape[last] >= 8
    }
}

impl Operation for Fold {
    const NAME: &'static str = "fold";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.at_least("outputs", self.outputs.len(), 1);
        for output in &self.outputs {
            o.exactly("views of an output", output.views.len(), output.reduction.results());
        }
        o.at_least("inputs", self.inputs.list.len(), self.program.inputs());
        o.at_least("scratch", self.scratch.map_or(0, |view| view.len), self.scratch_len());
        self.inputs.operands(o);
        let views = self.outputs.iter().flat_map(|output| &output.views);
        for (name, view) in OUTPUTS.into_iter().chain(std::iter::repeat("y")).zip(views) {
            o.write(name, *view, self.rows());
        }
        if let Some(scratch) = self.scratch {
            o.declare("scratch", scratch, Kind::Float, Use::Scratch, scratch.len);
        }
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        let (rows, spans) = (self.rows(), self.spans());
        let parts = self.folded().min(SPAN);
        let stage = |entry, text: String, len: usize, trips: usize| {
            let dispatch = Dispatch::new(entry, text).size("len", len).size("rows", rows).size("spans", spans);
            let dispatch = dispatch.size("folded", self.folded()).number("low", f64::NEG_INFINITY).number("nan", f64::NAN);
            let mut dispatch = self.inputs.sizes(dispatch);
            for (index, number) in super::map::wgsl::uniform_numbers(&self.program) {
                dispatch = dispatch.number(format!("n{index}"), number);
            }
            dispatch.elements(len, 64).trips(trips)
        };
        let first = stage("fold", wgsl::first(self), rows * spans, parts + parts.div_ceil(wgsl::GROUP) + parts.div_ceil(CHUNK));
        let second = (spans > 1).then(|| stage("join", wgsl::second(self), rows, spans));
        std::iter::once(first).chain(second).collect()
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let (workers, rows, folded) = (views.workers(), self.rows(), self.folded());
        let mut views = views.list();
        let inputs = self.inputs.given(&mut views)?;
        let mut outputs: Rows<F> = views.map(Elements::floats_mut).collect::<Result<_>>()?;
        if self.scratch.is_some() {
            outputs.pop();
        }
        let (by_columns, short) = (self.by_columns(), (1..=SIDE).contains(&folded));
        let turned = (by_columns || short).then(|| inputs.turned(&self.turned));
        // Rows side by side are shared out in whole cache lines, others in whole chunks.
        let unit = if turned.is_some() { 64 } else { self.rows_together() };
        let size = (self.program.part(rows * folded.max(1), unit * folded.max(1), workers.count()) / folded.max(1)).max(1);
        workers.in_order(rows.div_ceil(size), parts(outputs, rows, size), |(first, mut outputs)| {
            let rows = first..(first + size).min(rows);
            match &turned {
                Some(turned) if by_columns => self.sums_of_columns(turned, rows, &mut outputs),
                Some(turned) => self.reduce_short_rows(turned, rows, &mut outputs),
                None => self.reduce_rows(&inputs, rows, &mut outputs),
            }
        });
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let [x, y] = [0, 1].map(Expr::input);
        let mut cases = Vec::new();
        let sizes = [0, 1, 31, 257, 4_097];
        let shapes = sizes.into_iter().map(|folded| (17, folded)).chain([(0, 5), (1, 1), (65, 10), (300, 2)]);
        for (rows, folded) in shapes {
            for columns in [false, true] {
                let [input, other] = [rows * folded, folded].map(|len| declared(layout, len));
                let strides = if columns { [1, rows] } else { [folded, 1] };
                let fold = Self::new(&[rows], &[folded]).input(input, &strides).input(other, &[0, 1]);
                let mut with = |two: [(Reduction, &Expr); 2]| {
                    two.into_iter().fold(fold.clone(), |fold, (reduction, expr)| {
                        let views: Vec<View> = (0..reduction.results()).map(|_| declared(layout, rows)).collect();
                        fold.output(reduction, &views, expr.clone())
                    })
                };
                let product = x.clone() * y.clone();
                let sums = with([(Reduction::Sum, &product), (Reduction::Sum, &x)]);
                let rest = with([(Reduction::LogSumExp, &x), (Reduction::Max, &product)]);
                // The CPU goes twice over a chunk for moments, so its error is no measure for the GPU's single pass: tests have
                // a bound of their own for longer rows.
                let moments = if folded < 2 { Reduction::Moments } else { Reduction::LogSumExp };
                let moments = with([(moments, &x), (Reduction::FirstMax, &x)]);
                for fold in [sums, rest, moments] {
                    let len = fold.scratch_len();
                    cases.push(if len > 0 { fold.scratch(declared(layout, len)) } else { fold });
                }
            }
        }
        // Channels of images: the first and the last two of four dimensions are reduced. Many rows side by side.
        let [image, sums] = [5 * 9 * 3 * 7, 9].map(|len| declared(layout, len));
        cases.push(Self::new(&[9], &[5, 3, 7]).input(image, &[21, 189, 7, 1]).sum(sums, x.clone()));
        let [image, sums] = [5 * 3 * 7 * 9, 9].map(|len| declared(layout, len));
        cases.push(Self::new(&[9], &[5, 3, 7]).input(image, &[1, 189, 63, 9]).sum(sums, x.clone()));
        // A part of a matrix, whose rows and whose columns are summed.
        let [matrix, sums, others] = [40 * 30, 40, 20].map(|len| declared(layout, len));
        cases.push(Self::new(&[40], &[20]).part(Source::Floats(matrix), 10, &[30, 1]).sum(sums, x.clone()));
        cases.push(Self::new(&[20], &[40]).part(Source::Floats(matrix), 7, &[1, 30]).sum(others, x.clone()));
        let [matrix, sums] = [300 * 70, 300].map(|len| declared(layout, len));
        cases.push(Self::new(&[300], &[70]).input(matrix, &[1, 300]).sum(sums, x));
        cases
    }
}

impl Fold {
    /// The dimensions in the order of columns: first those that are folded, then those that are kept.
    fn columns_first(&self) -> [usize; 4] {
        let mut order = [0, 1, 2, 3];
        order.rotate_left(self.kept);
        // Those of size 1 go to the front, so that lines are neighbours.
        order.sort_by_key(|&dimension| self.inputs.shape[dimension] != 1);
        order
    }

    /// Rows that share a chunk: as many as fit.
    fn rows_together(&self) -> usize {
        (CHUNK / self.folded().max(1)).max(1)
    }

    /// Ranges of the turned shape, which has a line of all rows per element that is folded: the elements `of` of these rows,
    /// several lines together where nothing lies between them.
    fn lines(&self, columns: Range<usize>, of: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let rows = self.rows();
        let together = if columns.len() == rows { (self.program.block() / rows).max(1) } else { 1 };
        of.clone().step_by(together).map(move |element| {
            let last = (element + together).min(of.end) - 1;
            element * rows + columns.start..last * rows + columns.end
        })
    }

    /// Sums along columns: blocks of rows side by side, one element of each at a time; chunk after chunk. Outputs begin with
    /// the first of the rows.
    fn sums_of_columns<F: Real>(&self, inputs: &Given<'_, F>, of: Range<usize>, outputs: &mut [&mut [F]]) {
        let (rows, folded) = (self.rows(), self.folded());
        for first in of.clone().step_by(WIDTH) {
            let columns = first..(first + WIDTH).min(of.end);
            let part = columns.start - of.start..columns.end - of.start;
            outputs.iter_mut().for_each(|output| output[part.clone()].fill(F::zero()));
            if folded <= CHUNK {
                self.program.run(inputs, self.lines(columns, 0..folded), |_, values| {
                    for (index, output) in outputs.iter_mut().enumerate() {
                        add_lines(&mut output[part.clone()], values.block(index));
                    }
                });
                continue;
            }
            let mut sums = [[F::zero(); WIDTH]; OUTPUTS.len()];
            let chunks = (0..folded).step_by(CHUNK).map(|start| start..(start + CHUNK).min(folded));
            let lines = chunks.flat_map(|chunk| self.lines(columns.clone(), chunk));
            self.program.run(inputs, lines, |range, values| {
                let end = range.end.div_ceil(rows);
                let last = end == folded || end.is_multiple_of(CHUNK);
                for ((index, output), sums) in outputs.iter_mut().enumerate().zip(&mut sums) {
                    let sums = &mut sums[..columns.len()];
                    add_lines(sums, values.block(index));
                    if last {
                        add_lines(&mut output[part.clone()], sums);
                        sums.fill(F::zero());
                    }
                }
            });
        }
    }

    /// Rows of at most [`SIDE`] elements: blocks of rows side by side, one element of each at a time. Outputs begin with the
    /// first of the rows.
    fn reduce_short_rows<F: Real>(&self, inputs: &Given<'_, F>, of: Range<usize>, outputs: &mut [&mut [F]]) {
        let (rows, folded, count) = (self.rows(), self.folded(), self.outputs.len());
        with_scratch((count * folded + folded.max(2)) * WIDTH.min(of.len()), |scratch: &mut [F]| {
            for first in of.clone().step_by(WIDTH) {
                let columns = first..(first + WIDTH).min(of.end);
                // The lines of each output, and others to work with.
                let len = folded * columns.len();
                let (lines, spare) = scratch.split_at_mut(count * len);
                self.program.run(inputs, self.lines(columns.clone(), 0..folded), |range, values| {
                    for (index, lines) in lines.chunks_exact_mut(len).enumerate() {
                        let from = values.block(index);
                        lines[range.start / rows * columns.len()..][..from.len()].copy_from_slice(from);
                    }
                });
                let (mut at, part) = (0, columns.start - of.start..columns.end - of.start);
                for (&Output { reduction, .. }, lines) in self.outputs.iter().zip(lines.chunks_exact_mut(len)) {
                    let (outputs, rows) = (&mut outputs[at..at + reduction.results()], part.clone());
                    ShortRows { reduction, lines, spare, outputs, rows }.reduce();
                    at += reduction.results();
                }
            }
        });
    }

    /// Row after row; several share a chunk where they fit. Outputs begin with the first of the rows.
    fn reduce_rows<F: Real>(&self, inputs: &Given<'_, F>, of: Range<usize>, outputs: &mut [&mut [F]]) {
        let (folded, many) = (self.folded(), self.rows_together());
        if folded == 0 {
            for row in 0..of.len() {
                self.write(row, |_| None, outputs);
            }
        } else if many > 1 {
            let ranges = of.clone().step_by(many).map(|row| row * folded..(row + many).min(of.end) * folded);
            self.program.run(inputs, ranges, |range, values| {
                let (first, mut at) = (range.start / folded - of.start, 0);
                for (index, Output { reduction, .. }) in self.outputs.iter().enumerate() {
                    of_rows(*reduction, values.block(index), folded, &mut outputs[at..at + reduction.results()], first);
                    at += reduction.results();
                }
            });
        } else {
            let chunks = (0..folded).step_by(CHUNK).map(|start| (start, (start + CHUNK).min(folded)));
            let ranges =
                of.clone().flat_map(|row| chunks.clone().map(move |(start, end)| row * folded + start..row * folded + end));
            let mut trees: Trees<F> = self.trees();
            self.program.run(inputs, ranges, |range, values| {
                let (row, first) = (range.start / folded, range.start % folded);
                for (output, tree) in trees.iter_mut().enumerate() {
                    tree.push(of_chunk(self.outputs[output].reduction, values.block(output), first));
                }
                if range.end == (row + 1) * folded {
                    self.write(row - of.start, |output| trees[output].all(), outputs);
                    trees.iter_mut().for_each(Tree::clear);
                }
            });
        }
    }

    fn trees<F: Real>(&self) -> Trees<F> {
        self.outputs.iter().map(|output| Tree::new(output.reduction)).collect()
    }

    /// Writes the results of a row, from the part that each output has of it.
    fn write<F: Real>(&self, row: usize, part: impl Fn(usize) -> Option<Partial<F>>, outputs: &mut [&mut [F]]) {
        let mut at = 0;
        for (index, output) in self.outputs.iter().enumerate() {
            let numbers = results(output.reduction, part(index));
            for number in &numbers[..output.reduction.results()] {
                outputs[at][row] = *number;
                at += 1;
            }
        }
    }
}

/// Adds lines, one after the other.
fn add_lines<F: Real>(sums: &mut [F], lines: &[F]) {
    pulp::Arch::new().dispatch(AddLines { sums, lines });
}

/// A struct for pulp: the compiler may turn a closure into a separate function, which would have no vector instructions.
struct AddLines<'a, F> {
    sums: &'a mut [F],
    lines: &'a [F],
}

impl<F: Real> pulp::WithSimd for AddLines<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        // The sums are read and written once for four lines.
        let width = self.sums.len();
        let mut fours = self.lines.chunks_exact(4 * width);
        for four in &mut fours {
            let ((a, rest), (c, d)) = (four.split_at(width), four[2 * width..].split_at(width));
            let b = &rest[..width];
            let pairs = a.iter().zip(b).zip(c.iter().zip(d));
            self.sums.iter_mut().zip(pairs).for_each(|(sum, ((a, b), (c, d)))| *sum = *sum + *a + *b + *c + *d);
        }
        for line in fours.remainder().chunks_exact(width) {
            self.sums.iter_mut().zip(line).for_each(|(sum, &x)| *sum += x);
        }
    }
}

/// A tree per output.
type Trees<F> = SmallVec<[Tree<F>; 4]>;
