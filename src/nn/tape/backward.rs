//! Gradients: the nodes are visited from the last to the first, and each passes its gradient on to its inputs.

use super::graph::{Graph, Maker, Node, Product, READS, Said};
use super::look::{Look, contiguous};
use super::{Tape, Value};
use crate::error::Error;
use crate::op::{Expr, Reduction};
use std::collections::BTreeMap;

impl Tape {
    /// Records the gradient of a loss, a value of one element, by all parameters that are not frozen.
    pub fn backward(&mut self, loss: &Value) {
        if loss.len() != 1 {
            self.fail(Error::shape("the loss", "one element", format!("{:?}", loss.shape())));
            return;
        }
        let alone = self.graph.borrow().tensors[loss.look.tensor].len == 1;
        let loss = if alone { loss.clone() } else { loss.copied() };
        let mut graph = self.graph.borrow_mut();
        if graph.error.is_none() {
            Backward { graph: &mut graph, given: BTreeMap::new() }.run(loss.look.tensor);
        }
    }

    /// The gradient by a parameter or by a watched input; `None` if the loss does not depend on it.
    pub fn gradient(&self, value: &Value) -> Option<Value> {
        let graph = self.graph.borrow();
        let found = graph.gradients.iter().rev().find(|(tensor, _)| *tensor == value.look.tensor);
        let look = found.map(|(_, look)| Look {
            shape: value.look.shape.clone(),
            strides: contiguous(&value.look.shape),
            ..look.clone()
        });
        drop(graph);
        look.map(|look| self.value(look))
    }
}

pub(super) struct Backward<'a> {
    pub(super) graph: &'a mut Graph,
    /// The contributions to each tensor's gradient so far.
    given: BTreeMap<usize, Vec<Given>>,
}

/// A contribution to a tensor's gradient.
#[derive(Debug, Clone)]
enum Given {
    /// For all of the tensor.
    Whole(Look),
    /// For a part of the tensor.
    Part(Look, Region),
    /// From a product whose right factor is all of the tensor: the left factor, and the gradient of the product.
    Factor(Look, Look, Product),
}

/// A part of a tensor, which is seen as a matrix of `rows` × `columns`: `width` columns, beginning with column `first`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Region {
    rows: usize,
    columns: usize,
    first: usize,
    width: usize,
}

impl Region {
    fn is_apart(&self, other: &Self) -> bool {
        self.first + self.width <= other.first || other.first + other.width <= self.first
    }
}

impl Backward<'_> {
    fn run(mut self, loss: usize) {
        if !self.graph.tensors[loss].trained {
            return;
        }
        let one = self.graph.map(&[1], Vec::new(), 1.0.into());
        self.given.insert(loss, vec![Given::Whole(one)]);
        // When a node is reached, the gradients of its outputs are complete: all nodes that read them come later on the tape.
        for node in (0..self.graph.nodes.len()).rev() {
            let outputs = self.graph.nodes[node].outputs();
            let grads: Vec<Option<Look>> = outputs.iter().map(|output| self.total(*output)).collect();
            if grads.iter().any(Option::is_some) {
                outputs.iter().zip(&grads).for_each(|(output, grad)| self.note(*output, grad.clone()));
                self.pass_on(self.graph.nodes[node].clone(), &grads);
            }
        }
        for tensor in self.given.keys().copied().collect::<Vec<_>>() {
            let total = self.total(tensor);
            self.note(tensor, total);
        }
    }

    fn note(&mut self, tensor: usize, grad: Option<Look>) {
        if let Some(grad) = grad {
            self.graph.gradients.push((tensor, grad));
        }
    }

    /// The gradient of a tensor: the sum of the contributions to it.
    fn total(&mut self, tensor: usize) -> Option<Look> {
        let (mut whole, mut parts, mut factors) = (Vec::new(), Vec::new(), Vec::new());
        for given in self.given.remove(&tensor)? {
            match given {
                Given::Whole(look) => whole.push(look),
                Given::Part(look, region) => parts.push((look, region)),
                Given::Factor(left, grad, sizes) => factors.push((left, grad, sizes)),
            }
        }
        let len = self.graph.tensors[tensor].len;
        whole.extend(self.side_by_side(parts, len));
        whole.extend(self.products(factors, len));
        self.sum(whole)
    }

    fn sum(&mut self, mut given: Vec<Look>) -> Option<Look> {
        while given.len() > 1 {
            let some: Vec<Look> = given.drain(..given.len().min(READS - 1)).collect();
            // If all have one shape, it is kept, so that the sum can take in their expressions.
            let shape = some[0].shape.clone();
            let alike = some.iter().all(|look| look.shape == shape);
            let shape = if alike { shape } else { vec![some[0].len()] };
            let looks: Vec<Look> =
                some.into_iter().map(|look| Look { shape: shape.clone(), strides: contiguous(&shape), ..look }).collect();
            let sum = (1..looks.len()).fold(Expr::input(0), |sum, index| sum + Expr::input(index));
            let sum = self.graph.map(&shape, looks, sum);
            given.insert(0, sum);
        }
        given.pop()
    }

    /// Gradients of the whole tensor, made from those of its parts: parts that do not overlap lie side by side in one matrix,
    /// with 0 in between.
    fn side_by_side(&mut self, parts: Vec<(Look, Region)>, len: usize) -> Vec<Look> {
        let mut matrices: Vec<Vec<(Look, Region)>> = Vec::new();
        for (look, region) in parts {
            let takes = |others: &Vec<(Look, Region)>| {
                let alike = |other: &Region| (other.rows, other.columns) == (region.rows, region.columns);
                others.iter().all(|(_, other)| alike(other) && region.is_apart(other))
            };
            match matrices.iter_mut().find(|others| takes(others)) {
                Some(others) => others.push((look, region)),
                None => matrices.push(vec![(look, region)]),
            }
        }
        let matrix = |parts: Vec<(Look, Region)>| {
            let Region { rows, columns, .. } = parts[0].1;
            let parts = parts.into_iter().map(|(look, Region { first, width, .. })| (look, first, width)).collect();
            self.graph.beside(parts, rows, columns, &[len])
        };
        matrices.into_iter().map(matrix).collect()
    }

    /// The gradient of a matrix that was the right factor of several products: one product, in which the left factors lie one
    /// below the other.
    fn products(&mut self, factors: Vec<(Look, Look, Product)>, len: usize) -> Vec<Look> {
        let mut alike: Vec<Vec<(Look, Look, Product)>> = Vec::new();
        for factor in factors {
            let turned = |sizes: &Product| (sizes.k, sizes.n, sizes.trans_b);
            match alike.iter_mut().find(|others| turned(&others[0].2) == turned(&factor.2)) {
                Some(others) => others.push(factor),
                None => alike.push(vec![factor]),
            }
        }
        alike.into_iter().map(|factors| self.product_of_all(factors, len)).collect()
    }

    fn product_of_all(&mut self, mut factors: Vec<(Look, Look, Product)>, len: usize) -> Look {
        if factors.len() == 1 {
            let (left, grad, sizes) = factors.swap_remove(0);
            return self.graph.right_factor(left, grad, sizes, len);
        }
        let (sizes, rows) = (factors[0].2, factors.iter().map(|(.., sizes)| sizes.m).sum::<usize>());
        let (lefts, grads): (Vec<Look>, Vec<Look>) = factors.into_iter().map(|(left, grad, _)| (left, grad)).unzip();
        let mut below = |looks: Vec<Look>, columns: usize| {
            let mut first = 0;
            let parts = looks.into_iter().map(|look| {
                let width = look.len();
                first += width;
                (Look { shape: vec![1, width], strides: vec![width, 1], ..look }, first - width, width)
            });
            let parts = parts.collect();
            self.graph.beside(parts, 1, rows * columns, &[rows, columns])
        };
        let (left, grad) = (below(lefts, sizes.k), below(grads, sizes.n));
        self.graph.right_factor(left, grad, Product { m: rows, ..sizes }, len)
    }

    pub(super) fn wanted(&self, look: &Look) -> bool {
        self.graph.tensors[look.tensor].trained
    }

    fn pass_on(&mut self, node: Node, grads: &[Option<Look>]) {
        match node {
            Node::Map { shape, output, said: Said { inputs, exprs }, .. } => {
                let Some(grad) = &grads[0] else { return };
                let of = Expr::input(inputs.len());
                let mut looks = [&inputs[..], &[self.along(grad, &shape, shape.len())]].concat();
                let mut expr = exprs[0].clone();
                // Where a ReLU is 0, its output tells as well. If that is in memory, nothing has to keep what the ReLU was
                // computed from.
                if let Some(rising) = exprs[0].relu_of().filter(|_| self.graph.tensors[output].kept) {
                    looks.push(Look::whole(output, &shape));
                    expr = Expr::input(looks.len() - 1).less_equal(0.0).select(0.0, rising.clone());
                }
                let slopes = self.slopes(&inputs, |input| of.clone() * expr.derivative(input));
                self.give(&shape, &inputs, looks, slopes);
            }
            Node::Fold { shape, kept, outputs, said: Said { inputs, exprs }, .. } => {
                let said = outputs.into_iter().zip(exprs).map(|((reduction, _, tensors), expr)| (reduction, expr, tensors));
                self.fold(&shape, kept, &inputs, &said.collect::<Vec<_>>(), grads);
            }
            Node::Product { a, b, sizes, .. } => {
                if let Some(grad) = &grads[0] {
                    self.product(a, b, sizes, grad.clone());
                }
            }
            Node::Lookup { table, rows, width, .. } => {
                if let Some(grad) = grads[0].clone().filter(|_| self.wanted(&table)) {
                    let skip = self.graph.skips(table.tensor);
                    let grad = self.whole(grad);
                    let given = self.graph.scatter(grad, rows, width, skip, table.len());
                    self.given.entry(table.tensor).or_default().push(Given::Whole(given));
                }
            }
            Node::Scatter { .. } => {}
            Node::Image { op, inputs, outputs } => {
                if let Some(grad) = &grads[0] {
                    self.image(op, &inputs, &outputs, grad.clone());
                }
            }
            Node::Recurrent { op, inputs, outputs } => self.recurrent(op, &inputs, &outputs, grads),
            Node::Beside { parts, rows, columns, .. } => {
                let Some(grad) = &grads[0] else { return };
                let wanted: Vec<_> = parts.into_iter().filter(|(look, ..)| self.wanted(look)).collect();
                for (look, first, width) in wanted {
                    let part = Look {
                        tensor: grad.tensor,
                        shape: vec![rows, width],
                        strides: vec![columns, 1],
                        offset: grad.offset + first,
                    };
                    let target = Look { shape: vec![rows, width], strides: vec![width, 1], ..look };
                    self.graph.tensors[grad.tensor].kept = true;
                    self.give(&[rows, width], &[target], vec![part], vec![Some(Expr::input(0))]);
                }
            }
        }
    }

    /// A gradient along the first `kept` dimensions of a shape, broadcast along the others.
    fn along(&self, grad: &Look, shape: &[usize], kept: usize) -> Look {
        let mut strides = contiguous(&shape[..kept]);
        strides.resize(shape.len(), 0);
        Look { tensor: grad.tensor, shape: shape.to_vec(), strides, offset: grad.offset }
    }

    /// The slope by each input whose gradient is wanted.
    fn slopes(&self, inputs: &[Look], slope: impl Fn(usize) -> Expr) -> Vec<Option<Expr>> {
        let wanted =
            |index: usize| self.wanted(&inputs[index]).then(|| slope(index)).filter(|slope| slope.as_number() != Some(0.0));
        (0..inputs.len()).map(wanted).collect()
    }

    fn fold(
        &mut self,
        shape: &[usize],
        kept: usize,
        inputs: &[Look],
        outputs: &[(Reduction, Expr, Vec<usize>)],
        grads: &[Option<Look>],
    ) {
        let count: f64 = shape[kept..].iter().product::<usize>() as f64;
        let mut looks = inputs.to_vec();
        let mut grads = grads.iter();
        // Pairs of a factor and the expression whose slope it multiplies.
        let mut factors: Vec<(Expr, Expr)> = Vec::new();
        for (reduction, expr, tensors) in outputs {
            let mut read = |look: Look| {
                looks.push(look);
                Expr::input(looks.len() - 1)
            };
            let own = |index: usize| Look::whole(tensors[index], &shape[..kept]);
            let of: Vec<Option<&Look>> = tensors.iter().map(|_| grads.next().and_then(Option::as_ref)).collect();
            for (index, grad) in of.into_iter().enumerate() {
                let Some(grad) = grad else { continue };
                let given = read(self.along(grad, shape, kept));
                factors.push(match (reduction, index) {
                    (Reduction::Sum, _) => (given, expr.clone()),
                    (Reduction::LogSumExp, 1) => {
                        let [largest, rest] = [0, 1].map(|index| read(self.along(&own(index), shape, kept)));
                        (given * (expr.clone() - largest - rest).exp(), expr.clone())
                    }
                    // The largest element counts as a constant: what it takes from one part, it adds to the other.
                    (Reduction::LogSumExp, _) => continue,
                    (Reduction::Moments, 0) => (given / count, expr.clone()),
                    (Reduction::Moments, _) => {
                        let mean = read(self.along(&own(0), shape, kept));
                        (2.0 * given * (expr.clone() - mean), expr.clone())
                    }
                    // Places have no slope, and no value on a tape is a plain maximum.
                    (Reduction::Max | Reduction::FirstMax, _) => continue,
                });
            }
        }
        let slope = |input: usize| {
            let terms = factors.iter().map(|(factor, expr)| factor.clone() * expr.derivative(input));
            terms.fold(Expr::number(0.0), |sum, term| sum + term)
        };
        let slopes = self.slopes(inputs, slope);
        self.give(shape, inputs, looks, slopes);
    }

    /// Gives each input its gradient: an expression over looks along a shape, summed where the input is broadcast.
    fn give(&mut self, shape: &[usize], inputs: &[Look], looks: Vec<Look>, slopes: Vec<Option<Expr>>) {
        let mut wide: Vec<(Expr, Look)> = Vec::new();
        let broadcast = |look: &Look| (0..shape.len()).any(|d| look.strides[d] == 0 && shape[d] > 1);
        let order =
            (0..inputs.len()).filter(|&i| !broadcast(&inputs[i])).chain((0..inputs.len()).filter(|&i| broadcast(&inputs[i])));
        for index in order {
            let Some(slope) = &slopes[index] else { continue };
            let input = &inputs[index];
            // Dimensions of the input, as they lie in its tensor; then those that are summed over.
            let mut kept: Vec<usize> = (0..shape.len()).filter(|&d| input.strides[d] > 0 && shape[d] != 1).collect();
            kept.sort_by_key(|&d| std::cmp::Reverse(input.strides[d]));
            let summed: Vec<usize> = (0..shape.len()).filter(|&d| input.strides[d] == 0 && shape[d] != 1).collect();
            let order = [&kept[..], &summed].concat();
            let turned = |look: &Look| {
                let pick = |of: &[usize]| order.iter().map(|&d| of[d]).collect();
                Look { tensor: look.tensor, shape: pick(shape), strides: pick(&look.strides), offset: look.offset }
            };
            let sizes: Vec<usize> = order.iter().map(|&d| shape[d]).collect();
            let part = if summed.is_empty() {
                // A gradient that is passed on unchanged needs no operation.
                let same = slope.as_input().map(|index| turned(&looks[index])).filter(Look::is_contiguous);
                let part = same.unwrap_or_else(|| self.graph.map(&sizes, looks.iter().map(turned).collect(), slope.clone()));
                if kept.iter().is_sorted() {
                    wide.push((slope.clone(), part.clone()));
                }
                part
            } else {
                // If an input that is not broadcast has the same slope, its gradient is summed instead of computing the slope
                // again.
                let known =
                    wide.iter().find(|(known, part)| known.same(slope) && part.len() == shape.iter().product::<usize>());
                let (looks, slope) = match known.cloned() {
                    Some((_, part)) => {
                        self.graph.tensors[part.tensor].kept = true;
                        (vec![Look { shape: shape.to_vec(), strides: contiguous(shape), ..part }], Expr::input(0))
                    }
                    None => (looks.clone(), slope.clone()),
                };
                let looks = looks.iter().map(turned).collect();
                self.graph.fold(&sizes, kept.len(), looks, vec![(Reduction::Sum, slope)]).swap_remove(0)
            };
            let given = self.spread(part, input, &kept, shape);
            self.given.entry(input.tensor).or_default().push(given);
        }
    }

    /// The gradient of a tensor, or of a part of it. Between the rows of a part there is at most one kind of gap.
    fn spread(&mut self, part: Look, input: &Look, kept: &[usize], shape: &[usize]) -> Given {
        let len = self.graph.tensors[input.tensor].len;
        if part.len() == len {
            return Given::Whole(part);
        }
        // Dimensions that lie one after the other in memory are merged.
        let mut runs: Vec<[usize; 2]> = Vec::new();
        for &d in kept {
            let (size, stride) = (shape[d], input.strides[d]);
            match runs.last_mut() {
                Some(run) if run[1] == stride * size => *run = [run[0] * size, stride],
                _ => runs.push([size, stride]),
            }
        }
        let (rows, width, columns) = match runs[..] {
            [] => (1, 1, len),
            [[size, 1]] => (1, size, len),
            [[size, stride]] => (size, 1, stride),
            [[rows, columns], [width, 1]] => (rows, width, columns),
            _ => {
                self.graph.note(Error::shape("a part of a value", "one gap between its rows", format!("{runs:?}")));
                return Given::Whole(part);
            }
        };
        let flat = Look { shape: vec![rows, width], strides: vec![width, 1], ..part };
        Given::Part(flat, Region { rows, columns, first: input.offset, width })
    }

    /// Keeps a gradient in memory, for operations that can only read views.
    pub(super) fn whole(&mut self, grad: Look) -> Look {
        self.graph.tensors[grad.tensor].kept = true;
        grad
    }

    fn product(&mut self, a: Look, b: Look, sizes: Product, grad: Look) {
        let Product { batch, m, k, n, trans_a, trans_b } = sizes;
        let grad = self.whole(grad);
        if self.wanted(&a) {
            let (left, right, sizes) = match trans_a {
                false => (grad.clone(), b.clone(), Product { batch, m, k: n, n: k, trans_a: false, trans_b: !trans_b }),
                true => (b.clone(), grad.clone(), Product { batch, m: k, k: n, n: m, trans_a: trans_b, trans_b: true }),
            };
            let part = self.graph.product(left, right, sizes, &[a.len()]);
            self.give_flat(&a, part);
        }
        if self.wanted(&b) {
            // If the same matrix multiplies other rows too, one product makes the gradient of all.
            if batch == 1 && !trans_a && b.len() == self.graph.tensors[b.tensor].len {
                let given = Given::Factor(a, grad, sizes);
                return self.given.entry(b.tensor).or_default().push(given);
            }
            let part = self.graph.right_factor(a, grad, sizes, b.len());
            self.give_flat(&b, part);
        }
    }

    /// Gives an input its gradient. The input lies one element after the other, but may be a part of its tensor.
    pub(super) fn give_flat(&mut self, input: &Look, part: Look) {
        let len = input.len();
        let flat = Look { shape: vec![len], strides: vec![1], ..input.clone() };
        let given = self.spread(part, &flat, &[0], &[len]);
        self.given.entry(input.tensor).or_default().push(given);
    }
}

impl Graph {
    /// The gradient of the right factor of a product, from the left factor and the gradient of the product.
    fn right_factor(&mut self, a: Look, grad: Look, sizes: Product, len: usize) -> Look {
        let Product { batch, m, k, n, trans_a, trans_b } = sizes;
        let (left, right, sizes) = match trans_b {
            false => (a, grad, Product { batch, m: k, k: m, n, trans_a: !trans_a, trans_b: false }),
            true => (grad, a, Product { batch, m: n, k: m, n: k, trans_a: true, trans_b: trans_a }),
        };
        self.product(left, right, sizes, &[len])
    }

    /// The row of a table that gets no gradient.
    fn skips(&self, tensor: usize) -> Option<u32> {
        let Maker::Param(index) = self.tensors[tensor].maker else { return None };
        self.params[index].skip
    }
}
