//! The operations on values.

use super::graph::{self, Product};
use super::look::{Look, common, contiguous};
use super::{Tape, Value};
use crate::error::Error;
use crate::op::{Expr, Reduction};
use std::ops::{Add, Div, Mul, Neg, Range, Sub};
use std::rc::Rc;

/// The most values of one expression, and the most tensors that they may lie in: a kernel has eight views.
const INPUTS: [usize; 2] = [graph::LOOKS, 7];

impl Tape {
    /// An expression of values, which are broadcast to one shape: any element-wise function, with its gradient.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::nn::Tape;
    ///
    /// let mut tape = Tape::evaluation();
    /// let (x, y) = (tape.constant(&[2, 3], 1.0), tape.constant(&[3], 2.0));
    /// let softer = tape.map(&[&x, &y], |of| (of[0].clone() * of[1].clone()).softplus());
    /// assert_eq!(softer.shape(), [2, 3]);
    /// ```
    pub fn map(&mut self, values: &[&Value], f: impl FnOnce(&[Expr]) -> Expr) -> Value {
        let mut shape = Vec::new();
        for value in values {
            match common(&shape, value.shape()) {
                Some(both) => shape = both,
                None => {
                    let (expected, found) = (format!("a shape that goes with {shape:?}"), format!("{:?}", value.shape()));
                    return self.fail(Error::shape("operands", expected, found));
                }
            }
        }
        self.map_of(&shape, values, f)
    }

    pub(in crate::nn) fn map_of(&mut self, shape: &[usize], values: &[&Value], f: impl FnOnce(&[Expr]) -> Expr) -> Value {
        let mut tensors: Vec<usize> = values.iter().map(|value| value.look.tensor).collect();
        tensors.sort_unstable();
        tensors.dedup();
        let [most, of_memory] = INPUTS;
        if values.len() > most || tensors.len() > of_memory {
            let expected = format!("at most {most}, parts of at most {of_memory}");
            return self.fail(Error::shape("values of one expression", expected, values.len()));
        }
        let looks: Option<Vec<Look>> = values.iter().map(|value| value.look.broadcast(shape)).collect();
        let Some(looks) = looks else {
            return self.fail(Error::shape("operands", format!("shapes that go with {shape:?}"), "others"));
        };
        let inputs: Vec<Expr> = (0..looks.len()).map(Expr::input).collect();
        let look = self.graph.borrow_mut().map(shape, looks, f(&inputs));
        self.value(look)
    }

    /// Joins values along an axis. Their other sizes have to agree.
    pub fn concatenate(&mut self, values: &[&Value], axis: usize) -> Value {
        let Some(first) = values.first().filter(|first| axis < first.shape().len()) else {
            return self.fail(Error::shape("values to concatenate", format!("at least one, with an axis {axis}"), "none"));
        };
        let mut shape = first.shape().to_vec();
        shape[axis] = values.iter().map(|value| value.shape().get(axis).copied().unwrap_or(0)).sum();
        for value in values {
            let mut own = value.shape().to_vec();
            if let Some(size) = own.get_mut(axis) {
                *size = shape[axis];
            }
            if own != shape {
                let expected = format!("{:?} but for axis {axis}", first.shape());
                return self.fail(Error::shape("values to concatenate", expected, format!("{:?}", value.shape())));
            }
        }
        if let [one] = values {
            return (*one).clone();
        }
        let (rows, inner): (usize, usize) = (shape[..axis].iter().product(), shape[axis + 1..].iter().product());
        let mut begin = 0;
        let parts = values.iter().map(|value| {
            let columns = value.shape()[axis] * inner;
            begin += columns;
            (value.contiguous().look, begin - columns, columns)
        });
        let parts = parts.collect();
        let look = self.graph.borrow_mut().beside(parts, rows, begin, &shape);
        self.value(look)
    }

    /// Rows of a table (a matrix) by number: the shape of the numbers, then the table's width. Numbers are an input of indices.
    /// A number beyond the table gives zeros.
    pub fn lookup(&mut self, table: &Value, rows: &Value) -> Value {
        let &[_, width] = table.shape() else {
            return self.fail(Error::shape("a table of rows", "two dimensions", format!("{:?}", table.shape())));
        };
        if !matches!(self.graph.borrow().tensors[rows.look.tensor].maker, graph::Maker::Given(crate::op::Source::Indices(_))) {
            return self.fail(Error::shape("row numbers", "an input of indices", "a value"));
        }
        if !rows.look.is_contiguous() {
            return self.fail(Error::shape("row numbers", "an input of indices in its own order", "a permuted one"));
        }
        let table = table.contiguous();
        let shape = [rows.shape(), &[width]].concat();
        let look = self.graph.borrow_mut().lookup(table.look, rows.look.clone(), width, &shape);
        self.value(look)
    }
}

impl Value {
    /// Its shape, without lanes.
    pub fn shape(&self) -> &[usize] {
        &self.look.shape
    }

    /// Elements of a lane.
    pub fn len(&self) -> usize {
        self.look.len()
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(in crate::nn) fn tape(&self) -> Tape {
        Tape { graph: Rc::clone(&self.graph), training: false }
    }

    fn fail(&self, what: &str, expected: impl ToString, found: impl ToString) -> Self {
        self.tape().fail(Error::shape(what, expected, found))
    }

    fn with(&self, look: Look) -> Self {
        Self { graph: Rc::clone(&self.graph), look }
    }

    /// A function of each element.
    pub fn apply(&self, f: impl FnOnce(Expr) -> Expr) -> Self {
        self.tape().map(&[self], |of| f(of[0].clone()))
    }

    /// The value with its elements in the order of its shape in memory: itself, or a copy.
    pub fn contiguous(&self) -> Self {
        let maker = self.graph.borrow().tensors[self.look.tensor].maker;
        let real = !matches!(maker, graph::Maker::Place | graph::Maker::Uniform(_));
        if self.look.is_contiguous() && real { self.clone() } else { self.copied() }
    }

    /// The same value, kept in memory: no expression takes in its expression.
    pub(in crate::nn) fn stored(self) -> Self {
        self.graph.borrow_mut().tensors[self.look.tensor].kept = true;
        self
    }

    pub(super) fn copied(&self) -> Self {
        let look = self.graph.borrow_mut().map(&self.look.shape, vec![self.look.clone()], Expr::input(0));
        // A copy is made to be read from memory: no expression takes in what it copies.
        self.graph.borrow_mut().tensors[look.tensor].kept = true;
        self.with(look)
    }

    /// The same elements in another shape.
    pub fn reshape(&self, shape: &[usize]) -> Self {
        if shape.iter().product::<usize>() != self.len() {
            return self.fail("reshape", format!("{} elements", self.len()), format!("{shape:?}"));
        }
        let look = self.contiguous().look;
        self.with(Look { shape: shape.to_vec(), strides: contiguous(shape), ..look })
    }

    /// Joins all dimensions but the first into one.
    pub fn flatten(&self) -> Self {
        match self.shape() {
            [rows, rest @ ..] => self.reshape(&[*rows, rest.iter().product()]),
            [] => self.reshape(&[1, 1]),
        }
    }

    /// Dimensions in another order.
    pub fn permute(&self, order: &[usize]) -> Self {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        if sorted != (0..self.shape().len()).collect::<Vec<_>>() {
            return self.fail("permute", format!("each of {} dimensions once", self.shape().len()), format!("{order:?}"));
        }
        let pick = |of: &[usize]| order.iter().map(|&d| of[d]).collect();
        self.with(Look { shape: pick(&self.look.shape), strides: pick(&self.look.strides), ..self.look.clone() })
    }

    /// The last two dimensions exchanged.
    pub fn transpose(&self) -> Self {
        let count = self.shape().len();
        if count < 2 {
            return self.fail("transpose", "at least two dimensions", format!("{:?}", self.shape()));
        }
        let mut order: Vec<usize> = (0..count).collect();
        order.swap(count - 2, count - 1);
        self.permute(&order)
    }

    /// A part along an axis.
    pub fn slice(&self, axis: usize, range: Range<usize>) -> Self {
        if axis >= self.shape().len() || range.end > self.shape()[axis] || range.start > range.end {
            return self.fail("slice", format!("a part of {:?}", self.shape()), format!("{range:?} of axis {axis}"));
        }
        // A part of a part would have more than one gap; the first part is copied.
        let whole = self.look.offset == 0 && self.graph.borrow().tensors[self.look.tensor].len == self.len();
        let look = if whole && self.look.is_contiguous() { self.contiguous() } else { self.copied() }.look;
        let offset = look.offset + range.start * look.strides[axis];
        let mut shape = look.shape.clone();
        shape[axis] = range.len();
        self.with(Look { shape, offset, ..look })
    }

    /// Matrices times matrices: the last two dimensions, m × k and k × n. The right factor is one matrix, or has the leading
    /// dimensions of the left one.
    pub fn matmul(&self, right: &Self) -> Self {
        let (a, b) = (self.shape(), right.shape());
        let fits = a.len() >= 2 && b.len() >= 2 && a[a.len() - 1] == b[b.len() - 2];
        let alike = fits && (b.len() == 2 || a[..a.len() - 2] == b[..b.len() - 2]);
        if !alike {
            return self.fail("matmul", format!("a right factor that fits {a:?}"), format!("{b:?}"));
        }
        let (k, n) = (a[a.len() - 1], b[b.len() - 1]);
        let shape = [&a[..a.len() - 1], &[n]].concat();
        let batch: usize = if b.len() == 2 { 1 } else { a[..a.len() - 2].iter().product() };
        let m = if b.len() == 2 { a[..a.len() - 1].iter().product() } else { a[a.len() - 2] };
        let (left, trans_a) = if b.len() == 2 && a.len() > 2 { (self.contiguous(), false) } else { self.factor() };
        let (right, trans_b) = right.factor();
        let sizes = Product { batch, m, k, n, trans_a, trans_b };
        let look = self.graph.borrow_mut().product(left.look, right.look, sizes, &shape);
        self.with(look)
    }

    /// The value as a factor of a product, with its matrices one after the other in memory, and whether these are transposed.
    fn factor(&self) -> (Self, bool) {
        let turned = self.transpose();
        if !self.look.is_contiguous() && turned.look.is_contiguous() {
            (turned.contiguous(), true)
        } else {
            (self.contiguous(), false)
        }
    }

    /// Reduces over axes, which stay as dimensions of one element; no axes means all of them.
    fn folded(&self, axes: &[usize], reduction: Reduction) -> Vec<Self> {
        let count = self.shape().len();
        let all: Vec<usize> = if axes.is_empty() { (0..count).collect() } else { axes.to_vec() };
        if all.iter().any(|&axis| axis >= count) {
            return vec![self.fail("axes", format!("below {count}"), format!("{axes:?}")); reduction.results()];
        }
        let kept: Vec<usize> = (0..count).filter(|axis| !all.contains(axis)).collect();
        let order = [&kept[..], &(0..count).filter(|axis| all.contains(axis)).collect::<Vec<_>>()].concat();
        let look = self.permute(&order).look;
        let shape = look.shape.clone();
        let looks = self.graph.borrow_mut().fold(&shape, kept.len(), vec![look], vec![(reduction, Expr::input(0))]);
        let with_ones: Vec<usize> = (0..count).map(|d| if all.contains(&d) { 1 } else { self.shape()[d] }).collect();
        looks.into_iter().map(|look| self.with(look).reshape(&with_ones)).collect()
    }

    /// Without the dimensions of these axes, which have one element; no axes means all of them.
    fn squeezed(self, axes: &[usize]) -> Self {
        let kept = |d: &usize| !axes.is_empty() && !axes.contains(d);
        let shape: Vec<usize> = (0..self.shape().len()).filter(kept).map(|d| self.shape()[d]).collect();
        self.reshape(&shape)
    }

    fn number_folded(&self, axes: &[usize], reduction: Reduction) -> Self {
        self.folded(axes, reduction).swap_remove(0)
    }

    /// The sum over axes; no axes means all of them.
    pub fn sum(&self, axes: &[usize]) -> Self {
        self.number_folded(axes, Reduction::Sum).squeezed(axes)
    }

    /// The mean over axes; no axes means all of them.
    pub fn mean(&self, axes: &[usize]) -> Self {
        let sum = self.sum(axes);
        let count = self.len() as f64 / sum.len().max(1) as f64;
        sum.apply(|x| x / count)
    }

    /// Mean and variance over axes, which stay as dimensions of one element. The variance divides by the number of elements.
    pub fn moments(&self, axes: &[usize]) -> [Self; 2] {
        let mut both = self.folded(axes, Reduction::Moments);
        let count = self.len() as f64 / both[0].len().max(1) as f64;
        let deviations = both.swap_remove(1);
        [both.swap_remove(0), deviations.apply(|x| x / count)]
    }

    /// ln Σ eˣ over an axis, which stays as a dimension of one element.
    pub fn log_sum_exp(&self, axis: usize) -> Self {
        let [largest, rest] = self.log_sum_exp_parts(axis);
        &largest + &rest
    }

    /// The largest element m along an axis, which stays as a dimension of one element, and ln Σ e^(x − m). Both together have a
    /// gradient, and neither alone.
    pub(in crate::nn) fn log_sum_exp_parts(&self, axis: usize) -> [Self; 2] {
        let mut both = self.folded(&[axis], Reduction::LogSumExp);
        let rest = both.swap_remove(1);
        [both.swap_remove(0), rest]
    }

    /// The place of the first largest element along an axis, which is left out. It has no gradient.
    pub fn first_max(&self, axis: usize) -> Self {
        self.number_folded(&[axis], Reduction::FirstMax).squeezed(&[axis])
    }

    /// eˣ / Σ eˣ over an axis.
    pub fn softmax(&self, axis: usize) -> Self {
        self.log_softmax(axis).apply(Expr::exp)
    }

    /// x − ln Σ eˣ over an axis.
    pub fn log_softmax(&self, axis: usize) -> Self {
        let [largest, rest] = self.log_sum_exp_parts(axis);
        self.tape().map(&[self, &largest, &rest], |of| of[0].clone() - of[1].clone() - of[2].clone())
    }

    /// 1 where |self − other| is below a half, else 0: whether two whole numbers are equal.
    pub fn equals(&self, other: &Self) -> Self {
        self.tape().map(&[self, other], |of| (of[0].clone() - of[1].clone()).abs().less(0.5))
    }

    /// A copy at which gradients stop.
    pub fn detached(&self) -> Self {
        let copy = self.copied();
        self.graph.borrow_mut().tensors[copy.look.tensor].trained = false;
        copy
    }

    /// Asks for the gradient by an input: [`Tape::gradient`] has it after [`Tape::backward`].
    pub fn watched(self) -> Self {
        self.graph.borrow_mut().tensors[self.look.tensor].trained = true;
        self
    }
}

macro_rules! functions {
    ($($name:ident, $doc:literal;)*) => {
        impl Value {
            $(
                #[doc = $doc]
                pub fn $name(&self) -> Self {
                    self.apply(Expr::$name)
                }
            )*
        }
    };
}

functions! {
    abs, "|x|; its derivative at 0 is 0.";
    sqrt, "√x.";
    exp, "eˣ.";
    ln, "ln x.";
    tanh, "The hyperbolic tangent.";
    sigmoid, "1/(1 + e⁻ˣ).";
    softplus, "ln(1 + eˣ).";
    relu, "x if x > 0, else 0.";
    silu, "x·sigmoid(x).";
    square, "x².";
}

macro_rules! operators {
    ($($op:ident, $method:ident;)*) => {
        $(
            impl $op<&Value> for &Value {
                type Output = Value;

                fn $method(self, other: &Value) -> Value {
                    self.tape().map(&[self, other], |of| $op::$method(of[0].clone(), of[1].clone()))
                }
            }

            impl $op<f64> for &Value {
                type Output = Value;

                fn $method(self, other: f64) -> Value {
                    self.apply(|x| $op::$method(x, other))
                }
            }

            impl $op<&Value> for f64 {
                type Output = Value;

                fn $method(self, other: &Value) -> Value {
                    other.apply(|x| $op::$method(self, x))
                }
            }
        )*
    };
}

operators! { Add, add; Sub, sub; Mul, mul; Div, div; }

impl Neg for &Value {
    type Output = Value;

    fn neg(self) -> Value {
        self.apply(|x| -x)
    }
}
