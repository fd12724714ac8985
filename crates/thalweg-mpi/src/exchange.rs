//! From the sums of each rank to the sum of all, with the same bits on any number of ranks.
//!
//! All travels in pieces of the arena, each as soon as it is there.

use crate::error::Result;
use crate::flight::{Flight, Message, Tag};
use crate::world::{Datum, World};
use std::ops::{ControlFlow, Range};
use thalweg::Real;
use thalweg::plan::{ALIGN, Arena};
use thalweg::tree::{Joiner, Node, share};

/// Elements of a piece, at most: half a MiB of `f32`, so that a piece stays in the second cache from one copy to the next.
pub(crate) const PIECE: usize = 1 << 17;

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

/// A range in pieces of about the same length, as few as possible, so that vectors of one piece have room for any other.
pub(crate) fn pieces(range: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
    let (end, count) = (range.end, range.len().div_ceil(PIECE).max(1));
    let len = range.len().div_ceil(count).next_multiple_of(ALIGN).max(ALIGN);
    range.clone().step_by(len).map(move |start| start..end.min(start + len))
}

/// A piece of the sum of all ranks.
#[derive(Debug)]
pub(crate) struct Sum<F> {
    pub lane: usize,
    /// Its first element in the arena.
    pub start: usize,
    pub values: Vec<F>,
}

/// How the blocks of ranks become sums. In each step a rank first calls `begin`, then `give` with its own pieces, then `fill`,
/// and takes what `next` gives; `poll` again and again.
pub(crate) trait Reduction<F>: std::fmt::Debug {
    /// Begins a step of this many micro-batches.
    fn begin(&mut self, micro_batches: usize) -> Result<()>;

    /// The blocks of this rank, one after the other.
    fn blocks(&self) -> &[Node];

    /// The pieces of a block, in the order in which they are to be given, lane by lane.
    fn pieces(&self) -> &[Range<usize>];

    /// Takes the next piece of this rank's blocks, and sends it on its way.
    fn give(&mut self, values: &[F]) -> Result<()>;

    /// Sends anything in place of what was not given, as others wait for it: this rank has failed, and tells them so.
    fn fill(&mut self) -> Result<()>;

    /// Lets MPI get on; says whether anything has come.
    fn poll(&mut self) -> Result<bool>;

    /// A piece of the sum, if one is there.
    fn next(&mut self) -> Option<Sum<F>>;

    /// Takes back what [`Reduction::next`] gave, to use its memory again.
    fn take_back(&mut self, sum: Sum<F>);

    /// Whether all pieces of the sum were given out, and nothing is under way.
    fn is_over(&self) -> bool;

    /// Bytes of its buffers.
    fn bytes(&self) -> usize;
}

/// Vectors that are used again.
#[derive(Debug)]
pub(crate) struct Spare<F> {
    vectors: Vec<Vec<F>>,
    /// Elements of all that were made.
    made: usize,
}

impl<F: Real> Spare<F> {
    pub fn new() -> Self {
        Self { vectors: Vec::new(), made: 0 }
    }

    /// A vector of some length, with any values.
    pub fn any(&mut self, len: usize) -> Vec<F> {
        let mut values = self.taken(len);
        values.resize(len, F::of(0.0));
        values
    }

    /// A copy of values.
    pub fn copy_of(&mut self, from: &[F]) -> Vec<F> {
        let mut values = self.taken(from.len());
        values.clear();
        values.extend_from_slice(from);
        values
    }

    /// A vector with room for so many values.
    fn taken(&mut self, len: usize) -> Vec<F> {
        let mut values = self.vectors.pop().unwrap_or_default();
        if values.capacity() < len {
            self.made += len - values.capacity();
            values = Vec::with_capacity(len);
        }
        values
    }

    pub fn put(&mut self, values: Vec<F>) {
        self.vectors.push(values);
    }

    pub fn bytes(&self) -> usize {
        self.made * size_of::<F>()
    }
}

/// Adds up the blocks of all ranks, which are nodes of a tree over micro-batches; each rank gets the sum of the range of
/// elements that it owns.
///
/// It gets this range of all nodes from the other ranks and adds them in the order of the tree. MPI only copies, so it cannot
/// choose the order of a sum.
#[derive(Debug)]
pub(crate) struct Scatter<'w, F> {
    world: &'w World,
    rank: usize,
    lanes: usize,
    micro_batches: usize,
    /// By rank.
    ranges: Vec<Range<usize>>,
    nodes: Vec<Vec<Node>>,
    /// All pieces in the order in which this rank sends them: at any time it sends to all ranks.
    pieces: Vec<Range<usize>>,
    /// Those that it owns.
    own: Vec<Range<usize>>,
    /// Of each piece, who owns it, and its number among those of the owner.
    owners: Vec<(usize, usize)>,
    /// Pieces that this rank has given so far.
    given: usize,
    /// A node of the tree and the place of a piece among the sums of this rank, for what others send; nothing for what this
    /// rank sends.
    flight: Flight<'w, F, Option<(Node, usize)>>,
    /// By lane and piece.
    joining: Vec<Joining<F>>,
    /// Sums that were given out.
    out: usize,
    spare: Spare<F>,
}

/// A piece of the sum that is being made.
#[derive(Debug)]
struct Joining<F> {
    joiner: Joiner<Vec<F>>,
    /// Nodes that have not come.
    missing: usize,
}

impl<'w, F: Datum + Real> Scatter<'w, F> {
    /// For parameters laid out as `arena`, in some lanes.
    pub fn new(world: &'w World, arena: &Arena, lanes: usize) -> Self {
        let (rank, ranks, ranges) = (world.rank(), world.ranks(), ranges(arena, world.ranks()));
        let by_owner: Vec<Vec<Range<usize>>> = ranges.iter().map(|range| pieces(range).collect()).collect();
        let most = by_owner.iter().map(Vec::len).max().unwrap_or(0);
        // The next ranks first, itself last.
        let owners = (0..most).flat_map(|number| (1..=ranks).map(move |ahead| ((rank + ahead) % ranks, number)));
        let owners: Vec<(usize, usize)> = owners.filter(|&(owner, number)| number < by_owner[owner].len()).collect();
        let pieces = owners.iter().map(|&(owner, number)| by_owner[owner][number].clone()).collect();
        let own = by_owner[rank].clone();
        let (flight, spare) = (Flight::new(world, Tag::Blocks), Spare::new());
        Self {
            world,
            rank,
            lanes,
            micro_batches: 0,
            ranges,
            nodes: vec![Vec::new(); ranks],
            pieces,
            own,
            owners,
            given: 0,
            flight,
            joining: Vec::new(),
            out: 0,
            spare,
        }
    }

    /// Takes in a piece of a node.
    fn join(&mut self, node: Node, place: usize, values: Vec<F>) {
        let Joining { joiner, missing } = &mut self.joining[place];
        joiner.put(node, values, |left, right| {
            left.iter_mut().zip(&right).for_each(|(left, &right)| *left += right);
            self.spare.put(right);
        });
        *missing -= 1;
    }

    /// Sends a piece, or takes it in where this rank owns it.
    fn send(&mut self, values: Vec<F>) -> Result<()> {
        let (node, of_node) = (self.given / (self.lanes * self.pieces.len()), self.given % (self.lanes * self.pieces.len()));
        let (lane, (owner, number)) = (of_node / self.pieces.len(), self.owners[of_node % self.pieces.len()]);
        self.given += 1;
        if owner == self.rank {
            self.join(self.nodes[owner][node], lane * self.own.len() + number, values);
            return Ok(());
        }
        self.flight.send(None, values, std::iter::once(owner))
    }
}

impl<F: Datum + Real> Reduction<F> for Scatter<'_, F> {
    fn begin(&mut self, micro_batches: usize) -> Result<()> {
        let ranks = self.ranges.len();
        if self.micro_batches != micro_batches {
            self.micro_batches = micro_batches;
            self.nodes = (0..ranks).map(|rank| Node::of(share(micro_batches, ranks, rank))).collect();
        }
        (self.given, self.out) = (0, 0);
        let (own, missing) = (self.own.len(), self.nodes.iter().map(Vec::len).sum());
        self.joining.clear();
        self.joining.resize_with(self.lanes * own, || Joining { joiner: Joiner::new(micro_batches), missing });
        for rank in (0..ranks).filter(|&rank| rank != self.rank) {
            for node in self.nodes[rank].clone() {
                for place in 0..self.lanes * own {
                    let values = self.spare.any(self.own[place % own].len());
                    self.flight.receive(Some((node, place)), values, rank)?;
                }
            }
        }
        Ok(())
    }

    fn blocks(&self) -> &[Node] {
        &self.nodes[self.rank]
    }

    fn pieces(&self) -> &[Range<usize>] {
        &self.pieces
    }

    fn give(&mut self, values: &[F]) -> Result<()> {
        let values = self.spare.copy_of(values);
        self.send(values)
    }

    fn fill(&mut self) -> Result<()> {
        while self.given < self.nodes[self.rank].len() * self.lanes * self.pieces.len() {
            let len = self.pieces[self.given % self.pieces.len()].len();
            let values = self.spare.any(len);
            self.send(values)?;
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<bool> {
        let moved = self.flight.poll()?;
        while let Some(message) = self.flight.arrived() {
            match message.key {
                Some((node, place)) => self.join(node, place, message.values),
                None => self.spare.put(message.values),
            }
        }
        Ok(moved)
    }

    /// Pieces come in their order, so that all ranks agree about the order of messages with them.
    fn next(&mut self) -> Option<Sum<F>> {
        let joining = self.joining.get_mut(self.out).filter(|joining| joining.missing == 0)?;
        let values = std::mem::replace(&mut joining.joiner, Joiner::new(0)).sum()?;
        let (lane, number) = (self.out / self.own.len(), self.out % self.own.len());
        self.out += 1;
        Some(Sum { lane, start: self.own[number].start, values })
    }

    fn take_back(&mut self, sum: Sum<F>) {
        self.spare.put(sum.values);
    }

    fn is_over(&self) -> bool {
        self.flight.is_over() && self.out == self.joining.len()
    }

    fn bytes(&self) -> usize {
        self.spare.bytes()
    }
}

/// Adds up the blocks of all ranks; every rank gets the total, as each sends the sum of the range that it owns to all.
#[derive(Debug)]
pub struct Exchange<'w, F> {
    scatter: Scatter<'w, F>,
    /// The lane and the first element of each piece.
    sums: Flight<'w, F, (usize, usize)>,
    /// Pieces of the total that were not given out.
    missing: usize,
}

impl<'w, F: Datum + Real> Exchange<'w, F> {
    /// For parameters of one lane, laid out as `arena`.
    pub fn new(world: &'w World, arena: &Arena) -> Self {
        Self::of_lanes(world, arena, 1)
    }

    pub(crate) fn of_lanes(world: &'w World, arena: &Arena, lanes: usize) -> Self {
        Self { scatter: Scatter::new(world, arena, lanes), sums: Flight::new(world, Tag::Sums), missing: 0 }
    }

    /// The sum of a step whose blocks all have the values `own`, for measurements. `work` is called for each
    /// micro-batch of this rank; blocks before it are on their way.
    ///
    /// # Errors
    /// [`Error::NoAnswer`](crate::Error::NoAnswer), or a call of MPI that failed.
    pub fn sum(&mut self, micro_batches: usize, own: &[F], total: &mut [F], work: impl FnMut(usize)) -> Result<()> {
        sum(self.scatter.world, self, micro_batches, (own, total), work)
    }
}

/// As [`Exchange::sum`].
pub(crate) fn sum<F: Datum + Real>(
    world: &World,
    reduction: &mut impl Reduction<F>,
    micro_batches: usize,
    (own, total): (&[F], &mut [F]),
    mut work: impl FnMut(usize),
) -> Result<()> {
    reduction.begin(micro_batches)?;
    for block in reduction.blocks().to_vec() {
        for number in block.micro_batches() {
            work(number);
            reduction.poll()?;
        }
        for piece in reduction.pieces().to_vec() {
            reduction.give(&own[piece])?;
            reduction.poll()?;
        }
    }
    reduction.fill()?;
    world.until("the sum of gradients", || {
        let moved = reduction.poll()?;
        while let Some(sum) = reduction.next() {
            total[sum.start..][..sum.values.len()].copy_from_slice(&sum.values);
            reduction.take_back(sum);
        }
        Ok(if reduction.is_over() { ControlFlow::Break(()) } else { ControlFlow::Continue(moved) })
    })
}

impl<F: Datum + Real> Reduction<F> for Exchange<'_, F> {
    fn begin(&mut self, micro_batches: usize) -> Result<()> {
        self.missing = self.scatter.lanes * self.scatter.pieces.len();
        self.scatter.begin(micro_batches)
    }

    fn blocks(&self) -> &[Node] {
        self.scatter.blocks()
    }

    fn pieces(&self) -> &[Range<usize>] {
        self.scatter.pieces()
    }

    fn give(&mut self, values: &[F]) -> Result<()> {
        self.scatter.give(values)
    }

    /// No sum can come before others have all of this rank's blocks, so until now there is no memory for sums.
    fn fill(&mut self) -> Result<()> {
        self.scatter.fill()?;
        let Self { scatter, sums, .. } = self;
        for rank in (0..scatter.ranges.len()).filter(|&rank| rank != scatter.rank) {
            for lane in 0..scatter.lanes {
                for piece in pieces(&scatter.ranges[rank]) {
                    sums.receive((lane, piece.start), scatter.spare.any(piece.len()), rank)?;
                }
            }
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<bool> {
        let moved = self.scatter.poll()? | self.sums.poll()?;
        let (rank, ranks) = (self.scatter.rank, self.scatter.ranges.len());
        while let Some(Sum { lane, start, values }) = self.scatter.next() {
            self.sums.send((lane, start), values, (1..ranks).map(|ahead| (rank + ahead) % ranks))?;
        }
        Ok(moved)
    }

    fn next(&mut self) -> Option<Sum<F>> {
        let Message { key: (lane, start), values, .. } = self.sums.arrived()?;
        self.missing -= 1;
        Some(Sum { lane, start, values })
    }

    fn take_back(&mut self, sum: Sum<F>) {
        self.scatter.take_back(sum);
    }

    fn is_over(&self) -> bool {
        self.missing == 0 && self.sums.is_over() && self.scatter.is_over()
    }

    fn bytes(&self) -> usize {
        self.scatter.bytes()
    }
}
