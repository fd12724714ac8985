//! Where intermediate values lie: values that are never needed at the same time share memory.

use crate::plan::{ALIGN, Layout, View};
use std::cmp::Reverse;
use std::ops::Range;

/// Buffers for intermediate values. Recordings of one program share them, since they run one after the other.
#[derive(Debug, Default)]
pub struct Slots {
    buffers: Vec<View>,
}

/// A value in a slot, and how long it is needed.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) of: Of,
    pub(super) len: usize,
    /// Nodes.
    pub(super) through: Range<usize>,
    /// Lives, by their places in the list, that need another buffer: an operation writes into no buffer that it reads, and its
    /// outputs lie in different ones.
    pub(super) apart: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Of {
    Tensor(usize),
    /// Scratch memory of a node.
    Scratch(usize),
}

/// The largest sum of lengths that live at one node, and the sum of all.
pub(super) fn alive(lives: &[Life]) -> (usize, usize) {
    let at = |node: usize| lives.iter().filter(|life| life.through.contains(&node)).map(|life| life.len).sum();
    let most = lives.iter().map(|life| at(life.through.start)).max().unwrap_or(0);
    (most, lives.iter().map(|life| life.len).sum())
}

impl Slots {
    /// Gives each life its memory. Lives get their places one after the other: long values first, or those first that live
    /// long, or by a product of both. Of these orders the one that takes the least memory is kept.
    pub(super) fn assign(&mut self, layout: &mut Layout, lives: &[Life]) -> Vec<View> {
        let time = |life: &Life| life.through.len();
        let orders: [&dyn Fn(&Life) -> usize; 4] = [
            &|life| life.len,
            &|life| life.len.saturating_mul(time(life)),
            &|life| life.len.saturating_mul(life.len).saturating_mul(time(life)),
            &time,
        ];
        let tried = orders.iter().map(|order| self.placed(lives, order));
        let Some(placed) = tried.min_by_key(Placed::total) else { return Vec::new() };
        for slot in &placed.slots[self.buffers.len()..] {
            let id = layout.floats(&format!("slot {}", self.buffers.len()), slot.len);
            self.buffers.push(layout.whole(id));
        }
        let view = |(life, &[slot, offset]): (&Life, &[usize; 2])| View { offset, len: life.len, ..self.buffers[slot] };
        lives.iter().zip(&placed.places).map(view).collect()
    }

    /// Elements of all slots.
    pub(super) fn total(&self) -> usize {
        self.buffers.iter().map(|slot| slot.len).sum()
    }

    /// Places for lives, those first for which `order` is large. Each goes where the slots grow the least.
    fn placed(&self, lives: &[Life], order: &dyn Fn(&Life) -> usize) -> Placed {
        let given = |view: &View| Slot { len: view.len, most: view.len, taken: Vec::new() };
        let mut slots: Vec<Slot> = self.buffers.iter().map(given).collect();
        // A slot is not longer than the longest value, so that a device that can hold the values can hold the slots.
        let most = lives.iter().map(|life| life.len).max().unwrap_or(0);
        let mut turns: Vec<usize> = (0..lives.len()).collect();
        turns.sort_by_key(|&turn| Reverse(order(&lives[turn])));
        let mut places = vec![[0; 2]; lives.len()];
        for turn in turns {
            let life = &lives[turn];
            let room = |(index, slot): (usize, &Slot)| slot.room(lives, life).map(|[grows, offset]| [grows, index, offset]);
            let best = slots.iter().enumerate().filter_map(room).min().filter(|[grows, ..]| *grows < life.len.max(1));
            let [_, index, offset] = best.unwrap_or_else(|| {
                slots.push(Slot { len: 0, most, taken: Vec::new() });
                [life.len, slots.len() - 1, 0]
            });
            slots[index].len = slots[index].len.max(offset + life.len);
            slots[index].taken.push((turn, offset));
            places[turn] = [index, offset];
        }
        Placed { slots, places }
    }
}

/// Slots and, for each life, its slot and its first element there.
struct Placed {
    slots: Vec<Slot>,
    places: Vec<[usize; 2]>,
}

impl Placed {
    fn total(&self) -> usize {
        self.slots.iter().map(|slot| slot.len).sum()
    }
}

/// A buffer, and the lives that have a place in it.
struct Slot {
    len: usize,
    /// The length up to which it may grow.
    most: usize,
    /// Each life, and its first element.
    taken: Vec<(usize, usize)>,
}

impl Slot {
    /// By how much the slot has to grow for a life, and where the life would begin; nothing if it may not lie there.
    fn room(&self, lives: &[Life], life: &Life) -> Option<[usize; 2]> {
        if self.taken.iter().any(|(other, _)| life.apart.contains(other)) {
            return None;
        }
        let meets = |other: &Life| other.through.start < life.through.end && life.through.start < other.through.end;
        let met = self.taken.iter().filter(|(other, _)| meets(&lives[*other]));
        let mut taken: Vec<Range<usize>> = met.map(|&(other, offset)| offset..offset + lives[other].len).collect();
        taken.sort_by_key(|range| range.start);
        // The shortest gap that is long enough, or else the end.
        let (mut end, mut best) = (0, None::<[usize; 2]>);
        for range in taken {
            let gap = range.start.saturating_sub(end);
            if gap >= life.len && range.start > end {
                best = best.into_iter().chain([[gap, end]]).min();
            }
            end = end.max(range.end.next_multiple_of(ALIGN));
        }
        let rest = self.len.saturating_sub(end);
        if rest >= life.len {
            best = best.into_iter().chain([[rest, end]]).min();
        }
        let grown = (end + life.len <= self.most).then(|| [(end + life.len).saturating_sub(self.len), end]);
        best.map(|[_, offset]| [0, offset]).or(grown)
    }
}
