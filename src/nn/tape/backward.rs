//! Gradients: nodes are gone through from the last to the first, and each passes on what it gets.

use super::graph::{Graph, Look, Maker, Node, Product, READS, Said, contiguous};
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

    /// The gradient by a parameter or by a watched input; nothing where the loss does not depend on it.
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
    /// What each tensor got so far, each as many elements as it has.
    given: BTreeMap<usize, Vec<Look>>,
}

impl Backward<'_> {
    fn run(mut self, loss: usize) {
        if !self.graph.tensors[loss].trained {
            return;
        }
        let one = self.graph.map(&[1], Vec::new(), 1.0.into());
        self.given.insert(loss, vec![one]);
        // What is given to a tensor is complete when its own node is reached: those that read it come later.
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

    /// The sum of what a tensor got.
    fn total(&mut self, tensor: usize) -> Option<Look> {
        let mut given = self.given.remove(&tensor)?;
        while given.len() > 1 {
            let some: Vec<Look> = given.drain(..given.len().min(READS - 1)).collect();
            // In the shape of the first, if all have it: so they can be computed together.
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

    pub(super) fn wanted(&self, look: &Look) -> bool {
        self.graph.tensors[look.tensor].trained
    }

    fn pass_on(&mut self, node: Node, grads: &[Option<Look>]) {
        match node {
            Node::Map { shape, said: Said { inputs, exprs }, .. } => {
                let Some(grad) = &grads[0] else { return };
                let of = Expr::input(inputs.len());
                let looks = [&inputs[..], &[self.along(grad, &shape, shape.len())]].concat();
                let slopes = self.slopes(&inputs, |input| of.clone() * exprs[0].derivative(input));
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
                    self.given.entry(table.tensor).or_default().push(given);
                }
            }
            Node::Scatter { .. } => {}
            Node::Image { op, inputs, outputs } => {
                if let Some(grad) = &grads[0] {
                    self.image(op, &inputs, &outputs, grad.clone());
                }
            }
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

    /// A gradient that lies as the first dimensions of a shape do, broadcast along the others.
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
        // The factor of each output's own slope.
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
                    // The largest is a number like any other, as what it takes from one part it gives to the other.
                    (Reduction::LogSumExp, _) => continue,
                    (Reduction::Moments, 0) => (given / count, expr.clone()),
                    (Reduction::Moments, _) => {
                        let mean = read(self.along(&own(0), shape, kept));
                        (2.0 * given * (expr.clone() - mean), expr.clone())
                    }
                    // Places have no slope; that of a largest value is not asked for.
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
                // A gradient that is passed on as it is needs no operation.
                let same = slope.as_input().map(|index| turned(&looks[index])).filter(Look::is_contiguous);
                let part = same.unwrap_or_else(|| self.graph.map(&sizes, looks.iter().map(turned).collect(), slope.clone()));
                if kept.iter().is_sorted() {
                    wide.push((slope.clone(), part.clone()));
                }
                part
            } else {
                // The same slope as that of an input that was not summed is there already.
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
            let part = self.spread(part, input, &kept, shape);
            self.given.entry(input.tensor).or_default().push(part);
        }
    }

    /// The gradient of a part of a tensor as that of all of it: 0 elsewhere. A part has one gap at most.
    fn spread(&mut self, part: Look, input: &Look, kept: &[usize], shape: &[usize]) -> Look {
        let len = self.graph.tensors[input.tensor].len;
        if part.len() == len {
            return part;
        }
        // Dimensions that lie one after the other are one.
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
                return part;
            }
        };
        let flat = Look { shape: vec![rows, width], strides: vec![width, 1], ..part };
        self.graph.beside(vec![(flat, input.offset, width)], rows, columns, &[len])
    }

    /// A gradient in memory, to be read by what reads views alone.
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
            self.factor(&a, left, right, sizes);
        }
        if self.wanted(&b) {
            let (left, right, sizes) = match trans_b {
                false => (a, grad, Product { batch, m: k, k: m, n, trans_a: !trans_a, trans_b: false }),
                true => (grad, a, Product { batch, m: n, k: m, n: k, trans_a: true, trans_b: trans_a }),
            };
            self.factor(&b, left, right, sizes);
        }
    }

    /// The gradient of a factor, which lies one element after the other, but may be a part of its tensor.
    fn factor(&mut self, factor: &Look, left: Look, right: Look, sizes: Product) {
        let part = self.graph.product(left, right, sizes, &[factor.len()]);
        self.give_flat(factor, part);
    }

    /// Gives an input its gradient. The input lies one element after the other, but may be a part of its tensor.
    pub(super) fn give_flat(&mut self, input: &Look, part: Look) {
        let len = input.len();
        let flat = Look { shape: vec![len], strides: vec![1], ..input.clone() };
        let part = self.spread(part, &flat, &[0], &[len]);
        self.given.entry(input.tensor).or_default().push(part);
    }
}

impl Graph {
    /// The row of a table that gets no gradient.
    fn skips(&self, tensor: usize) -> Option<u32> {
        let Maker::Param(index) = self.tensors[tensor].maker else { return None };
        self.params[index].skip
    }
}
