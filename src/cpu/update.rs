//! The update: streams cut into blocks, and what happens to a block.

use super::lent::Lent;
use super::share::Threads;
use super::step::GRAIN;
use super::store::{Elements, Store};
use crate::plan::{BufferId, Extras, Pass, Stack, Update};
use crate::rule::{Real, Row, sign, toward};
use std::ops::Range;

/// Elements of a block that more than one loop goes over: all its streams stay in the second cache.
const BLOCK: usize = 8_192;

pub(super) fn update<F: Real>(op: &Update, lane: &mut Store<F>, mut lent: Option<&mut Lent<F>>, threads: Threads) {
    let mut ids = buffers(op);
    if let Some(lent) = &lent {
        ids = ids.map(|id| id.filter(|&id| !lent.holds(id)));
    }
    let current = lane.take(op.current);
    let mut taken = ids.map(|id| id.map(|id| lane.take(id)));
    for span in &op.spans {
        let row: &[F] = &current.as_slice()[span.group * Row::LEN..][..Row::LEN];
        let factors = op.extras.factors.map(|id| &lane.floats(id)[2 * span.tensor..][..2]);
        let moments = op.moments.as_ref().map(|of| (&of.stacks[span.tensor], lane.floats(of.buffer)));
        let work = Work::new(op, row, factors.unwrap_or(&[F::one(), F::one()]), moments);
        match &mut lent {
            None => work.run(Streams::new(&mut taken, span.start..span.start + span.len), threads),
            Some(lent) => {
                for tensor in lent.tensors(span.start, span.len) {
                    let mut streams = Streams::new(&mut taken, lent.range(tensor));
                    let (params, grads) = lent.pair_mut(tensor, op.params, op.grads);
                    streams.lend(params, grads);
                    work.run(streams, threads);
                }
            }
        }
    }
    ids.into_iter().zip(taken).for_each(|(id, elements)| {
        if let (Some(id), Some(elements)) = (id, elements) {
            lane.put(id, elements);
        }
    });
    lane.put(op.current, current);
}

/// Buffers of an update that are laid out as its arena.
const BUFFERS: usize = 12;

fn buffers(op: &Update) -> [Option<BufferId>; BUFFERS] {
    let direction = match op.pass {
        Pass::Whole | Pass::Apply => None,
        Pass::Direction(id) | Pass::Cautious(id) => Some(id),
    };
    let plane = |index: usize| op.planes.get(index).copied();
    let extras = &op.extras;
    let half = extras.half.map(|(id, _)| id);
    let (before, slow, average, change) = (extras.before, extras.slow, extras.average, extras.change);
    let planes = std::array::from_fn::<_, 4, _>(plane);
    let [a, b, c, d] = planes;
    [Some(op.params), Some(op.grads), a, b, c, d, direction, before, slow, average, change, half]
}

/// The same range of every buffer; what is absent is empty.
struct Streams<'a, F> {
    /// First element in the arena.
    start: usize,
    x: &'a mut [F],
    g: &'a mut [F],
    planes: [&'a mut [F]; 4],
    direction: &'a mut [F],
    before: &'a mut [F],
    slow: &'a mut [F],
    average: &'a mut [F],
    change: &'a mut [F],
    half: &'a mut [u16],
}

impl<'a, F: Real> Streams<'a, F> {
    fn new(taken: &'a mut [Option<Elements>; BUFFERS], range: Range<usize>) -> Self {
        fn part<T: bytemuck::Pod>(elements: &mut Option<Elements>, range: Range<usize>) -> &mut [T] {
            elements.as_mut().map(|elements| &mut elements.as_mut_slice()[range]).unwrap_or_default()
        }
        let [x, g, a, b, c, d, direction, before, slow, average, change, half] = taken;
        let part_of = |elements: &'a mut Option<Elements>| part(elements, range.clone());
        Self {
            start: range.start,
            x: part_of(x),
            g: part_of(g),
            planes: [a, b, c, d].map(part_of),
            direction: part_of(direction),
            before: part_of(before),
            slow: part_of(slow),
            average: part_of(average),
            change: part_of(change),
            half: part(half, range.clone()),
        }
    }

    /// Puts the caller's slices in place.
    fn lend(&mut self, params: Option<&'a mut [F]>, grads: Option<&'a mut [F]>) {
        if let Some(params) = params {
            self.x = params;
        }
        if let Some(grads) = grads {
            self.g = grads;
        }
    }

    /// Parts of so many elements; the last may have fewer.
    fn cut(self, len: usize) -> impl Iterator<Item = Self> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let (part, after) = rest.take().filter(|streams| !streams.x.is_empty())?.split_at(len);
            rest = Some(after);
            Some(part)
        })
    }

    fn split_at(self, middle: usize) -> (Self, Self) {
        fn cut<T>(slice: &mut [T], middle: usize) -> (&mut [T], &mut [T]) {
            slice.split_at_mut(middle.min(slice.len()))
        }
        let cut_f = |slice: &'a mut [F]| cut(slice, middle);
        let (x, x2) = cut_f(self.x);
        let (g, g2) = cut_f(self.g);
        let [(a, a2), (b, b2), (c, c2), (d, d2)] = self.planes.map(cut_f);
        let (direction, direction2) = cut_f(self.direction);
        let (before, before2) = cut_f(self.before);
        let (slow, slow2) = cut_f(self.slow);
        let (average, average2) = cut_f(self.average);
        let (change, change2) = cut_f(self.change);
        let (half, half2) = cut(self.half, middle);
        let start = self.start;
        let first = Self { start, x, g, planes: [a, b, c, d], direction, before, slow, average, change, half };
        let second = Self {
            start: start + middle,
            x: x2,
            g: g2,
            planes: [a2, b2, c2, d2],
            direction: direction2,
            before: before2,
            slow: slow2,
            average: average2,
            change: change2,
            half: half2,
        };
        (first, second)
    }
}

/// What an update does to one span.
struct Work<'a, F> {
    op: &'a Update,
    /// The row with the tensor's factors in it.
    row: [F; Row::LEN],
    /// The second factor.
    trust: F,
    /// What a factored rule has in the place of its plane.
    moments: Option<(&'a Stack, &'a [F])>,
}

impl<'a, F: Real> Work<'a, F> {
    fn new(op: &'a Update, row: &[F], factors: &[F], moments: Option<(&'a Stack, &'a [F])>) -> Self {
        let (bound, trust) = (factors[0], factors[1]);
        let mut own = [F::zero(); Row::LEN];
        own.copy_from_slice(row);
        own[Row::SCALE] *= bound * trust;
        own[Row::L2] *= trust;
        own[Row::L1] *= trust;
        if op.extras.max_value {
            own[Row::MAX_VALUE] *= trust;
        }
        Self { op, row: own, trust, moments }
    }

    /// Whether one loop is all that there is.
    fn plain(&self) -> bool {
        let &Extras { max_value, l1, factors, .. } = &self.op.extras;
        self.op.pass == Pass::Whole && self.op.extras == Extras { max_value, l1, factors, ..Default::default() }
    }

    fn run(&self, streams: Streams<F>, threads: Threads) {
        let block = if self.plain() { GRAIN } else { BLOCK };
        let part = |part: Streams<F>| part.cut(block).for_each(|block| self.block(block));
        let len = streams.x.len();
        if threads.several() && len > GRAIN {
            threads.in_order(len.div_ceil(GRAIN), streams.cut(GRAIN), part);
        } else {
            part(streams);
        }
    }

    fn block(&self, mut streams: Streams<F>) {
        if self.row[Row::LIVE] == F::zero() {
            if self.op.extras.before.is_some() {
                streams.x.copy_from_slice(streams.before);
            }
            self.stay(&mut streams);
        } else {
            match self.op.pass {
                Pass::Whole => self.whole(&mut streams),
                Pass::Direction(_) => self.direction(&mut streams),
                Pass::Cautious(_) => self.cautious(&mut streams),
                Pass::Apply => self.apply(&mut streams),
            }
        }
        if self.op.extras.zero_grads {
            streams.g.fill(F::zero());
        }
    }

    fn whole(&self, streams: &mut Streams<F>) {
        self.begin(streams);
        let Streams { x, g, planes, .. } = streams;
        F::sweep(&*self.op.rule, &self.row, x, g, &mut planes[..self.op.planes.len()]);
        self.finish(streams);
    }

    fn direction(&self, streams: &mut Streams<F>) {
        let Streams { start, x, g, planes, direction, before, .. } = streams;
        direction.copy_from_slice(if before.is_empty() { x } else { before });
        let mut row = self.row;
        row[Row::DECAY] = F::one();
        match self.moments {
            None => F::sweep(&*self.op.rule, &row, direction, g, &mut planes[..self.op.planes.len()]),
            Some((stack, moments)) => self.factored(row, stack, moments, *start - stack.start, direction, g),
        }
    }

    /// The direction from element `first` of a tensor on, with second moments in the place of the rule's plane.
    fn factored(&self, mut row: [F; Row::LEN], stack: &Stack, moments: &[F], first: usize, y: &mut [F], g: &[F]) {
        const PART: usize = 1_024;
        // They have followed the gradient already.
        row[Row::SHARED.len()] = F::zero();
        let mut v = [F::zero(); PART];
        for ((at, y), g) in (first..).step_by(PART).zip(y.chunks_mut(PART)).zip(g.chunks(PART)) {
            let v = &mut v[..y.len()];
            pulp::Arch::new().dispatch(|| stack.fill(moments, at, v));
            F::sweep(&*self.op.rule, &row, y, g, &mut [v]);
        }
    }

    /// The rule is given the whole gradient d, and 0 for x.
    fn cautious(&self, streams: &mut Streams<F>) {
        const PART: usize = 1_024;
        let Streams { x, g, planes, direction, before, .. } = streams;
        let x: &[F] = if before.is_empty() { x } else { before };
        let mut row = self.row;
        row[Row::SCALE] = F::one();
        row[Row::MAX_VALUE] = F::infinity();
        (row[Row::L2], row[Row::L1], row[Row::DECAY]) = (F::zero(), F::zero(), F::one());
        let mut d = [F::zero(); PART];
        for start in (0..x.len()).step_by(PART) {
            let range = start..(start + PART).min(x.len());
            let d = &mut d[..range.len()];
            for ((d, &x), &g) in d.iter_mut().zip(&x[range.clone()]).zip(&g[range.clone()]) {
                *d = self.gradient(x, g);
            }
            let y = &mut direction[range.clone()];
            y.fill(F::zero());
            let mut planes = planes.each_mut().map(|plane| if plane.is_empty() { &mut [] } else { &mut plane[range.clone()] });
            F::sweep(&*self.op.rule, &row, y, d, &mut planes[..self.op.planes.len()]);
            // What is not finite has to be seen, wherever it goes.
            y.iter_mut().zip(d).for_each(|(y, d)| *y = if -*y * *d > F::zero() || !y.is_finite() { -*y } else { F::zero() });
        }
    }

    /// `d` as in [`Update`].
    fn gradient(&self, x: F, g: F) -> F {
        let [scale, l2, bound, l1] = [Row::SCALE, Row::L2, Row::MAX_VALUE, Row::L1].map(|at| self.row[at]);
        let g = scale * g;
        let g = if bound < g { bound } else { g };
        let g = if -bound > g { -bound } else { g };
        g + l2 * x + l1 * sign(x)
    }

    fn apply(&self, streams: &mut Streams<F>) {
        self.begin(streams);
        let (decay, trust) = (self.row[Row::DECAY], self.trust);
        let Streams { x, g, .. } = streams;
        pulp::Arch::new().dispatch(|| x.iter_mut().zip(&**g).for_each(|(x, &u)| *x = decay * *x - trust * u));
        self.finish(streams);
    }

    /// Where a step starts, remembered by those who want to know.
    fn begin(&self, streams: &mut Streams<F>) {
        let Streams { x, before, slow, change, .. } = streams;
        if !before.is_empty() {
            x.copy_from_slice(before);
        }
        if !slow.is_empty() && self.row[Row::START] != F::zero() {
            slow.copy_from_slice(x);
        }
        if !change.is_empty() {
            change.copy_from_slice(x);
        }
    }

    /// What follows from the new parameters.
    fn finish(&self, streams: &mut Streams<F>) {
        let Streams { x, slow, change, .. } = streams;
        let sync = self.row[Row::SYNC];
        if sync != F::zero() {
            for (slow, x) in slow.iter_mut().zip(&mut **x) {
                *slow = toward(*slow, *x, sync);
                *x = *slow;
            }
        }
        change.iter_mut().zip(&**x).for_each(|(change, &x)| *change = x - *change);
        self.keep_average(streams);
        self.keep_half(streams);
    }

    /// Without a step: a copy follows the parameters all the same, and an average until it has a step to count.
    fn stay(&self, streams: &mut Streams<F>) {
        if self.row[Row::AVERAGE] == F::one() {
            self.keep_average(streams);
        }
        self.keep_half(streams);
    }

    /// By a rate of 1 nothing is left of what the average held.
    fn keep_average(&self, streams: &mut Streams<F>) {
        let Streams { x, average, .. } = streams;
        let rate = self.row[Row::AVERAGE];
        if average.is_empty() || rate == F::zero() {
            return;
        }
        if rate == F::one() {
            average.copy_from_slice(x);
        } else {
            pulp::Arch::new().dispatch(|| average.iter_mut().zip(&**x).for_each(|(a, &x)| *a = toward(*a, x, rate)));
        }
    }

    fn keep_half(&self, streams: &mut Streams<F>) {
        let Streams { x, half, .. } = streams;
        if let Some((_, kind)) = self.op.extras.half {
            half.iter_mut().zip(&**x).for_each(|(half, &x)| *half = kind.bits(x.as_f64() as f32));
        }
    }
}
