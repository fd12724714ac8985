//! What one launch of an arena's kernel covers and binds: a segment, or a bucket of slices.

use super::borrowed::Role;
use super::bucket::Bucket;
use super::launch::Bound;
use super::memory::{Memory, Segment};
use crate::error::{Error, Result};
use crate::plan::{ALIGN, BufferId};

/// Bits of a place's third word for the elements of a block, 64 at most; those above are for where it is.
const PLACE_BITS: u32 = 7;

/// A range of a lane's arena that one launch covers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub start: usize,
    pub len: usize,
    pub lane: usize,
    pub lanes: usize,
    /// Of the segments, or of the buckets.
    pub index: usize,
}

impl Extent {
    /// The parts of an arena's buffer: its segments, or the buckets of its slices.
    pub(super) fn all(id: BufferId, memory: &Memory) -> Vec<Self> {
        let own = |(index, segment): (usize, &Segment)| {
            let &Segment { lane, lanes, start, len, .. } = segment;
            Extent { start, len, lane, lanes, index }
        };
        let borrowed =
            |(index, b): (usize, &Bucket)| Extent { start: b.start, len: b.len, lane: b.lane, lanes: b.lanes, index };
        match memory.role(id) {
            Some(_) => memory.buckets().iter().enumerate().map(borrowed).collect(),
            None => memory.get(id).segments.iter().enumerate().map(own).collect(),
        }
    }

    /// The segment of an arena of this crate that holds this part.
    pub(super) fn segment(self, id: BufferId, memory: &Memory) -> Result<&Segment> {
        let holds =
            |s: &&Segment| (s.lane..s.lane + s.lanes).contains(&self.lane) && (s.start..s.start + s.len).contains(&self.start);
        memory.get(id).segments.iter().find(holds).ok_or_else(|| Error::Empty { what: memory.get(id).name.clone() })
    }

    /// Whether parameters and gradients are reached through one binding.
    pub(super) fn joined(self, memory: &Memory) -> bool {
        memory.buckets().get(self.index).is_some_and(|bucket| bucket.joined)
    }

    /// What is bound for a buffer: the bucket's window, or the segment.
    pub(super) fn bound(self, id: BufferId, memory: &Memory) -> Result<Bound<'_>> {
        match memory.role(id) {
            Some(role) => Ok(Bound::Window(memory.buckets()[self.index].window(role))),
            None => Ok(Bound::from(&self.segment(id, memory)?.buffer)),
        }
    }

    /// The places in slices of those of this part's blocks that have a tag. Where some have none, with each block's place in
    /// the part. Behind them, each block's place in the order of sums, if there is a list of these.
    pub(super) fn places(self, memory: &Memory, tags: &[Option<u32>], some: bool, order: Option<&[u32]>) -> Bound<'static> {
        let (first, blocks) = (self.start / ALIGN, self.len / ALIGN);
        let places = memory.buckets()[self.index].places.iter().enumerate();
        let words = places.filter_map(|(index, &[params, grads, len])| {
            let at = if some { (index as u32) << PLACE_BITS } else { 0 };
            tags[first + index % blocks].map(|tag| [params, grads, len | at, tag])
        });
        let tagged = (0..memory.buckets()[self.index].places.len()).map(|index| first + index % blocks);
        let tagged = tagged.filter(|&block| tags[block].is_some());
        let order = order.into_iter().flat_map(|order| tagged.clone().map(|block| [order[block], 0, 0, 0]));
        Bound::Words(words.chain(order).flatten().collect())
    }

    /// The places of this part's blocks in the slices of one role, without tags, if the buffer stands for slices: for kernels
    /// that read only gradients.
    pub(super) fn places_of(self, id: BufferId, memory: &Memory) -> Option<Bound<'static>> {
        let role = memory.role(id)?;
        let place = |&[params, grads, len]: &[u32; 3]| [0, if role == Role::Params { params } else { grads }, len, 0];
        Some(Bound::Words(memory.buckets()[self.index].places.iter().flat_map(place).collect()))
    }
}
