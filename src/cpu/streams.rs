//! What an update reads and writes, cut into parts.

use super::store::Elements;
use crate::plan::{Storage, StreamOf, Update};
use crate::rule::Real;
use StreamOf::{Grads, Params};
use std::ops::Range;

/// A part of a stream.
#[derive(Debug, Default)]
pub(super) enum Slice<'a, F> {
    #[default]
    Absent,
    Floats(&'a mut [F]),
    /// Floats of 16 bits.
    Bits(&'a mut [u16]),
}

impl<'a, F> Slice<'a, F> {
    /// The floats; none where there are none.
    pub fn floats(&mut self) -> &mut [F] {
        match self {
            Self::Floats(floats) => floats,
            _ => &mut [],
        }
    }

    pub fn bits(&mut self) -> &mut [u16] {
        match self {
            Self::Bits(bits) => bits,
            _ => &mut [],
        }
    }

    pub fn reborrowed(&mut self) -> Slice<'_, F> {
        match self {
            Self::Absent => Slice::Absent,
            Self::Floats(floats) => Slice::Floats(floats),
            Self::Bits(bits) => Slice::Bits(bits),
        }
    }

    pub fn split_at(self, middle: usize) -> (Self, Self) {
        fn cut<T>(slice: &mut [T], middle: usize) -> (&mut [T], &mut [T]) {
            slice.split_at_mut(middle.min(slice.len()))
        }
        match self {
            Self::Absent => (Self::Absent, Self::Absent),
            Self::Floats(floats) => {
                let (first, second) = cut(floats, middle);
                (Self::Floats(first), Self::Floats(second))
            }
            Self::Bits(bits) => {
                let (first, second) = cut(bits, middle);
                (Self::Bits(first), Self::Bits(second))
            }
        }
    }
}

/// The same range of every stream.
#[derive(Debug)]
pub(super) struct Streams<'a, F> {
    /// First element in the arena, and its place in the order of sums.
    pub start: usize,
    pub place: usize,
    pub len: usize,
    pub list: [Slice<'a, F>; StreamOf::COUNT],
}

impl<'a, F: Real> Streams<'a, F> {
    pub fn new(op: &Update, taken: &'a mut [Option<Elements>; StreamOf::COUNT], range: Range<usize>, place: usize) -> Self {
        let mut list: [Slice<F>; StreamOf::COUNT] = Default::default();
        for ((slice, elements), stored) in list.iter_mut().zip(taken).zip(stored(op)) {
            let Some(elements) = elements else { continue };
            *slice = match stored {
                Storage::F32 => Slice::Floats(&mut elements.as_mut_slice()[range.clone()]),
                Storage::F16 | Storage::Bf16 => Slice::Bits(&mut elements.as_mut_slice()[range.clone()]),
            };
        }
        Self { start: range.start, place, len: range.len(), list }
    }

    /// Puts the caller's slices in place.
    pub fn lend(&mut self, params: Option<&'a mut [F]>, grads: Option<&'a mut [F]>) {
        for (of, borrowed) in [(Params, params), (Grads, grads)] {
            if let Some(borrowed) = borrowed {
                self.list[of.index()] = Slice::Floats(borrowed);
            }
        }
    }

    /// Parts of this many elements; the last may have fewer.
    pub fn cut(self, len: usize) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let (part, after) = rest.take().filter(|streams| streams.len > 0)?.split_at(len);
            rest = Some(after);
            Some(part)
        })
    }

    pub fn split_at(self, middle: usize) -> (Self, Self) {
        let Self { start, place, len, list } = self;
        let middle = middle.min(len);
        let [mut first, mut second] = std::array::from_fn(|_| <[Slice<F>; StreamOf::COUNT]>::default());
        for (slice, parts) in list.into_iter().zip(first.iter_mut().zip(&mut second)) {
            (*parts.0, *parts.1) = slice.split_at(middle);
        }
        let second = Self { start: start + middle, place: place + middle, len: len - middle, list: second };
        (Self { start, place, len: middle, list: first }, second)
    }

    /// The same streams, for a while.
    pub fn reborrowed(&mut self) -> Streams<'_, F> {
        Streams { list: self.list.each_mut().map(Slice::reborrowed), ..*self }
    }

    /// The floats of some streams, each of which is asked for once; what is absent is empty.
    pub fn floats<const N: usize>(&mut self, of: [StreamOf; N]) -> [&mut [F]; N] {
        match self.list.get_disjoint_mut(of.map(StreamOf::index)) {
            Ok(slices) => slices.map(Slice::floats),
            Err(_) => std::array::from_fn(|_| &mut [][..]),
        }
    }
}

/// How each stream is stored.
fn stored(op: &Update) -> [Storage; StreamOf::COUNT] {
    let mut stored = [Storage::F32; StreamOf::COUNT];
    op.streams.iter().for_each(|stream| stored[stream.of.index()] = stream.storage);
    stored
}

/// How many planes there are, if they are the rule's first ones, and all of 16 bits.
pub(super) fn leading_bits<F>(planes: &[&mut Slice<F>]) -> Option<usize> {
    let count = planes.iter().take_while(|plane| matches!(plane, Slice::Bits(_))).count();
    planes[count..].iter().all(|plane| matches!(plane, Slice::Absent)).then_some(count)
}
