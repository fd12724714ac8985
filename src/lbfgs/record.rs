//! The work of L-BFGS on the device, as plans.

use super::history::Products;
use crate::error::{Error, Result};
use crate::plan::{Arena, BufferId, Chunk, Combine, Dots, Layout, Norm, NormKind, Op, Plan, View};

/// Places in the buffer of scalars.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar {
    /// g·d.
    Slope,
    /// max |d|.
    LargestD,
    /// max |g|.
    LargestG,
    /// Σ |g|.
    SumG,
}

/// Places in the buffer of coefficients; those of a direction follow.
const FROM_LINE: usize = 0;
const STEP: usize = 1;
const DIFFERENCE: usize = 2;
const DIRECTION: usize = 4;

/// The buffers of an L-BFGS.
#[derive(Debug, Clone)]
pub(super) struct Buffers {
    pub params: BufferId,
    pub grads: BufferId,
    /// Parameters and gradient where the line starts.
    pub start: BufferId,
    pub start_grads: BufferId,
    /// A gradient put aside.
    pub kept: BufferId,
    pub d: BufferId,
    /// g − g_start.
    pub y: BufferId,
    /// s and y of each slot.
    pub pairs: Vec<[BufferId; 2]>,
    pub coefficients: BufferId,
    pub products: BufferId,
    pub scalars: BufferId,
    frozen: BufferId,
    maxima: BufferId,
    sums: BufferId,
    partials: BufferId,
}

impl Buffers {
    pub(super) fn new(layout: &mut Layout, arena: &Arena, params: BufferId, grads: BufferId, slots: usize) -> Self {
        let [start, start_grads, kept, d, y] =
            ["line's start", "line's first gradient", "kept gradient", "direction", "difference"]
                .map(|name| layout.arena(name, arena));
        let pairs = (0..slots).map(|slot| ["s", "y"].map(|name| layout.arena(&format!("{name} {slot}"), arena)));
        let pairs = pairs.collect();
        let (chunks, products) = (arena.chunks().len(), Products::len(slots));
        Self {
            params,
            grads,
            start,
            start_grads,
            kept,
            d,
            y,
            pairs,
            coefficients: layout.floats("coefficients", DIRECTION + 1 + 2 * slots),
            products: layout.floats("products", products),
            scalars: layout.floats("scalars", 4),
            frozen: layout.indices("frozen", 1),
            maxima: layout.floats("partial maxima", NormKind::Max.partials(chunks)),
            sums: layout.floats("partial sums", NormKind::L1.partials(chunks)),
            partials: layout.floats("partial products", products * chunks),
        }
    }

    /// The vectors of the slots below `slots`.
    fn history(&self, slots: usize) -> impl Iterator<Item = BufferId> {
        self.pairs[..slots].iter().flatten().copied()
    }

    /// What the coefficients are, in their buffer's order: of x + t·d, of s = t·d, of y = unit·(g − g_start), of a direction.
    pub(super) fn coefficients(t: f64, unit: f64, direction: &[f64]) -> Vec<f64> {
        [1.0, t, unit, -unit].iter().chain(direction).copied().collect()
    }
}

/// The plans of an L-BFGS by their index in the program.
#[derive(Debug, Clone, Default)]
pub(super) struct Plans {
    /// max |g| and Σ |g|.
    pub measure: usize,
    /// max |g| and g·d.
    pub measure_on_line: usize,
    /// The line starts here.
    pub start_line: usize,
    /// x = start + t·d.
    pub go: usize,
    /// Back to the line's start, with its gradient.
    pub go_back: usize,
    /// Puts the gradient aside.
    pub keep: usize,
    /// Takes the gradient that was put aside, or that of the line's start.
    pub take_kept: usize,
    pub take_start: usize,
    /// By slot: s = t·d and y go there.
    pub store: Vec<usize>,
    /// Numbers of slots that plans look at: 0, 1, 2, 4, … and all.
    looks: Vec<usize>,
    /// By place in `looks`: y, and the products of y and g.
    compare: Vec<usize>,
    /// By place in `looks`: d, g·d, max |d|.
    direct: Vec<usize>,
}

impl Plans {
    pub(super) fn compare(&self, slots: usize) -> usize {
        self.compare[self.look(slots)]
    }

    pub(super) fn direct(&self, slots: usize) -> usize {
        self.direct[self.look(slots)]
    }

    /// How many slots the plans for so many filled ones look at.
    pub(super) fn looked_at(&self, slots: usize) -> usize {
        self.looks[self.look(slots)]
    }

    fn look(&self, slots: usize) -> usize {
        self.looks.partition_point(|&look| look < slots)
    }
}

/// Appends the plans of an L-BFGS to those of a program.
pub(super) fn record(layout: &Layout, plans: &mut Vec<Plan>, arena: &Arena, buffers: &Buffers) -> Result<Plans> {
    if layout.lanes() != 1 {
        return Err(Error::setting("lanes of an L-BFGS", layout.lanes(), "1"));
    }
    let slots = buffers.pairs.len();
    let doubling = (0..).map(|k| 1 << k).take_while(|&look| look < slots);
    let looks: Vec<usize> = std::iter::once(0).chain(doubling).chain([slots]).collect();
    let recorder = Recorder { buffers, chunks: arena.chunks() };
    let Buffers { params, grads, start, start_grads, kept, d, y, .. } = *buffers;
    let mut add = |ops: Vec<Op>| {
        let mut plan = Plan::default();
        ops.into_iter().for_each(|op| plan.push(op));
        plans.push(plan);
        plans.len() - 1
    };
    let copy = |from: BufferId, to: BufferId| Op::Copy { input: layout.whole(from), output: layout.whole(to) };
    let slope = recorder.dots(vec![grads], vec![d], recorder.scalar(Scalar::Slope));
    let largest_g = recorder.norm(NormKind::Max, grads, Scalar::LargestG);
    let largest_d = recorder.norm(NormKind::Max, d, Scalar::LargestD);
    let sum_g = recorder.norm(NormKind::L1, grads, Scalar::SumG);
    let compare = |&look: &usize| {
        let right: Vec<BufferId> = [d, y].into_iter().chain(buffers.history(look)).collect();
        let products = View { buffer: buffers.products, offset: 0, len: Products::len(look) };
        let difference = recorder.combine(vec![grads, start_grads], DIFFERENCE, y);
        [vec![difference], recorder.dots(vec![y, grads], right, products)].concat()
    };
    let direct = |&look: &usize| {
        let terms = std::iter::once(grads).chain(buffers.history(look)).collect();
        [vec![recorder.combine(terms, DIRECTION, d)], slope.clone(), largest_d.clone()].concat()
    };
    let store = |&[s, pair_y]: &[BufferId; 2]| vec![recorder.combine(vec![d], STEP, s), copy(y, pair_y)];
    Ok(Plans {
        measure: add([largest_g.clone(), sum_g].concat()),
        measure_on_line: add([largest_g, slope.clone()].concat()),
        start_line: add(vec![copy(params, start), copy(grads, start_grads)]),
        go: add(vec![recorder.combine(vec![start, d], FROM_LINE, params)]),
        go_back: add(vec![copy(start, params), copy(start_grads, grads)]),
        keep: add(vec![copy(grads, kept)]),
        take_kept: add(vec![copy(kept, grads)]),
        take_start: add(vec![copy(start_grads, grads)]),
        store: buffers.pairs.iter().map(|pair| add(store(pair))).collect(),
        compare: looks.iter().map(|look| add(compare(look))).collect(),
        direct: looks.iter().map(|look| add(direct(look))).collect(),
        looks,
    })
}

struct Recorder<'a> {
    buffers: &'a Buffers,
    chunks: Vec<Chunk>,
}

impl Recorder<'_> {
    fn scalar(&self, scalar: Scalar) -> View {
        View { buffer: self.buffers.scalars, offset: scalar as usize, len: 1 }
    }

    fn norm(&self, kind: NormKind, vector: BufferId, scalar: Scalar) -> Vec<Op> {
        let partials = if kind == NormKind::Max { self.buffers.maxima } else { self.buffers.sums };
        let norm = Norm { kind, grads: vector, chunks: self.chunks.clone(), partials, frozen: self.buffers.frozen };
        let input = View { buffer: partials, offset: 0, len: self.chunks.len() };
        let join = Op::Join { kind, input, output: self.scalar(scalar) };
        vec![Op::Norm(norm), join]
    }

    fn dots(&self, left: Vec<BufferId>, right: Vec<BufferId>, output: View) -> Vec<Op> {
        let len = left.len() * right.len() * self.chunks.len();
        let partials = View { buffer: self.buffers.partials, offset: 0, len };
        let dots = Dots { left, right, chunks: self.chunks.clone(), partials };
        vec![Op::Dots(dots), Op::Join { kind: NormKind::L2, input: partials, output }]
    }

    fn combine(&self, terms: Vec<BufferId>, offset: usize, output: BufferId) -> Op {
        let coefficients = View { buffer: self.buffers.coefficients, offset, len: terms.len() };
        Op::Combine(Combine { terms, coefficients, output })
    }
}
