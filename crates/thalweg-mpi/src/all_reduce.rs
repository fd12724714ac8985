//! From the sums of each rank to the sum of all, by MPI.

use crate::error::Result;
use crate::exchange::{Reduction, Spare, Sum, pieces, sum};
use crate::flight::{Flight, Message, Tag};
use crate::world::{Datum, World};
use std::ops::Range;
use thalweg::Real;
use thalweg::tree::{Node, share};

/// Adds up the blocks of all ranks by MPI's all-reduce, piece by piece, in an order that MPI chooses. A rank adds its own
/// blocks before, so each byte travels once; a piece is on its way while the next one of the last block is read.
#[derive(Debug)]
pub struct AllReduce<'w, F> {
    world: &'w World,
    lanes: usize,
    nodes: Vec<Node>,
    pieces: Vec<Range<usize>>,
    /// This rank's sums, by lane and piece, until they are on their way.
    own: Vec<Vec<F>>,
    /// Pieces that this rank has given, and those that are on their way or back.
    given: usize,
    sent: usize,
    /// The lane and the first element of each piece.
    flight: Flight<'w, F, (usize, usize)>,
    /// Pieces of the total that were not given out.
    missing: usize,
    spare: Spare<F>,
}

impl<'w, F: Datum + Real> AllReduce<'w, F> {
    /// For an arena of so many elements, in one lane.
    pub fn new(world: &'w World, len: usize) -> Self {
        Self::of_lanes(world, len, 1)
    }

    pub(crate) fn of_lanes(world: &'w World, len: usize, lanes: usize) -> Self {
        let (pieces, own, nodes) = (pieces(&(0..len)).collect(), Vec::new(), Vec::new());
        let (flight, spare) = (Flight::new(world, Tag::AllReduces), Spare::new());
        Self { world, lanes, nodes, pieces, own, given: 0, sent: 0, flight, missing: 0, spare }
    }

    /// As [`Exchange::sum`](crate::Exchange::sum).
    ///
    /// # Errors
    /// As there.
    pub fn sum(&mut self, micro_batches: usize, own: &[F], total: &mut [F], work: impl FnMut(usize)) -> Result<()> {
        sum(self.world, self, micro_batches, (own, total), work)
    }

    fn send(&mut self, values: Vec<F>) -> Result<()> {
        let (lane, number) = (self.sent / self.pieces.len(), self.sent % self.pieces.len());
        let sums = self.spare.any(values.len());
        self.sent += 1;
        self.flight.add((lane, self.pieces[number].start), values, sums)
    }
}

impl<F: Datum + Real> Reduction<F> for AllReduce<'_, F> {
    fn begin(&mut self, micro_batches: usize) -> Result<()> {
        self.nodes = Node::of(share(micro_batches, self.world.ranks(), self.world.rank()));
        (self.given, self.sent, self.missing) = (0, 0, self.lanes * self.pieces.len());
        self.own.resize_with(self.missing, Vec::new);
        Ok(())
    }

    fn blocks(&self) -> &[Node] {
        &self.nodes
    }

    fn pieces(&self) -> &[Range<usize>] {
        &self.pieces
    }

    fn give(&mut self, values: &[F]) -> Result<()> {
        let (node, place) = (self.given / self.own.len(), self.given % self.own.len());
        self.given += 1;
        let mut own = match node {
            0 => self.spare.copy_of(values),
            _ => std::mem::take(&mut self.own[place]),
        };
        if node > 0 {
            own.iter_mut().zip(values).for_each(|(own, &value)| *own += value);
        }
        if node + 1 == self.nodes.len() {
            return self.send(own);
        }
        self.own[place] = own;
        Ok(())
    }

    /// A rank without blocks adds zeros.
    fn fill(&mut self) -> Result<()> {
        while self.sent < self.own.len() {
            let mut zeros = self.spare.any(self.pieces[self.sent % self.pieces.len()].len());
            zeros.fill(F::of(0.0));
            self.send(zeros)?;
        }
        Ok(())
    }

    fn poll(&mut self) -> Result<bool> {
        self.flight.poll()
    }

    fn next(&mut self) -> Option<Sum<F>> {
        let Message { key: (lane, start), values, read, .. } = self.flight.arrived()?;
        self.spare.put(read);
        self.missing -= 1;
        Some(Sum { lane, start, values })
    }

    fn take_back(&mut self, sum: Sum<F>) {
        self.spare.put(sum.values);
    }

    fn is_over(&self) -> bool {
        self.missing == 0 && self.flight.is_over()
    }

    fn bytes(&self) -> usize {
        self.spare.bytes()
    }
}
