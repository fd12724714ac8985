//! The update: streams cut into blocks, and what happens to a block.

use super::borrowed::Borrowed;
use super::share::{GRAIN, Threads};
use super::store::Store;
use super::streams::{Slice, Streams, leading_bits};
use crate::plan::{ALIGN, BufferId, Stack, Storage, StreamOf, Update, UpdateKind};
use crate::rule::bf16::{self, Noise, PART};
use crate::rule::{HyperRow, Real, Rounding, sign, toward};
use StreamOf::{Average, Before, Change, Grads, HalfCopy, Params, Plane, Slow};

/// Elements of a block that more than one loop goes over: all its streams stay in the second cache.
const BLOCK: usize = 8_192;

pub(super) fn update<F: Real>(op: &Update, lane: &mut Store<F>, mut borrowed: Option<&mut Borrowed<F>>, threads: Threads) {
    let (params, grads) = (op.buffer(Params), op.buffer(Grads));
    let ids = buffers(op).map(|id| id.filter(|&id| borrowed.as_ref().is_none_or(|borrowed| !borrowed.holds(id))));
    let current = lane.take(op.current);
    let mut taken = ids.map(|id| id.map(|id| lane.take(id)));
    for span in &op.spans {
        let row: &[F] = &current.as_slice()[span.group * HyperRow::LEN..][..HyperRow::LEN];
        let factors = op.extras.factors.map(|id| &lane.floats(id)[2 * span.tensor..][..2]);
        let moments = op.moments.as_ref().map(|of| (&of.stacks[span.tensor], lane.floats(of.buffer)));
        let work = Work::new(op, row, factors.unwrap_or(&[F::one(), F::one()]), moments);
        match (&mut borrowed, params.zip(grads)) {
            (Some(borrowed), Some((params, grads))) => {
                for tensor in borrowed.tensors(span.start, span.len) {
                    let range = borrowed.range(tensor);
                    let mut streams = Streams::new(op, &mut taken, range.clone(), span.place + range.start - span.start);
                    let (params, grads) = borrowed.pair_mut(tensor, params, grads);
                    streams.lend(params, grads);
                    work.run(streams, threads);
                }
            }
            _ => work.run(Streams::new(op, &mut taken, span.start..span.start + span.len, span.place), threads),
        }
    }
    ids.into_iter().zip(taken).for_each(|(id, elements)| {
        if let (Some(id), Some(elements)) = (id, elements) {
            lane.put(id, elements);
        }
    });
    lane.put(op.current, current);
}

/// The streams' buffers, each at its index.
fn buffers(op: &Update) -> [Option<BufferId>; StreamOf::COUNT] {
    let mut buffers = [None; StreamOf::COUNT];
    op.streams.iter().for_each(|stream| buffers[stream.of.index()] = Some(stream.buffer));
    buffers
}

/// A block of random numbers is one of the arena.
const _: () = assert!(bf16::BLOCK == ALIGN);

/// What an update does to one span.
struct Work<'a, F> {
    op: &'a Update,
    /// The row with the tensor's factors in it.
    row: [F; HyperRow::LEN],
    /// The second factor.
    trust: F,
    /// What a factored rule has in the place of its plane.
    moments: Option<(&'a Stack, &'a [F])>,
    /// How each plane is rounded where it has 16 bits.
    roundings: [Rounding; StreamOf::PLANES],
}

/// What a rule is given of a block: parameters or what takes their place, gradients, planes.
struct Given<'a, 'b, F> {
    x: &'a mut [F],
    g: &'a [F],
    planes: [&'a mut Slice<'b, F>; StreamOf::PLANES],
    /// The first element's place in the order of sums.
    place: usize,
}

impl<'a, F: Real> Work<'a, F> {
    fn new(op: &'a Update, row: &[F], factors: &[F], moments: Option<(&'a Stack, &'a [F])>) -> Self {
        let (bound, trust) = (factors[0], factors[1]);
        let mut own = [F::zero(); HyperRow::LEN];
        own.copy_from_slice(row);
        own[HyperRow::SCALE] *= bound * trust;
        own[HyperRow::L2] *= trust;
        own[HyperRow::L1] *= trust;
        if op.extras.max_value {
            own[HyperRow::MAX_VALUE] *= trust;
        }
        let mut roundings = [Rounding::Nearest; StreamOf::PLANES];
        for stream in &op.streams {
            if let (Plane(plane), Storage::Bf16) = (stream.of, stream.storage) {
                roundings[plane] = op.rule.rounding(plane).unwrap_or(Rounding::Nearest);
            }
        }
        Self { op, row: own, trust, moments, roundings }
    }

    /// Whether one loop is all that there is.
    fn plain(&self) -> bool {
        let beside = |of| !matches!(of, Params | Grads | Plane(_));
        self.op.kind == UpdateKind::Whole
            && !self.op.extras.zero_grads
            && !self.op.streams.iter().any(|stream| beside(stream.of))
    }

    fn run(&self, streams: Streams<F>, threads: Threads) {
        let plain = self.plain();
        let part = |part: Streams<F>| match plain {
            true => self.block(part),
            false => part.cut(BLOCK).for_each(|block| self.block(block)),
        };
        let len = streams.len;
        if threads.several() && len > GRAIN {
            threads.in_order(len.div_ceil(GRAIN), streams.shared_out(threads.count()), part);
        } else {
            part(streams);
        }
    }

    fn block(&self, mut streams: Streams<F>) {
        if self.row[HyperRow::LIVE] == F::zero() {
            let [x, before] = streams.floats([Params, Before]);
            if !before.is_empty() {
                x.copy_from_slice(before);
            }
            self.stay(&mut streams);
        } else {
            match self.op.kind {
                UpdateKind::Whole => self.whole(&mut streams),
                UpdateKind::Direction => self.direction(&mut streams),
                UpdateKind::Cautious => self.cautious(&mut streams),
                UpdateKind::Apply => self.apply(&mut streams),
            }
        }
        if self.op.extras.zero_grads {
            let [g] = streams.floats([Grads]);
            g.fill(F::zero());
        }
    }

    /// The rule's loop.
    fn sweep(&self, row: &[F], Given { x, g, mut planes, place }: Given<F>) {
        if planes.iter().any(|plane| matches!(plane, Slice::Bits(_))) {
            if let Some(count) = leading_bits(&planes) {
                let mut bits = planes.each_mut().map(|plane| plane.bits());
                if F::sweep_bf16(&*self.op.rule, row, x, g, &mut bits[..count], place) {
                    return;
                }
            }
            let whole = planes.map(|plane| plane.reborrowed());
            return self.sweep_parts(row, x, g, whole, place);
        }
        let (mut floats, mut count) = (<[&mut [F]; StreamOf::PLANES]>::default(), 0);
        for plane in planes {
            if let Slice::Floats(plane) = plane {
                floats[count] = plane;
                count += 1;
            }
        }
        F::sweep(&*self.op.rule, row, x, g, &mut floats[..count]);
    }

    /// Where there is no loop over planes of 16 bits: in the oracle, under a bound or L1, and where other planes are floats or
    /// left out. They are floats for a part at a time, which stays in the first cache.
    fn sweep_parts(&self, row: &[F], x: &mut [F], g: &[F], mut planes: [Slice<F>; StreamOf::PLANES], mut place: usize) {
        let mut scratch = [[F::zero(); PART]; StreamOf::PLANES];
        for (x, g) in x.chunks_mut(PART).zip(g.chunks(PART)) {
            let len = x.len();
            let mut part = planes.each_mut().map(|plane| {
                let (part, rest) = std::mem::take(plane).split_at(len);
                *plane = rest;
                part
            });
            let (mut floats, mut count) = (<[&mut [F]; StreamOf::PLANES]>::default(), 0);
            for (plane, scratch) in part.iter_mut().zip(&mut scratch) {
                floats[count] = match plane {
                    Slice::Absent => continue,
                    Slice::Floats(floats) => floats,
                    Slice::Bits(bits) => {
                        bf16::load(bits, &mut scratch[..len]);
                        &mut scratch[..len]
                    }
                };
                count += 1;
            }
            F::sweep(&*self.op.rule, row, x, g, &mut floats[..count]);
            for (index, (plane, scratch)) in part.iter_mut().zip(&scratch).enumerate() {
                if let Slice::Bits(bits) = plane {
                    let key = [row[HyperRow::NOISE].as_f64() as u32, index as u32];
                    bf16::store(&scratch[..len], bits, self.roundings[index], Noise { key, place });
                }
            }
            place += len;
        }
    }

    fn whole(&self, streams: &mut Streams<F>) {
        self.begin(streams);
        let place = streams.place;
        let [x, g, a, b, c, d, ..] = &mut streams.list;
        self.sweep(&self.row, Given { x: x.floats(), g: g.floats(), planes: [a, b, c, d], place });
        self.finish(streams);
    }

    fn direction(&self, streams: &mut Streams<F>) {
        let (first, place) = (streams.start, streams.place);
        let [x, g, a, b, c, d, direction, before, ..] = &mut streams.list;
        let (y, g) = (direction.floats(), g.floats());
        y.copy_from_slice(if before.floats().is_empty() { x.floats() } else { before.floats() });
        let mut row = self.row;
        row[HyperRow::DECAY] = F::one();
        match self.moments {
            None => self.sweep(&row, Given { x: y, g, planes: [a, b, c, d], place }),
            Some((stack, moments)) => self.factored(row, stack, moments, first - stack.start, y, g),
        }
    }

    /// The direction from element `first` of a tensor on, with second moments in the place of the rule's plane.
    fn factored(&self, mut row: [F; HyperRow::LEN], stack: &Stack, moments: &[F], first: usize, y: &mut [F], g: &[F]) {
        // They have followed the gradient already.
        row[HyperRow::SHARED.len()] = F::zero();
        let mut v = [F::zero(); PART];
        for ((at, y), g) in (first..).step_by(PART).zip(y.chunks_mut(PART)).zip(g.chunks(PART)) {
            let v = &mut v[..y.len()];
            pulp::Arch::new().dispatch(|| stack.fill(moments, at, v));
            F::sweep(&*self.op.rule, &row, y, g, &mut [v]);
        }
    }

    /// The rule is given the whole gradient d, and 0 for x.
    fn cautious(&self, streams: &mut Streams<F>) {
        let mut row = self.row;
        row[HyperRow::SCALE] = F::one();
        row[HyperRow::MAX_VALUE] = F::infinity();
        (row[HyperRow::L2], row[HyperRow::L1], row[HyperRow::DECAY]) = (F::zero(), F::zero(), F::one());
        let mut d = [F::zero(); PART];
        for mut part in streams.reborrowed().cut(PART) {
            let d = &mut d[..part.len];
            let [x, g, before] = part.floats([Params, Grads, Before]);
            for ((d, &x), &g) in d.iter_mut().zip(if before.is_empty() { &*x } else { &*before }).zip(&*g) {
                *d = self.gradient(x, g);
            }
            let place = part.place;
            let [_, _, a, b, c, e, direction, ..] = &mut part.list;
            let y = direction.floats();
            y.fill(F::zero());
            self.sweep(&row, Given { x: y, g: d, planes: [a, b, c, e], place });
            // An element that is not finite stays, whatever its sign, so that it is seen.
            y.iter_mut().zip(d).for_each(|(y, d)| *y = if -*y * *d > F::zero() || !y.is_finite() { -*y } else { F::zero() });
        }
    }

    /// `d` as in [`Update`].
    fn gradient(&self, x: F, g: F) -> F {
        let [scale, l2, bound, l1] = [HyperRow::SCALE, HyperRow::L2, HyperRow::MAX_VALUE, HyperRow::L1].map(|at| self.row[at]);
        let g = scale * g;
        let g = if bound < g { bound } else { g };
        let g = if -bound > g { -bound } else { g };
        g + l2 * x + l1 * sign(x)
    }

    fn apply(&self, streams: &mut Streams<F>) {
        self.begin(streams);
        let (decay, trust) = (self.row[HyperRow::DECAY], self.trust);
        let [x, g] = streams.floats([Params, Grads]);
        pulp::Arch::new().dispatch(Along { x, u: g, decay, trust });
        self.finish(streams);
    }

    /// Remembers where the step starts, for the extras that need it.
    fn begin(&self, streams: &mut Streams<F>) {
        let [x, before, slow, change] = streams.floats([Params, Before, Slow, Change]);
        if !before.is_empty() {
            x.copy_from_slice(before);
        }
        if !slow.is_empty() && self.row[HyperRow::START] != F::zero() {
            slow.copy_from_slice(x);
        }
        if !change.is_empty() {
            change.copy_from_slice(x);
        }
    }

    /// What follows from the new parameters.
    fn finish(&self, streams: &mut Streams<F>) {
        let [x, slow, change] = streams.floats([Params, Slow, Change]);
        let sync = self.row[HyperRow::SYNC];
        if sync != F::zero() {
            for (slow, x) in slow.iter_mut().zip(&mut *x) {
                *slow = toward(*slow, *x, sync);
                *x = *slow;
            }
        }
        change.iter_mut().zip(&*x).for_each(|(change, &x)| *change = x - *change);
        self.keep_average(streams);
        self.keep_half(streams);
    }

    /// Without a step: the copy still follows the parameters, and so does an average into which no step has counted.
    fn stay(&self, streams: &mut Streams<F>) {
        if self.row[HyperRow::AVERAGE] == F::one() {
            self.keep_average(streams);
        }
        self.keep_half(streams);
    }

    /// At a rate of 1 the average becomes a copy: nothing of its old value is left, not even NaN.
    fn keep_average(&self, streams: &mut Streams<F>) {
        let [x, average] = streams.floats([Params, Average]);
        let rate = self.row[HyperRow::AVERAGE];
        if average.is_empty() || rate == F::zero() {
            return;
        }
        if rate == F::one() {
            average.copy_from_slice(x);
        } else {
            pulp::Arch::new().dispatch(Toward { average, x, rate });
        }
    }

    fn keep_half(&self, streams: &mut Streams<F>) {
        let [x, .., copy] = &mut streams.list;
        if let Some(kind) = self.op.stream(HalfCopy).and_then(|stream| stream.storage.half()) {
            copy.bits().iter_mut().zip(x.floats()).for_each(|(half, &mut x)| *half = kind.bits(x.as_f64() as f32));
        }
    }
}

/// `x = decay · x − trust · u`. Structs, as in `rule/sweep.rs`: the compiler may turn a closure into a function without vector
/// instructions.
struct Along<'a, F> {
    x: &'a mut [F],
    u: &'a [F],
    decay: F,
    trust: F,
}

impl<F: Real> pulp::WithSimd for Along<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Self { x, u, decay, trust } = self;
        x.iter_mut().zip(u).for_each(|(x, &u)| *x = decay * *x - trust * u);
    }
}

/// An average that moves toward the parameters.
struct Toward<'a, F> {
    average: &'a mut [F],
    x: &'a [F],
    rate: F,
}

impl<F: Real> pulp::WithSimd for Toward<'_, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        let Self { average, x, rate } = self;
        average.iter_mut().zip(x).for_each(|(average, &x)| *average = toward(*average, x, rate));
    }
}
