//! What a tape holds: tensors, and how each is made.

use super::Declared;
use super::images::Image;
use super::look::{Look, contiguous};
use super::recurrent::Recurrent;
use crate::error::Error;
use crate::nn::summary::Line;
use crate::op::{Expr, Reduction, Source};
use std::cell::RefCell;
use std::rc::Rc;

/// Picks parameters by name.
type Names = dyn Fn(&str) -> bool;

/// Everything that was recorded.
#[derive(Default)]
pub(in crate::nn) struct Graph {
    pub(super) tensors: Vec<Tensor>,
    pub(super) nodes: Vec<Node>,
    pub(super) params: Vec<Declared>,
    pub(super) buffers: Vec<Declared>,
    /// Frozen parameters that all lanes share.
    pub(super) shared: Vec<Declared>,
    /// Which parameters get no gradient.
    pub(super) frozen: Option<Rc<Names>>,
    /// Buffers' tensors and what they become.
    pub(super) assigned: Vec<(usize, Look)>,
    /// Gradients of tensors, once they are known.
    pub(super) gradients: Vec<(usize, Look)>,
    /// Names of the layers that are being recorded, the outermost first.
    pub(super) scope: Vec<String>,
    /// Layers that were recorded.
    pub(super) lines: Vec<Line>,
    /// Random sequences so far.
    pub(super) sites: u32,
    pub(super) error: Option<Error>,
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("tensors", &self.tensors.len()).field("nodes", &self.nodes).finish_non_exhaustive()
    }
}

/// Elements that lie one after the other.
#[derive(Debug, Clone)]
pub(super) struct Tensor {
    pub(super) len: usize,
    pub(super) maker: Maker,
    /// Whether a gradient by it is wanted.
    pub(super) trained: bool,
    /// Whether it has to be in memory, since an operation reads it that cannot take in its expression.
    pub(super) kept: bool,
}

impl Tensor {
    pub(super) fn new(len: usize, maker: Maker, trained: bool) -> Self {
        Self { len, maker, trained, kept: false }
    }
}

/// How a tensor comes to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Maker {
    /// An output of a node.
    Node(usize, usize),
    Param(usize),
    Buffer(usize),
    Shared(usize),
    Given(Source),
    /// The sum of coordinates times strides.
    Place,
    /// Random numbers of a site.
    Uniform(u32),
    /// Stands for a value that a mistake prevented.
    Nothing,
}

/// An operation on looks.
#[derive(Debug, Clone)]
pub(super) enum Node {
    /// An expression; strides of all inputs go along the shape.
    Map { shape: Vec<usize>, inputs: Vec<Look>, expr: Expr, said: Said, output: usize },
    /// Reductions over the dimensions from `kept` on.
    Fold { shape: Vec<usize>, kept: usize, inputs: Vec<Look>, outputs: Vec<(Reduction, Expr, Vec<usize>)>, said: Said },
    /// A batch of products; looks are contiguous.
    Product { a: Look, b: Look, sizes: Product, output: usize },
    /// Rows of a table.
    Lookup { table: Look, rows: Look, width: usize, output: usize },
    /// The gradient of a lookup by its table.
    Scatter { x: Look, rows: Look, width: usize, skip: Option<u32>, output: usize },
    /// Matrices of `rows` rows, side by side: each with its first column and its number of columns. Other columns are 0.
    Beside { parts: Vec<(Look, usize, usize)>, rows: usize, columns: usize, output: usize },
    /// A convolution or a pool; looks are contiguous.
    Image { op: Image, inputs: Vec<Look>, outputs: Vec<usize> },
    /// All steps of a recurrent layer in one direction; looks are contiguous.
    Recurrent { op: Recurrent, inputs: Vec<Look>, outputs: Vec<usize> },
}

/// What was recorded, before it took in the expressions of its inputs. Gradients follow it: so the contributions that reach a
/// value on several ways are added up once, at that value.
#[derive(Debug, Clone)]
pub(super) struct Said {
    pub(super) inputs: Vec<Look>,
    /// One for each output.
    pub(super) exprs: Vec<Expr>,
}

/// Sizes of a batch of products.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Product {
    pub(super) batch: usize,
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    pub(super) trans_a: bool,
    pub(super) trans_b: bool,
}

impl Node {
    pub(super) fn inputs(&self) -> Vec<&Look> {
        match self {
            Self::Map { inputs, .. }
            | Self::Fold { inputs, .. }
            | Self::Image { inputs, .. }
            | Self::Recurrent { inputs, .. } => inputs.iter().collect(),
            Self::Product { a, b, .. } => vec![a, b],
            Self::Lookup { table, rows, .. } => vec![table, rows],
            Self::Scatter { x, rows, .. } => vec![x, rows],
            Self::Beside { parts, .. } => parts.iter().map(|(look, ..)| look).collect(),
        }
    }

    /// Floating-point operations: two per multiplication and addition of a product, one per other function.
    pub(super) fn flops(&self) -> usize {
        match self {
            Self::Map { shape, expr, .. } => shape.iter().product::<usize>() * expr.cost()[0],
            Self::Fold { shape, outputs, .. } => {
                shape.iter().product::<usize>() * outputs.iter().map(|(_, expr, _)| expr.cost()[0] + 1).sum::<usize>()
            }
            Self::Product { sizes, .. } => 2 * sizes.batch * sizes.m * sizes.k * sizes.n,
            Self::Lookup { .. } | Self::Beside { .. } => 0,
            Self::Scatter { x, .. } => x.len(),
            Self::Image { op, .. } => op.flops(),
            Self::Recurrent { op, .. } => op.flops(),
        }
    }

    pub(super) fn outputs(&self) -> Vec<usize> {
        match self {
            Self::Fold { outputs, .. } => outputs.iter().flat_map(|(.., tensors)| tensors.iter().copied()).collect(),
            Self::Image { outputs, .. } | Self::Recurrent { outputs, .. } => outputs.clone(),
            Self::Map { output, .. }
            | Self::Product { output, .. }
            | Self::Lookup { output, .. }
            | Self::Scatter { output, .. }
            | Self::Beside { output, .. } => vec![*output],
        }
    }
}

/// The most parts of an expression that took in those of its inputs.
const PARTS: usize = 160;
/// Tensors that an expression reads at most: a kernel has eight views, and outputs and scratch take some.
pub(super) const READS: usize = 5;
/// Inputs of an expression at most: a kernel's uniform has 256 bytes, of which each takes 20.
pub(super) const LOOKS: usize = 9;

impl Graph {
    pub(super) fn tensor(&mut self, tensor: Tensor) -> usize {
        self.tensors.push(tensor);
        self.tensors.len() - 1
    }

    /// Keeps the first mistake, with the layer's name before it.
    pub(super) fn note(&mut self, error: Error) {
        if self.error.is_none() {
            let layer = self.scope.join(".");
            let named = |what: String| if layer.is_empty() { what } else { format!("{layer}: {what}") };
            self.error = Some(match error {
                Error::Shape { what, expected, found } => Error::Shape { what: named(what), expected, found },
                other => other,
            });
        }
    }

    /// Whether a gradient is wanted by one of them.
    pub(super) fn any_trained<'a>(&self, mut looks: impl Iterator<Item = &'a Look>) -> bool {
        looks.any(|look| self.tensors[look.tensor].trained)
    }

    pub(super) fn push(&mut self, node: impl FnOnce(&[usize]) -> Node, lens: &[usize], trained: bool) -> Vec<usize> {
        let at = self.nodes.len();
        let outputs: Vec<usize> =
            (0..lens.len()).map(|index| self.tensor(Tensor::new(lens[index], Maker::Node(at, index), trained))).collect();
        let node = node(&outputs);
        if !matches!(node, Node::Map { .. } | Node::Fold { .. }) {
            node.inputs().iter().for_each(|look| self.tensors[look.tensor].kept = true);
        }
        self.nodes.push(node);
        outputs
    }

    /// Records an expression over looks that go along the shape.
    pub(super) fn map(&mut self, shape: &[usize], inputs: Vec<Look>, expr: Expr) -> Look {
        let said = Said { inputs, exprs: vec![expr] };
        let (inputs, exprs) = self.taken_in(shape, &said);
        let (trained, len) = (self.any_trained(said.inputs.iter()), shape.iter().product());
        let node = |outputs: &[usize]| {
            let expr = exprs.into_iter().next().unwrap_or_else(|| 0.0.into());
            Node::Map { shape: shape.to_vec(), inputs, expr, said, output: outputs[0] }
        };
        Look::whole(self.push(node, &[len], trained)[0], shape)
    }

    /// Records reductions over the dimensions from `kept` on: a look for each number that they give.
    pub(super) fn fold(
        &mut self,
        shape: &[usize],
        kept: usize,
        inputs: Vec<Look>,
        outputs: Vec<(Reduction, Expr)>,
    ) -> Vec<Look> {
        let (reductions, exprs): (Vec<Reduction>, Vec<Expr>) = outputs.into_iter().unzip();
        let said = Said { inputs, exprs };
        let (inputs, exprs) = self.taken_in(shape, &said);
        let trained = self.any_trained(said.inputs.iter());
        let numbers = |reduction: &Reduction| reduction.results();
        let lens = vec![shape[..kept].iter().product(); reductions.iter().map(numbers).sum()];
        let node = |tensors: &[usize]| {
            let mut tensors = tensors.iter().copied();
            let outputs = reductions.iter().zip(exprs);
            let outputs =
                outputs.map(|(reduction, expr)| (*reduction, expr, tensors.by_ref().take(numbers(reduction)).collect()));
            let outputs = outputs.collect();
            Node::Fold { shape: shape.to_vec(), kept, inputs, outputs, said }
        };
        self.push(node, &lens, trained).into_iter().map(|tensor| Look::whole(tensor, &shape[..kept])).collect()
    }

    pub(super) fn product(&mut self, a: Look, b: Look, sizes: Product, shape: &[usize]) -> Look {
        let trained = self.any_trained([&a, &b].into_iter());
        let node = |outputs: &[usize]| Node::Product { a, b, sizes, output: outputs[0] };
        Look::whole(self.push(node, &[sizes.batch * sizes.m * sizes.n], trained)[0], shape)
    }

    pub(super) fn lookup(&mut self, table: Look, rows: Look, width: usize, shape: &[usize]) -> Look {
        let (trained, len) = (self.any_trained(std::iter::once(&table)), rows.len() * width);
        Look::whole(self.push(|outputs| Node::Lookup { table, rows, width, output: outputs[0] }, &[len], trained)[0], shape)
    }

    pub(super) fn scatter(&mut self, x: Look, rows: Look, width: usize, skip: Option<u32>, len: usize) -> Look {
        Look::whole(self.push(|outputs| Node::Scatter { x, rows, width, skip, output: outputs[0] }, &[len], false)[0], &[len])
    }

    pub(super) fn beside(&mut self, parts: Vec<(Look, usize, usize)>, rows: usize, columns: usize, shape: &[usize]) -> Look {
        let trained = self.any_trained(parts.iter().map(|(look, ..)| look));
        let node = |outputs: &[usize]| Node::Beside { parts, rows, columns, output: outputs[0] };
        Look::whole(self.push(node, &[rows * columns], trained)[0], shape)
    }

    /// Takes in the expressions of inputs that are expressions themselves, where that is cheaper than to write their values and
    /// read them. Of the inputs that are left, each appears once, and only if it is read.
    fn taken_in(&self, shape: &[usize], Said { inputs, exprs }: &Said) -> (Vec<Look>, Vec<Expr>) {
        let mut looks: Vec<Look> = Vec::new();
        let mut parts: Vec<Expr> = Vec::new();
        let reads = |looks: &[Look]| {
            let mut tensors: Vec<usize> = looks.iter().filter(|look| self.is_read(look)).map(|look| look.tensor).collect();
            tensors.sort_unstable();
            tensors.dedup();
            tensors.len()
        };
        let place = |looks: &mut Vec<Look>, look: Look| {
            let found = looks.iter().position(|known| *known == look);
            Expr::input(found.unwrap_or_else(|| {
                looks.push(look);
                looks.len() - 1
            }))
        };
        for (index, look) in inputs.iter().enumerate() {
            let made = self.maker_of(shape, look).filter(|(of, expr)| {
                let mut with = looks.clone();
                of.iter().chain(&inputs[index + 1..]).for_each(|look| {
                    if !with.contains(look) {
                        with.push(look.clone());
                    }
                });
                let total: usize = parts.iter().chain([expr]).map(|expr| expr.cost()[0]).sum();
                reads(&with) <= READS && total <= PARTS && with.len() <= LOOKS
            });
            parts.push(match made {
                Some((of, expr)) => {
                    let of: Vec<Expr> = of.into_iter().map(|look| place(&mut looks, look)).collect();
                    expr.substituted(&of)
                }
                None => place(&mut looks, look.clone()),
            });
        }
        let exprs: Vec<Expr> = exprs.iter().map(|expr| expr.substituted(&parts)).collect();
        let mut read = vec![false; looks.len()];
        exprs.iter().for_each(|expr| expr.mark_inputs(&mut read));
        let place = |index: usize| Expr::input(read[..index].iter().filter(|read| **read).count());
        let inputs: Vec<Expr> = (0..looks.len()).map(place).collect();
        looks = looks.into_iter().zip(&read).filter(|(_, read)| **read).map(|(look, _)| look).collect();
        (looks, exprs.iter().map(|expr| expr.substituted(&inputs)).collect())
    }

    /// Whether a look needs one of a kernel's views.
    pub(super) fn is_read(&self, look: &Look) -> bool {
        self.tensors[look.tensor].maker != Maker::Place
    }

    /// The expression that makes an input, with its own inputs along the shape, if it may be taken in.
    fn maker_of(&self, shape: &[usize], look: &Look) -> Option<(Vec<Look>, Expr)> {
        let tensor = &self.tensors[look.tensor];
        let Maker::Node(node, _) = tensor.maker else { return None };
        let Node::Map { shape: own, inputs, expr, .. } = &self.nodes[node] else { return None };
        if expr.as_number().is_some() {
            return Some((Vec::new(), expr.clone()));
        }
        let [parts, dear] = expr.cost();
        let repeated = shape.iter().product::<usize>() > tensor.len;
        if tensor.len == 0 || tensor.kept || (repeated && (dear > 0 || parts > 2)) {
            return None;
        }
        // Where the look begins in the tensor's own shape, and the dimension of it that each dimension of the look goes along.
        let of_own = contiguous(own);
        let begin: Vec<usize> = (0..own.len()).map(|o| look.offset / of_own[o] % own[o]).collect();
        let along: Vec<Option<usize>> = (0..shape.len())
            .map(|d| match look.strides[d] {
                stride if stride == 0 || shape[d] == 1 => Some(None),
                stride => {
                    let goes = |&o: &usize| own[o] > 1 && of_own[o] == stride && begin[o] + shape[d] <= own[o];
                    (0..own.len()).find(goes).map(Some)
                }
            })
            .collect::<Option<_>>()?;
        let moved = |input: &Look| {
            let strides = along.iter().map(|along| along.map_or(0, |o| input.strides[o])).collect();
            let offset = begin.iter().zip(&input.strides).map(|(&at, stride)| at * stride).sum::<usize>();
            Look { tensor: input.tensor, shape: shape.to_vec(), strides, offset: input.offset + offset }
        };
        Some((inputs.iter().map(moved).collect(), expr.clone()))
    }
}

/// Keeps a mistake; a look at a tensor of one element stands for the value that it prevented.
pub(super) fn failed(graph: &Rc<RefCell<Graph>>, error: Error) -> Look {
    let mut graph = graph.borrow_mut();
    graph.note(error);
    let tensor = graph.tensor(Tensor::new(1, Maker::Nothing, false));
    Look::whole(tensor, &[])
}
