//! Element-wise work of any kind: one kernel per expression.

mod expr;
mod program;
mod wgsl;

pub use expr::Expr;

use crate::plan::{BoundsChecks, Dispatch, Layout, Operands, Operation, View, Views};
use crate::rule::Real;
use program::{Input, Program};

/// An input of a [`Map`]: a view, and how far apart its elements are along each dimension of the map's shape. A stride of 0 repeats
/// the same elements: a broadcast.
#[derive(Debug, Clone)]
pub struct Broadcast {
    /// The elements.
    pub view: View,
    /// Strides along the four dimensions.
    pub strides: [usize; 4],
}

/// `y[i] = f(x₀[i], x₁[i], …)` for each element of a shape: outputs lie one after the other in row-major order, inputs may be broadcast
/// views. At most eight views together.
///
/// The expressions are generated as one kernel; on the CPU they are a list of instructions over blocks of 256 elements. Shape and strides
/// lie in the uniform, so that expressions that are equal share a pipeline.
///
/// # Examples
///
/// A bias is added to each row, and the ReLU taken:
///
/// ```
/// use thalweg::cpu::Cpu;
/// use thalweg::op::{Expr, Map};
/// use thalweg::plan::{Engine, Layout, Plan, Program};
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
/// let mut program = Cpu::<f32>::default().load(&layout, &[plan])?;
/// program.write(x, 0, 0, &[1.0, 2.0, 3.0, -4.0, -5.0, -6.0])?;
/// program.write(bias, 0, 0, &[0.5, -2.5, 10.0])?;
/// program.run(0, 1)?;
/// assert_eq!(program.read(y, 0)?, [1.5, 0.0, 13.0, 0.0, 0.0, 4.0]);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Map {
    shape: [usize; 4],
    inputs: Vec<Broadcast>,
    outputs: Vec<(View, Expr)>,
    program: Program,
}

/// Names of views in the kernel.
const INPUTS: [&str; 8] = ["x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7"];
const OUTPUTS: [&str; 8] = ["y0", "y1", "y2", "y3", "y4", "y5", "y6", "y7"];

impl Map {
    /// No inputs and outputs yet, over a shape of at most four dimensions; the last one varies fastest.
    ///
    /// # Panics
    /// For more than four dimensions.
    pub fn new(shape: &[usize]) -> Self {
        Self { shape: padded(shape, 1), inputs: Vec::new(), outputs: Vec::new(), program: Program::default() }
    }

    /// With another input, which expressions know by its index. Strides are given for each dimension of the shape.
    ///
    /// # Panics
    /// For more than four strides.
    pub fn input(mut self, view: View, strides: &[usize]) -> Self {
        self.inputs.push(Broadcast { view, strides: padded(strides, 0) });
        self
    }

    /// With another output and its expression.
    pub fn output(mut self, view: View, expr: Expr) -> Self {
        self.outputs.push((view, expr));
        self.program = Program::new(self.outputs.iter().map(|(_, expr)| expr));
        self
    }

    /// Elements of the shape.
    fn len(&self) -> usize {
        Operands::product(&self.shape)
    }

    /// Whether an input lies as the outputs do.
    fn is_flat(&self, input: &Broadcast) -> bool {
        let mut stride = 1;
        self.shape.iter().zip(input.strides).rev().all(|(&size, own)| {
            let fits = size == 1 || own == stride;
            stride = stride.saturating_mul(size);
            fits
        })
    }

    /// Elements from an input's first to its last one.
    fn extent(&self, input: &Broadcast) -> usize {
        if self.len() == 0 {
            return 0;
        }
        let last = self.shape.iter().zip(input.strides).map(|(&size, stride)| (size - 1).saturating_mul(stride));
        last.fold(1, usize::saturating_add)
    }
}

/// Sizes of four dimensions, from those of the last ones.
fn padded(sizes: &[usize], first: usize) -> [usize; 4] {
    assert!(sizes.len() <= 4, "a map has at most four dimensions, not {}", sizes.len());
    let mut padded = [first; 4];
    padded[4 - sizes.len()..].copy_from_slice(sizes);
    padded
}

impl Operation for Map {
    const NAME: &'static str = "map";
    const BOUNDS_CHECKS: BoundsChecks = BoundsChecks::OWN;

    fn operands(&self, o: &mut Operands) {
        o.at_least("outputs", self.outputs.len(), 1);
        o.at_least("inputs", self.inputs.len(), self.program.inputs());
        // Names beyond the eighth are never used: so many views are refused.
        for (name, input) in INPUTS.into_iter().chain(std::iter::repeat("x")).zip(&self.inputs) {
            o.read(name, input.view, input.view.len.max(self.extent(input)));
        }
        for (name, (view, _)) in OUTPUTS.into_iter().chain(std::iter::repeat("y")).zip(&self.outputs) {
            o.write(name, *view, self.len());
        }
    }

    fn dispatches(&self) -> Vec<Dispatch> {
        let mut dispatch = Dispatch::new("map", wgsl::text(&self.program, self.inputs.len())).size("len", self.len());
        for (dimension, size) in self.shape.into_iter().enumerate() {
            dispatch = dispatch.size(format!("d{dimension}"), size);
        }
        for (name, input) in INPUTS.into_iter().zip(&self.inputs) {
            dispatch = dispatch.size(format!("{name}_flat"), usize::from(self.is_flat(input)));
            for (dimension, stride) in input.strides.into_iter().enumerate() {
                dispatch = dispatch.size(format!("{name}_s{dimension}"), stride);
            }
        }
        for (index, number) in wgsl::uniform_numbers(&self.program) {
            dispatch = dispatch.number(format!("n{index}"), number);
        }
        vec![dispatch.elements(self.len(), 64)]
    }

    fn run<F: Real>(&self, views: Views<'_, F>) {
        if self.len() == 0 {
            return;
        }
        let mut views = views.list();
        let mut next = || views.next().expect("as many views as operands");
        let inputs: smallvec::SmallVec<[Input<F>; 8]> = self
            .inputs
            .iter()
            .map(|input| Input { data: next().floats(), shape: self.shape, strides: input.strides, flat: self.is_flat(input) })
            .collect();
        let mut outputs: smallvec::SmallVec<[&mut [F]; 8]> = self.outputs.iter().map(|_| next().floats_mut()).collect();
        self.program.run(&inputs, self.len(), &mut outputs);
    }

    fn cases(layout: &mut Layout) -> Vec<Self> {
        let [x, bias] = [0, 1].map(Expr::input);
        let mut cases = Vec::new();
        for (rows, columns) in [(0, 3), (1, 1), (3, 85), (1, 256), (257, 1), (7, 200)] {
            let [input, per_row, output, other] =
                [rows * columns, rows, rows * columns, rows * columns].map(|len| declared(layout, len));
            let column = declared(layout, columns);
            let two = Self::new(&[rows, columns]).input(input, &[columns, 1]).input(column, &[0, 1]);
            let sum = x.clone() + bias.clone();
            cases.push(two.output(output, sum.clone().gelu()).output(other, sum.tanh()));
            let transposed = Self::new(&[columns, 1, rows]).input(input, &[1, 0, columns]).input(per_row, &[0, 0, 1]);
            cases.push(transposed.output(output, (x.clone() * bias.clone()).sigmoid() - bias.clone().max(0.25)));
        }
        // Four dimensions in another order, one of them repeated.
        let [input, output] = [2 * 3 * 5, 2 * 3 * 4 * 5].map(|len| declared(layout, len));
        let permuted = Self::new(&[2, 3, 4, 5]).input(input, &[1, 10, 0, 2]).input(input, &[15, 5, 0, 1]);
        cases.push(permuted.output(output, x.clone() - bias.clone()));
        let permuted = Self::new(&[4, 3, 2, 5]).input(input, &[0, 2, 1, 6]);
        cases.push(permuted.output(output, x.clone()));
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

/// A view of a new buffer, for a case.
fn declared(layout: &mut Layout, len: usize) -> View {
    let id = layout.floats("map", len);
    layout.whole(id)
}
