//! What an update reads and writes, cut into parts.

use super::share::GRAIN;
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

/// Elements of the longest part that a thread takes at once.
const LONGEST: usize = 1 << 20;

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

    /// Parts for this many threads: long ones while there is much left, since the processor reads ahead within a part and has to
    /// begin anew with each; then shorter ones, so that no thread waits long for another.
    pub fn shared_out(self, threads: usize) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let streams = rest.take().filter(|streams| streams.len > 0)?;
            let share = (streams.len / (2 * threads)).clamp(GRAIN, LONGEST);
            let (part, after) = streams.split_at(share / GRAIN * GRAIN);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn lens(len: usize, threads: usize) -> Vec<usize> {
        let (mut bits, mut at) = (vec![0u16; len], 64);
        let mut list: [Slice<f32>; StreamOf::COUNT] = Default::default();
        list[StreamOf::Plane(1).index()] = Slice::Bits(&mut bits);
        let parts = Streams { start: 64, place: 128, len, list }.shared_out(threads);
        let part = |mut part: Streams<f32>| {
            assert_eq!((part.start, part.place), (at, at + 64), "parts follow each other");
            assert_eq!(part.list[StreamOf::Plane(1).index()].bits().len(), part.len);
            at += part.len;
            part.len
        };
        parts.map(part).collect()
    }

    #[test]
    fn parts_become_shorter_as_little_is_left() {
        for threads in [1, 2, 3, 64] {
            for len in [1, GRAIN - 1, GRAIN, GRAIN + 1, 5 * GRAIN, 2 * LONGEST + 7, 9 * LONGEST] {
                let lens = lens(len, threads);
                assert_eq!(lens.iter().sum::<usize>(), len);
                assert!(lens.is_sorted_by(|one, next| one >= next), "{lens:?}");
                let (last, others) = lens.split_last().expect("a part");
                assert!(others.iter().all(|len| len % GRAIN == 0 && *len <= LONGEST), "{lens:?}");
                assert!(*last <= GRAIN, "{lens:?}");
            }
        }
        assert_eq!(lens(9 * LONGEST, 2)[0], LONGEST);
        assert_eq!(lens(2 * LONGEST, 2)[0], LONGEST / 2);
        assert!(lens(0, 2).is_empty());
    }
}
