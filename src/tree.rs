//! Sums in a binary tree over the numbers of micro-batches, shared by several machines (*ranks*).
//!
//! Micro-batches 0 to B − 1 are the leaves. A node of level ℓ is the sum of 2^ℓ neighbours, the first of which is a multiple of
//! 2^ℓ; it is its left half plus its right half. Where B is no power of two, a half that has no micro-batches is left out. So
//! the sum of all depends on the gradients and on B, and not on who computes which of them: any number of ranks comes to the
//! same bits.
//!
//! A rank takes neighbouring micro-batches ([`share`]), and adds up what it can by itself: the nodes of [`Node::of`]. Whoever
//! has the nodes of all ranks joins them ([`Joiner`]). [`Exchange`] tells what that costs.
//!
//! # Examples
//!
//! Three ranks share 8 micro-batches:
//!
//! ```
//! use thalweg::tree::{Joiner, Node, share};
//!
//! let gradients = [1e8_f32, 1.0, -1e8, 1.0, 3.0, 1e-3, 0.5, -2.0];
//! let mut joiner = Joiner::new(8);
//! for rank in 0..3 {
//!     for node in Node::of(share(8, 3, rank)) {
//!         let own = &gradients[node.micro_batches()];
//!         // Of one, two or four neighbours.
//!         let sum = match own {
//!             [a] => *a,
//!             [a, b] => a + b,
//!             own => (own[0] + own[1]) + (own[2] + own[3]),
//!         };
//!         joiner.put(node, sum, |left, right| *left += right);
//!     }
//! }
//! let [a, b, c, d, e, f, g, h] = gradients;
//! assert_eq!(joiner.sum(), Some(((a + b) + (c + d)) + ((e + f) + (g + h))));
//! ```

use std::ops::Range;

/// A node of the tree that has all its leaves: the sum of 2^`level` neighbouring micro-batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// Joins between it and its micro-batches.
    pub level: u32,
    /// Its place among the nodes of its level.
    pub index: usize,
}

impl Node {
    /// The nodes that consist of these micro-batches alone, in their order: the largest possible ones, so that they are as few
    /// as possible. At most two are of the same level.
    pub fn of(micro_batches: Range<usize>) -> Vec<Self> {
        let Range { mut start, end } = micro_batches;
        let mut nodes = Vec::new();
        while start < end {
            // The largest block that starts here, and ends in time.
            let level = start.trailing_zeros().min((end - start).ilog2());
            nodes.push(Self { level, index: start >> level });
            start += 1 << level;
        }
        nodes
    }

    /// Its micro-batches.
    pub fn micro_batches(self) -> Range<usize> {
        self.index << self.level..(self.index + 1) << self.level
    }
}

/// The micro-batches of a rank: neighbours, shared out as evenly as possible, beginning with rank 0. If there are more ranks
/// than micro-batches, some ranks have none.
pub fn share(micro_batches: usize, ranks: usize, rank: usize) -> Range<usize> {
    let bound = |rank: usize| (micro_batches as u128 * rank as u128 / ranks.max(1) as u128) as usize;
    bound(rank)..bound(rank + 1)
}

/// Joins the nodes of a tree to the sum of all its micro-batches.
#[derive(Debug, Clone)]
pub struct Joiner<V> {
    micro_batches: usize,
    /// Nodes that wait for their neighbours, in the order of their micro-batches; nodes at the end may lack some of their
    /// leaves.
    waiting: Vec<(Node, V)>,
}

impl<V> Joiner<V> {
    /// For a tree of this many micro-batches.
    pub fn new(micro_batches: usize) -> Self {
        Self { micro_batches, waiting: Vec::new() }
    }

    /// Takes in a node, and makes all joins that are possible by now: `join` adds the right half to the left one. Nodes may
    /// come in any order.
    pub fn put(&mut self, node: Node, value: V, mut join: impl FnMut(&mut V, V)) {
        let at = self.waiting.partition_point(|(known, _)| known.micro_batches().start < node.micro_batches().start);
        self.waiting.insert(at, (node, value));
        let mut at = self.grown(at);
        while let Some(left) = self.pair(at) {
            let (_, right) = self.waiting.remove(left + 1);
            let (node, value) = &mut self.waiting[left];
            join(value, right);
            *node = Node { level: node.level + 1, index: node.index / 2 };
            at = self.grown(left);
        }
    }

    /// The sum, once all nodes are there.
    pub fn sum(self) -> Option<V> {
        let root = |node: Node| node.micro_batches().start == 0 && node.micro_batches().end >= self.micro_batches;
        match <[(Node, V); 1]>::try_from(self.waiting) {
            Ok([(node, value)]) if root(node) => Some(value),
            _ => None,
        }
    }

    /// Raises the last node of all to higher levels while its right neighbour would have no micro-batches.
    fn grown(&mut self, at: usize) -> usize {
        let node = &mut self.waiting[at].0;
        while node.index > 0 && node.index.is_multiple_of(2) && node.micro_batches().end >= self.micro_batches {
            *node = Node { level: node.level + 1, index: node.index / 2 };
        }
        at
    }

    /// The left of two neighbours that are the halves of a node, if the one at a place is one of them.
    fn pair(&self, at: usize) -> Option<usize> {
        let halves = |left: usize| {
            let (a, b) = (self.waiting.get(left)?.0, self.waiting.get(left + 1)?.0);
            (a.level == b.level && a.index.is_multiple_of(2) && b.index == a.index + 1).then_some(left)
        };
        halves(at).or_else(|| halves(at.checked_sub(1)?))
    }
}

/// What it costs to exchange a step's gradients so that bits do not depend on the number of ranks, and what an all-reduce in a
/// ring costs.
///
/// The arena has as many parts as there are ranks, and each rank owns one. A rank sends to every other rank that rank's part of
/// its own nodes, joins what it gets for its own part, and sends the sum to all. MPI only copies, so it never chooses an order
/// of addition.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Exchange {
    /// Nodes of all ranks.
    pub nodes: usize,
    /// Nodes of the rank that has most of them.
    pub most_nodes: usize,
    /// Joins on the way from a micro-batch to the sum, at most.
    pub depth: u32,
    /// Floats that the busiest rank sends, as a multiple of the number of parameters.
    pub volume: f64,
    /// Messages that the busiest rank sends, where no part is longer than a piece. Numbers of micro-batches, and what these
    /// leave beside gradients, are up to 2 · (ranks − 1) short ones more.
    pub messages: usize,
    /// Floats that a rank of a ring sends, as a multiple of the number of parameters: 2 · (ranks − 1) / ranks.
    pub ring: f64,
}

impl Exchange {
    /// The costs for this many micro-batches on this many ranks.
    pub fn new(micro_batches: usize, ranks: usize) -> Self {
        let ranks = ranks.max(1);
        let nodes: Vec<usize> = (0..ranks).map(|rank| Node::of(share(micro_batches, ranks, rank)).len()).collect();
        let most_nodes = nodes.iter().copied().max().unwrap_or(0);
        let others = (ranks - 1) as f64 / ranks as f64;
        Self {
            nodes: nodes.iter().sum(),
            most_nodes,
            depth: micro_batches.max(1).next_power_of_two().ilog2(),
            volume: (most_nodes + 1) as f64 * others,
            messages: (most_nodes + 1) * (ranks - 1),
            ring: 2.0 * others,
        }
    }

    /// Seconds that it takes, at least: `latency` for each message, and `volume` through a link of this many bytes per second,
    /// for `parameters` of `bytes` each. Joins are not counted: they add `nodes / ranks` passes over the parameters' own part.
    pub fn seconds(&self, parameters: usize, bytes: usize, latency: f64, bandwidth: f64) -> f64 {
        self.messages as f64 * latency + self.volume * (parameters * bytes) as f64 / bandwidth
    }
}
