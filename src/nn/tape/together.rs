//! Reductions that read the same become one operation, which reads it once.

use super::graph::{Graph, LOOKS, Maker, Node, Said};
use super::look::Look;
use crate::op::{Expr, Reduction};

/// Views of a kernel at most, where one more is left for scratch memory.
const VIEWS: usize = 7;
/// Reductions of an operation at most: so many trees of parts take no memory of their own.
const REDUCTIONS: usize = 4;

/// What is known of a fold.
struct Parts<'a> {
    shape: &'a [usize],
    kept: usize,
    inputs: &'a [Look],
    outputs: &'a [(Reduction, Expr, Vec<usize>)],
}

impl Graph {
    /// Joins each fold of these nodes with the first one of them that reads the same tensor in the same way, if all of its
    /// inputs are there by then.
    pub(super) fn join_folds(&mut self, of: &[bool]) {
        for later in (0..self.nodes.len()).filter(|&later| of[later]) {
            let earlier = (0..later).find(|&earlier| of[earlier] && self.joins(earlier, later));
            if let Some(earlier) = earlier {
                self.join(earlier, later);
            }
        }
    }

    fn fold_at(&self, node: usize) -> Option<Parts<'_>> {
        match &self.nodes[node] {
            Node::Fold { shape, kept, inputs, outputs, .. } => Some(Parts { shape, kept: *kept, inputs, outputs }),
            _ => None,
        }
    }

    fn joins(&self, earlier: usize, later: usize) -> bool {
        let (Some(first), Some(second)) = (self.fold_at(earlier), self.fold_at(later)) else { return false };
        if first.shape != second.shape || first.kept != second.kept {
            return false;
        }
        // Rows that lie side by side are summed in a way of their own, which is worth more than one reading less.
        let inner = (first.kept..first.shape.len()).rev().find(|&d| first.shape[d] > 1);
        let in_line = |look: &&Look| inner.is_some_and(|inner| look.strides[inner] == 1);
        let shared = first.inputs.iter().filter(in_line).any(|look| second.inputs.contains(look));
        let is_there = |look: &Look| !matches!(self.tensors[look.tensor].maker, Maker::Node(node, _) if node >= earlier);
        shared && second.inputs.iter().all(is_there) && self.fits(&first, &second)
    }

    /// Whether one kernel can have the views and sizes of both.
    fn fits(&self, first: &Parts, second: &Parts) -> bool {
        let mut looks = first.inputs.to_vec();
        looks.extend(second.inputs.iter().filter(|look| !first.inputs.contains(look)).cloned());
        let mut tensors: Vec<usize> = looks.iter().filter(|look| self.is_read(look)).map(|look| look.tensor).collect();
        tensors.sort_unstable();
        tensors.dedup();
        let written: usize = [first, second].iter().flat_map(|fold| fold.outputs).map(|(.., tensors)| tensors.len()).sum();
        let reductions = first.outputs.len() + second.outputs.len();
        looks.len() <= LOOKS && tensors.len() + written <= VIEWS && reductions <= REDUCTIONS
    }

    /// Moves what the later fold gives to the earlier one, and leaves nothing to be done in its place.
    fn join(&mut self, earlier: usize, later: usize) {
        let nothing = Node::Fold {
            shape: Vec::new(),
            kept: 0,
            inputs: Vec::new(),
            outputs: Vec::new(),
            said: Said { inputs: Vec::new(), exprs: Vec::new() },
        };
        let Node::Fold { inputs: more, outputs: moved, .. } = std::mem::replace(&mut self.nodes[later], nothing) else {
            return;
        };
        let Node::Fold { inputs, outputs, .. } = &mut self.nodes[earlier] else { return };
        let place = |look: Look| {
            let found = inputs.iter().position(|known| *known == look);
            Expr::input(found.unwrap_or_else(|| {
                inputs.push(look);
                inputs.len() - 1
            }))
        };
        let places: Vec<Expr> = more.into_iter().map(place).collect();
        outputs.extend(moved.into_iter().map(|(reduction, expr, tensors)| (reduction, expr.substituted(&places), tensors)));
        for (index, &tensor) in outputs.iter().flat_map(|(.., tensors)| tensors).enumerate() {
            self.tensors[tensor].maker = Maker::Node(earlier, index);
        }
    }
}
