//! From the sums of each rank to the sum of all, with the same bits on any number of ranks.

use crate::error::Result;
use crate::world::{Datum, World};
use std::ops::Range;
use thalweg::Real;
use thalweg::plan::Arena;
use thalweg::tree::{Joiner, Node, share};

/// The elements of an arena that each rank owns: whole chunks, divided as evenly as possible.
pub fn ranges(arena: &Arena, ranks: usize) -> Vec<Range<usize>> {
    let mut cuts: Vec<usize> = arena.chunks().iter().map(|chunk| chunk.start).collect();
    cuts.sort_unstable();
    let bound = |rank: usize| {
        let even = share(arena.len(), ranks, rank).start;
        let next = cuts.partition_point(|&cut| cut < even);
        if rank == 0 { 0 } else { cuts.get(next).copied().unwrap_or(arena.len()) }
    };
    let mut bounds: Vec<usize> = (0..ranks).map(bound).collect();
    bounds.push(arena.len());
    bounds.windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// Adds up the sums of all ranks, which are nodes of a tree over micro-batches; every rank gets the total.
///
/// Each rank owns a range of the elements. It gets this range of all nodes from the other ranks, adds them in the order of the
/// tree, and sends the sum to all ranks. MPI only copies, so it cannot choose the order of a sum.
#[derive(Debug)]
pub struct Exchange<F> {
    micro_batches: usize,
    rank: usize,
    /// By rank.
    ranges: Vec<Range<usize>>,
    nodes: Vec<Vec<Node>>,
    send: Vec<F>,
    taken: Vec<F>,
    mine: Vec<F>,
}

impl<F: Datum + Real> Exchange<F> {
    /// For parameters laid out as `arena`.
    pub fn new(world: &World, arena: &Arena, micro_batches: usize) -> Self {
        let (rank, ranges) = (world.rank(), ranges(arena, world.ranks()));
        let mine = vec![F::of(0.0); ranges[rank].len()];
        let (send, taken, nodes) = (Vec::new(), Vec::new(), Vec::new());
        let mut exchange = Self { micro_batches: 0, rank, ranges, nodes, send, taken, mine };
        exchange.share_out(micro_batches);
        exchange
    }

    /// Shares out another number of micro-batches from now on.
    pub fn share_out(&mut self, micro_batches: usize) {
        if micro_batches == self.micro_batches {
            return;
        }
        let ranks = self.ranges.len();
        self.micro_batches = micro_batches;
        self.nodes = (0..ranks).map(|rank| Node::of(share(micro_batches, ranks, rank))).collect();
        let len = self.ranges.last().map_or(0, |range| range.end);
        self.send.resize(self.nodes[self.rank].len() * len, F::of(0.0));
        self.taken.resize(self.nodes.iter().map(Vec::len).sum::<usize>() * self.mine.len(), F::of(0.0));
    }

    /// The nodes of a rank.
    pub fn nodes(&self, rank: usize) -> &[Node] {
        &self.nodes[rank]
    }

    /// The elements that each rank owns.
    pub fn ranges(&self) -> &[Range<usize>] {
        &self.ranges
    }

    /// Bytes of this rank's buffers for the exchange.
    pub fn bytes(&self) -> usize {
        (self.send.len() + self.taken.len() + self.mine.len()) * size_of::<F>()
    }

    /// The sum of all ranks' nodes. `own` are the nodes of this rank, in the order of [`Exchange::nodes`].
    ///
    /// # Errors
    /// [`Error::NoAnswer`](crate::Error::NoAnswer), or a call of MPI that failed.
    pub fn sum<'a>(&mut self, world: &World, own: impl Iterator<Item = &'a [F]> + Clone, total: &mut Vec<F>) -> Result<()>
    where
        F: 'a,
    {
        self.scatter(world, own)?;
        let counts: Vec<usize> = self.ranges.iter().map(Range::len).collect();
        world.gather_all("the sum of gradients", &mut self.mine, total, &counts)
    }

    /// The sum of the range that this rank owns.
    ///
    /// # Errors
    /// As for [`Exchange::sum`].
    pub fn scatter<'a>(&mut self, world: &World, own: impl Iterator<Item = &'a [F]> + Clone) -> Result<&[F]>
    where
        F: 'a,
    {
        let nodes = self.nodes[world.rank()].len();
        let mut at = 0;
        for range in &self.ranges {
            for node in own.clone() {
                self.send[at..at + range.len()].copy_from_slice(&node[range.clone()]);
                at += range.len();
            }
        }
        let len = self.ranges[world.rank()].len();
        let to: Vec<usize> = self.ranges.iter().map(|range| nodes * range.len()).collect();
        let from: Vec<usize> = self.nodes.iter().map(|nodes| nodes.len() * len).collect();
        world.send_to_all("gradients", (&mut self.send, &to), (&mut self.taken, &from))?;
        let mut joiner = Joiner::new(self.micro_batches);
        for (at, &node) in self.nodes.iter().flatten().enumerate() {
            joiner.put(node, at * len, |left, right| add(&mut self.taken, *left, right, len));
        }
        let sum = joiner.sum().unwrap_or(0);
        self.mine.copy_from_slice(&self.taken[sum..sum + len]);
        Ok(&self.mine)
    }
}

/// Adds the values from place `right` on to those from place `left` on; `left` is before `right`.
fn add<F: Real>(values: &mut [F], left: usize, right: usize, len: usize) {
    let (before, behind) = values.split_at_mut(right);
    before[left..left + len].iter_mut().zip(&behind[..len]).for_each(|(left, &right)| *left += right);
}
