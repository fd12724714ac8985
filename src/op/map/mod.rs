//! Element-wise work of any kind: one kernel per expression.

pub(super) mod expr;
pub(super) mod program;
pub(super) mod source;
pub(super) mod wgsl;

pub use expr::Expr;
pub use source::Source;

use crate::error::Result;
use crate::plan::{BoundsChecks, Dispatch, Elements, Layout, Operands, Operation, View, Views};
use crate::rule::Real;
use program::Program;
use source::Inputs;

/// `y[i] = f(x₀[i], x₁[i], …)` for each element of a shape: outputs lie one after the other in row-major order, inputs may be
/// broadcast views. At most eight views together.
///
/// The expressions are generated as one kernel; on the CPU they are a list of instructions over blocks of up to 1,024 elements.
/// Shape and strides lie in the uniform, so that expressions that are equal share a pipeline.
///
/// # Examples
///
/// A bias is added to each row, and the ReLU taken:
///
/// ```
/// use thalweg::cpu::Cpu;
/// use thalweg::op::{Expr, Map};
/// use thalweg::plan::{Blueprint, Engine, Layout, Plan, PlanId, Program};
///
/// let mut layout = Layout::new(1);
/// let (x, bias, y) = (layout.floats("x", 6), layout.floats("bias", 3), layout.floats("y", 6));
/// let map = Map::new(&[2, 3])
///     .input(layout.whole(x), &[3, 1])
///     .input(layout.whole(bias), &[0, 1])
///     .output(layout.whole(y), (Expr::input(0) + Expr::input(1)).relu());
/// let mut plan = Plan::default();
/// plan.operate(map);
///
/// let mut program = Cpu::<f32>::default().load(&Blueprint::of(&layout, &[plan]))?;
/// program.write(x, 0, 0, &[1.0, 2.0, 3.0, -4.0, -5.0, -6.0])?;
/// program.write(bias, 0, 0, &[0.5, -2.5, 10.0])?;
/// program.run(PlanId::FIRST, 1)?;
/// assert_eq!(program.read(y, 0)?, [1.5, 0.0, 13.0, 0.0, 0.0, 4.0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Map {
    inputs: Inputs,
    outputs: Vec<(View, Expr)>,
    program: Program,
}

/// Names of views in the kernel.
const OUTPUTS: [&str; 8] = ["y0", "y1", "y2", "y3", "y4", "y5", "y6", "y7"];

impl Map {
    /// No inputs and outputs yet, over a shape of at most four dimensions; the last one varies fastest. More dimensions or
    /// strides are an error of the plan.
    pub fn new(shape: &[usize]) -> Self {
        Self { inputs: Inputs::new(shape), outputs: Vec::new(), program: Program::default() }
    }

    /// With another input, which expressions know by its index. Strides are given for each dimension of the shape.
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
        self
    }

    /// With another output and its expression.
    pub fn output(mut self, view: View, expr: Expr) -> Self {
        self.outputs.push((view, expr));
        self.program = Program::new(self.outputs.iter().map(|(_, expr)| expr));
        self
    }
}

impl Operation for Map {
    const NAME: &'static str = "map";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.at_least("outputs", self.outputs.len(), 1);
        o.at_least("inputs", self.inputs.list.len(), self.program.inputs());
        self.inputs.operands(o);
        for (name, (view, _)) in OUTPUTS.into_iter().chain(std::iter::repeat("y")).zip(&self.outputs) {
            o.write(name, *view, self.inputs.len());
        }
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        let dispatch = Dispatch::new("map", wgsl::text(&self.program, &self.inputs)).size("len", self.inputs.len());
        let mut dispatch = self.inputs.sizes(dispatch);
        for (index, number) in wgsl::uniform_numbers(&self.program) {
            dispatch = dispatch.number(format!("n{index}"), number);
        }
        vec![dispatch.elements(self.inputs.len(), 64)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) -> Result<()> {
        let (workers, len) = (views.workers(), self.inputs.len());
        let mut views = views.list();
        let inputs = self.inputs.given(&mut views)?;
        let outputs: Rows<F> = views.map(Elements::floats_mut).collect::<Result<_>>()?;
        let block = self.inputs.block(self.program.block());
        let size = self.program.part(len, block, workers.count());
        workers.in_order(len.div_ceil(size), parts(outputs, len, size), |(first, mut outputs)| {
            let end = (first + size).min(len);
            let blocks = (first..end).step_by(block).map(|start| start..(start + block).min(end));
            if let [output] = &mut outputs[..] {
                return self.program.run_into(&inputs, blocks, first, output);
            }
            self.program.run(&inputs, blocks, |range, values| {
                let part = range.start - first..range.end - first;
                outputs
                    .iter_mut()
                    .enumerate()
                    .for_each(|(index, output)| output[part.clone()].copy_from_slice(values.block(index)));
            });
        });
        Ok(())
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let [x, bias] = [0, 1].map(Expr::input);
        let mut cases = Vec::new();
        for (rows, columns) in
            [(0, 3), (1, 1), (3, 85), (1, 256), (257, 1), (7, 200), (1, 1023), (1, 1024), (1025, 1), (130, 10)]
        {
            let [input, per_row, output, other] =
                [rows * columns, rows, rows * columns, rows * columns].map(|len| declared(layout, len));
            let column = declared(layout, columns);
            let two = Self::new(&[rows, columns]).input(input, &[columns, 1]).input(column, &[0, 1]);
            let sum = x.clone() + bias.clone();
            cases.push(two.output(output, sum.clone().gelu()).output(other, sum.tanh()));
            let by_rows = Self::new(&[rows, columns]).input(input, &[columns, 1]).input(per_row, &[1, 0]);
            cases.push(by_rows.output(output, x.clone() - bias.clone()));
            let transposed = Self::new(&[columns, 1, rows]).input(input, &[1, 0, columns]).input(per_row, &[0, 0, 1]);
            cases.push(transposed.output(output, (x.clone() * bias.clone()).sigmoid() - bias.clone().max(0.25)));
        }
        // No elements, along the last dimension.
        let [input, output] = [0, 0].map(|len| declared(layout, len));
        cases.push(Self::new(&[3, 0]).input(input, &[1, 1]).output(output, x.clone()));
        // Four dimensions in another order, one of them repeated.
        let [input, output] = [2 * 3 * 5, 2 * 3 * 4 * 5].map(|len| declared(layout, len));
        let permuted = Self::new(&[2, 3, 4, 5]).input(input, &[1, 10, 0, 2]).input(input, &[15, 5, 0, 1]);
        cases.push(permuted.output(output, x.clone() - bias.clone()));
        let permuted = Self::new(&[4, 3, 2, 5]).input(input, &[0, 2, 1, 6]);
        cases.push(permuted.output(output, x.clone()));
        // Parts of one view side by side, and of places.
        let [matrix, output] = [7 * 12, 7 * 4].map(|len| declared(layout, len));
        let [first, last] = [0, 8].map(|offset| (Source::Floats(matrix), offset));
        let parts = Self::new(&[7, 4]).part(first.0, first.1, &[12, 1]).part(last.0, last.1, &[12, 1]);
        let parts = parts.part(Source::Floats(matrix), 5, &[0, 1]).part(Source::Place, 3, &[4, 1]);
        let [a, b, c, d] = [0, 1, 2, 3].map(Expr::input);
        cases.push(parts.output(output, a * b - c * d));
        // Indices, places, and random numbers at two sites.
        let [labels, key] = [layout.indices("labels", 40), layout.indices("key", 2)].map(|id| layout.whole(id));
        let output = declared(layout, 40 * 7);
        let other = declared(layout, 40 * 7);
        let sources = Self::new(&[40, 7]).source(Source::Indices(labels), &[1, 0]).source(Source::Place, &[0, 1]);
        let sources =
            sources.source(Source::Uniform { key, site: 3 }, &[7, 1]).source(Source::Uniform { key, site: 4 }, &[1, 40]);
        let [chosen, last, random, other_random] = [0, 1, 2, 3].map(Expr::input);
        let one_hot = (chosen.clone() - last).abs().less(0.5);
        cases.push(sources.output(output, one_hot.select(random.clone() + 1.0, random)).output(other, other_random));
        let every = [
            x.clone().exp(),
            x.clone().expm1(),
            x.clone().abs().ln(),
            x.clone().abs().ln1p(),
            x.clone().erf(),
            x.clone().softplus(),
            x.clone().abs().sqrt(),
            x.clone().relu(),
            x.clone().silu(),
            x.clone().log_sigmoid(),
            (x.clone().less(0.5)).select(x.clone().square(), 3.0 - x.clone()),
            x.clone().min(bias.clone()) / (2.5 + bias),
        ];
        for expr in every {
            for expr in [expr.clone(), expr.derivative(0)] {
                let [input, other, output] = [0, 1, 2].map(|_| declared(layout, 100));
                cases.push(Self::new(&[100]).input(input, &[1]).input(other, &[1]).output(output, expr));
            }
        }
        cases
    }
}

/// The outputs of a kernel.
pub(super) type Rows<'a, F> = smallvec::SmallVec<[&'a mut [F]; 8]>;

/// Parts of `size` elements of all outputs, each with its first element.
pub(super) fn parts<F>(mut outputs: Rows<'_, F>, len: usize, size: usize) -> impl Iterator<Item = (usize, Rows<'_, F>)> {
    (0..len).step_by(size).map(move |first| {
        let part = outputs.iter_mut().map(|output| first_of(output, size.min(len - first)));
        (first, part.collect())
    })
}

/// Takes the first elements off a slice.
fn first_of<'a, F>(output: &mut &'a mut [F], len: usize) -> &'a mut [F] {
    let (part, rest) = std::mem::take(output).split_at_mut(len);
    *output = rest;
    part
}

/// A view of a new buffer, for a case.
pub(super) fn declared(layout: &mut Layout, len: usize) -> View {
    let id = layout.floats("map", len);
    layout.whole(id)
}
