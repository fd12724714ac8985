//! Expressions over numbers, and their derivatives.

use super::program::Program;
use crate::rule::{Function, Real};
use std::collections::HashMap;
use std::ops::{Add, Div, Mul, Neg, Sub};
use std::sync::Arc;

/// An expression over the inputs of a [`Map`](super::Map). Parts that are the same object are computed once.
///
/// # Examples
///
/// ```
/// use thalweg::op::Expr;
///
/// let x = Expr::input(0);
/// let silu = x.clone() * x.clone().sigmoid();
/// assert!((silu.eval(&[2.0]) - 1.761594155955765).abs() < 1e-12);
/// assert!((silu.derivative(0).eval(&[0.0]) - 0.5).abs() < 1e-12);
/// ```
#[derive(Debug, Clone)]
pub struct Expr(pub(super) Arc<Node>);

#[derive(Debug)]
pub(super) enum Node {
    Input(usize),
    Number(f64),
    Unary(Function, Expr),
    Binary(Binary, Expr, Expr),
    /// The second where the first is not 0, else the third.
    Select(Expr, Expr, Expr),
}

/// A function of two numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Binary {
    Add,
    Sub,
    Mul,
    Div,
    /// NaN if either is.
    Max,
    /// NaN if either is.
    Min,
    /// 1 or 0; 0 with NaN.
    Less,
    /// 1 or 0; 0 with NaN.
    LessEqual,
}

impl Binary {
    /// The operator in WGSL, if there is one.
    pub(super) fn symbol(self) -> Option<&'static str> {
        match self {
            Self::Add => Some("+"),
            Self::Sub => Some("-"),
            Self::Mul => Some("*"),
            Self::Div => Some("/"),
            _ => None,
        }
    }

    /// Its name in elementary.wgsl, after `f_`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::Min => "min",
            Self::Less => "less",
            Self::LessEqual => "less_equal",
            Self::Add | Self::Sub | Self::Mul | Self::Div => "none",
        }
    }

    #[inline(always)]
    pub(super) fn of<F: Real>(self, a: F, b: F) -> F {
        let one_if = |holds: bool| if holds { F::one() } else { F::zero() };
        match self {
            Self::Add => a + b,
            Self::Sub => a - b,
            Self::Mul => a * b,
            Self::Div => a / b,
            Self::Max if a > b || a.is_nan() => a,
            Self::Min if a < b || a.is_nan() => a,
            Self::Max | Self::Min => b,
            Self::Less => one_if(a < b),
            Self::LessEqual => one_if(a <= b),
        }
    }
}

impl Expr {
    fn new(node: Node) -> Self {
        Self(Arc::new(node))
    }

    /// The input of that index.
    pub fn input(index: usize) -> Self {
        Self::new(Node::Input(index))
    }

    /// A constant, rounded to the engine's float type.
    pub fn number(value: f64) -> Self {
        Self::new(Node::Number(value))
    }

    /// A function of it.
    pub fn apply(self, f: Function) -> Self {
        match self.constant() {
            Some(x) => Self::number(evaluated(f, x)),
            None => Self::new(Node::Unary(f, self)),
        }
    }

    fn constant(&self) -> Option<f64> {
        if let Node::Number(value) = *self.0 { Some(value) } else { None }
    }

    /// Simplifies sums and products with 0 and 1, of which derivatives are full.
    fn binary(op: Binary, a: Self, b: Self) -> Self {
        match (op, a.constant(), b.constant()) {
            (_, Some(x), Some(y)) => Self::number(op.of(x, y)),
            (Binary::Add, Some(0.0), _) | (Binary::Mul, Some(1.0), _) => b,
            (Binary::Add | Binary::Sub, _, Some(0.0)) | (Binary::Mul | Binary::Div, _, Some(1.0)) => a,
            (Binary::Mul, Some(0.0), _) | (Binary::Mul, _, Some(0.0)) | (Binary::Div, Some(0.0), _) => Self::number(0.0),
            (Binary::Sub, Some(0.0), _) => b.apply(Function::Neg),
            (Binary::Mul, ..) if a.is_mask() => a.masking(b),
            (Binary::Mul, ..) if b.is_mask() => b.masking(a),
            _ => Self::new(Node::Binary(op, a, b)),
        }
    }

    /// Whether it chooses between 0 and 1, as the slope of a ReLU does.
    fn is_mask(&self) -> bool {
        let Node::Select(_, a, b) = &*self.0 else { return false };
        matches!((a.constant(), b.constant()), (Some(0.0), Some(1.0)) | (Some(1.0), Some(0.0)))
    }

    /// A mask times another: 0 even where the other is infinite.
    fn masking(&self, other: Self) -> Self {
        let Node::Select(condition, a, _) = &*self.0 else { return other };
        let (a, b) = if a.constant() == Some(0.0) { (0.0.into(), other) } else { (other, 0.0.into()) };
        Self::new(Node::Select(condition.clone(), a, b))
    }

    /// The larger; NaN if either is NaN. Where both are equal, each has half of the gradient.
    pub fn max(self, other: impl Into<Self>) -> Self {
        Self::binary(Binary::Max, self, other.into())
    }

    /// The smaller; NaN if either is NaN. Where both are equal, each has half of the gradient.
    pub fn min(self, other: impl Into<Self>) -> Self {
        Self::binary(Binary::Min, self, other.into())
    }

    /// 1 where it is less than the other, else 0.
    pub fn less(self, other: impl Into<Self>) -> Self {
        Self::binary(Binary::Less, self, other.into())
    }

    /// 1 where it is at most the other, else 0.
    pub fn less_equal(self, other: impl Into<Self>) -> Self {
        Self::binary(Binary::LessEqual, self, other.into())
    }

    /// `then` where it is not 0, else `otherwise`. The gradient goes to the one that was taken.
    pub fn select(self, then: impl Into<Self>, otherwise: impl Into<Self>) -> Self {
        let (then, otherwise) = (then.into(), otherwise.into());
        match (self.constant(), then.constant(), otherwise.constant()) {
            (Some(condition), ..) => {
                if condition != 0.0 {
                    then
                } else {
                    otherwise
                }
            }
            (_, Some(a), Some(b)) if a.to_bits() == b.to_bits() => then,
            _ => Self::new(Node::Select(self, then, otherwise)),
        }
    }

    /// x if x > 0, else 0; NaN of NaN. Its derivative at 0 is 0, as PyTorch's.
    pub fn relu(self) -> Self {
        self.clone().less_equal(0.0).select(0.0, self)
    }

    /// What it is the ReLU of, if it is one.
    pub(crate) fn relu_of(&self) -> Option<&Self> {
        let Node::Select(condition, then, of) = &*self.0 else { return None };
        let Node::Binary(Binary::LessEqual, a, b) = &*condition.0 else { return None };
        let zeros = [b, then].iter().all(|x| x.constant() == Some(0.0));
        (zeros && Arc::ptr_eq(&a.0, &of.0)).then_some(of)
    }

    /// x·Φ(x) with the normal distribution Φ.
    pub fn gelu(self) -> Self {
        0.5 * self.clone() * (1.0 + (self * std::f64::consts::FRAC_1_SQRT_2).erf())
    }

    /// x·sigmoid(x).
    pub fn silu(self) -> Self {
        self.clone() * self.sigmoid()
    }

    /// ln sigmoid(x), without the loss of digits.
    pub fn log_sigmoid(self) -> Self {
        -(-self).softplus()
    }

    /// x².
    pub fn square(self) -> Self {
        self.clone() * self
    }

    /// The derivative with respect to an input.
    pub fn derivative(&self, input: usize) -> Self {
        self.derivative_of(input, &mut HashMap::new())
    }

    fn derivative_of(&self, input: usize, known: &mut HashMap<*const Node, Self>) -> Self {
        if let Some(derivative) = known.get(&Arc::as_ptr(&self.0)) {
            return derivative.clone();
        }
        let derivative = match &*self.0 {
            Node::Input(index) => Self::number(if *index == input { 1.0 } else { 0.0 }),
            Node::Number(_) => Self::number(0.0),
            Node::Unary(f, x) => {
                let inner = x.derivative_of(input, known);
                if inner.constant() == Some(0.0) { inner } else { slope(*f, x, self) * inner }
            }
            Node::Binary(op, a, b) => {
                let (da, db) = (a.derivative_of(input, known), b.derivative_of(input, known));
                slopes(*op, [a, b], [da, db], self)
            }
            Node::Select(condition, a, b) => {
                let (da, db) = (a.derivative_of(input, known), b.derivative_of(input, known));
                condition.clone().select(da, db)
            }
        };
        known.insert(Arc::as_ptr(&self.0), derivative.clone());
        derivative
    }

    /// With other expressions in the place of inputs. Shared parts stay shared.
    pub(crate) fn substituted(&self, inputs: &[Self]) -> Self {
        self.substituted_into(inputs, &mut HashMap::new())
    }

    fn substituted_into(&self, inputs: &[Self], known: &mut HashMap<*const Node, Self>) -> Self {
        if let Some(made) = known.get(&Arc::as_ptr(&self.0)) {
            return made.clone();
        }
        let mut part = |expr: &Self| expr.substituted_into(inputs, known);
        let made = match &*self.0 {
            Node::Input(index) => inputs[*index].clone(),
            Node::Number(_) => self.clone(),
            Node::Unary(f, x) => part(x).apply(*f),
            Node::Binary(op, a, b) => Self::binary(*op, part(a), part(b)),
            Node::Select(condition, a, b) => part(condition).select(part(a), part(b)),
        };
        known.insert(Arc::as_ptr(&self.0), made.clone());
        made
    }

    /// Parts that are computed, each once, and how many of them are more than an addition, a product or a comparison.
    pub(crate) fn cost(&self) -> [usize; 2] {
        let mut seen = HashMap::new();
        self.visit(&mut seen);
        let dear = |dear: &&bool| **dear;
        [seen.len(), seen.values().filter(dear).count()]
    }

    fn visit(&self, seen: &mut HashMap<*const Node, bool>) {
        if seen.contains_key(&Arc::as_ptr(&self.0)) {
            return;
        }
        let dear = match &*self.0 {
            Node::Input(_) | Node::Number(_) => return,
            Node::Unary(f, _) => !matches!(f, Function::Neg | Function::Abs | Function::Sign),
            Node::Binary(op, ..) => *op == Binary::Div,
            Node::Select(..) => false,
        };
        seen.insert(Arc::as_ptr(&self.0), dear);
        match &*self.0 {
            Node::Input(_) | Node::Number(_) => {}
            Node::Unary(_, x) => x.visit(seen),
            Node::Binary(_, a, b) => [a, b].into_iter().for_each(|part| part.visit(seen)),
            Node::Select(a, b, c) => [a, b, c].into_iter().for_each(|part| part.visit(seen)),
        }
    }

    /// Marks the inputs that it reads.
    pub(crate) fn mark_inputs(&self, read: &mut [bool]) {
        Program::new(std::iter::once(self)).mark_inputs(read);
    }

    /// Whether it never falls where one input rises and the others stay, in any precision: sums, bounds, and positive multiples
    /// of it.
    pub(crate) fn rises_with(&self, input: usize) -> bool {
        let positive = |factor: &Self| factor.constant().is_some_and(|factor| factor > 0.0);
        match &*self.0 {
            Node::Input(_) | Node::Number(_) => true,
            Node::Binary(Binary::Add | Binary::Max | Binary::Min, a, b) => a.rises_with(input) && b.rises_with(input),
            Node::Binary(Binary::Sub, a, b) => a.rises_with(input) && !b.reads(input),
            Node::Binary(Binary::Mul, a, b) if positive(a) => b.rises_with(input),
            Node::Binary(Binary::Mul | Binary::Div, a, b) if positive(b) => a.rises_with(input),
            // Itself, but not below a number: a ReLU.
            Node::Select(condition, low, x) => match (&*condition.0, low.constant()) {
                (Node::Binary(Binary::Less | Binary::LessEqual, of, bound), Some(low)) => {
                    let bounded = Arc::ptr_eq(&of.0, &x.0) && bound.constant().is_some_and(|bound| low <= bound);
                    bounded && x.rises_with(input)
                }
                _ => !self.reads(input),
            },
            Node::Unary(..) | Node::Binary(..) => !self.reads(input),
        }
    }

    fn reads(&self, input: usize) -> bool {
        let program = Program::new(std::iter::once(self));
        let mut read = vec![false; program.inputs().max(input + 1)];
        program.mark_inputs(&mut read);
        read[input]
    }

    /// The number that it is, if it is one.
    pub(crate) fn as_number(&self) -> Option<f64> {
        self.constant()
    }

    /// The input that it is, if it is one.
    pub(crate) fn as_input(&self) -> Option<usize> {
        if let Node::Input(index) = *self.0 { Some(index) } else { None }
    }

    /// Whether two expressions compute the same in the same way.
    pub(crate) fn same(&self, other: &Self) -> bool {
        Program::new([self, other].into_iter()).gives_one_value()
    }

    /// Its value in double precision. An input that is not given is NaN.
    pub fn eval(&self, inputs: &[f64]) -> f64 {
        match &*self.0 {
            Node::Input(index) => inputs.get(*index).copied().unwrap_or(f64::NAN),
            Node::Number(value) => *value,
            Node::Unary(f, x) => evaluated(*f, x.eval(inputs)),
            Node::Binary(op, a, b) => op.of(a.eval(inputs), b.eval(inputs)),
            Node::Select(condition, a, b) => (if condition.eval(inputs) != 0.0 { a } else { b }).eval(inputs),
        }
    }
}

fn evaluated(f: Function, x: f64) -> f64 {
    let mut value = [0.0];
    f64::function(f, &[x], &mut value);
    value[0]
}

/// f'(x), where `value` is f(x).
fn slope(f: Function, x: &Expr, value: &Expr) -> Expr {
    let (x, value) = (x.clone(), value.clone());
    match f {
        Function::Neg => Expr::number(-1.0),
        Function::Abs => x.apply(Function::Sign),
        Function::Sign => Expr::number(0.0),
        Function::Sqrt => 0.5 / value,
        Function::Exp => value,
        Function::Expm1 => x.apply(Function::Exp),
        Function::Ln => 1.0 / x,
        Function::Ln1p => 1.0 / (1.0 + x),
        Function::Tanh => 1.0 - value.square(),
        Function::Erf => std::f64::consts::FRAC_2_SQRT_PI * (-x.square()).apply(Function::Exp),
        // Not s·(1 − s), which loses the digits of large x.
        Function::Sigmoid => value * (-x).apply(Function::Sigmoid),
        Function::Softplus => x.apply(Function::Sigmoid),
    }
}

/// The derivative of a function of two numbers, from theirs.
fn slopes(op: Binary, [a, b]: [&Expr; 2], [da, db]: [Expr; 2], value: &Expr) -> Expr {
    let (a, b) = (a.clone(), b.clone());
    match op {
        Binary::Add => da + db,
        Binary::Sub => da - db,
        Binary::Mul => da * b + a * db,
        Binary::Div => (da - value.clone() * db) / b,
        Binary::Max => larger(b.clone(), a.clone(), [da, db]),
        Binary::Min => larger(a, b, [da, db]),
        Binary::Less | Binary::LessEqual => Expr::number(0.0),
    }
}

/// The first slope where `low` < `high`, the second where `high` < `low`, else half of each.
fn larger(low: Expr, high: Expr, [first, second]: [Expr; 2]) -> Expr {
    let half = 0.5 * (first.clone() + second.clone());
    low.clone().less(high.clone()).select(first, high.less(low).select(second, half))
}

macro_rules! functions {
    ($($name:ident: $function:ident, $doc:literal;)*) => {
        impl Expr {
            $(
                #[doc = $doc]
                pub fn $name(self) -> Self {
                    self.apply(Function::$function)
                }
            )*
        }
    };
}

functions! {
    abs: Abs, "|x|; its derivative at 0 is 0.";
    sqrt: Sqrt, "√x.";
    exp: Exp, "eˣ.";
    expm1: Expm1, "eˣ − 1.";
    ln: Ln, "ln x.";
    ln1p: Ln1p, "ln(1 + x).";
    tanh: Tanh, "The hyperbolic tangent.";
    erf: Erf, "The error function.";
    sigmoid: Sigmoid, "1/(1 + e⁻ˣ).";
    softplus: Softplus, "ln(1 + eˣ).";
}

impl From<f64> for Expr {
    fn from(value: f64) -> Self {
        Self::number(value)
    }
}

macro_rules! operators {
    ($($op:ident, $method:ident;)*) => {
        $(
            impl<T: Into<Expr>> $op<T> for Expr {
                type Output = Expr;

                fn $method(self, other: T) -> Expr {
                    Expr::binary(Binary::$op, self, other.into())
                }
            }

            impl $op<Expr> for f64 {
                type Output = Expr;

                fn $method(self, other: Expr) -> Expr {
                    Expr::binary(Binary::$op, self.into(), other)
                }
            }
        )*
    };
}

operators! { Add, add; Sub, sub; Mul, mul; Div, div; }

impl Neg for Expr {
    type Output = Expr;

    fn neg(self) -> Expr {
        self.apply(Function::Neg)
    }
}
