//! The work of L-BFGS on the device, as plans.

use super::history::Products;
use crate::error::{Error, Result};
use crate::op::Copy;
use crate::plan::{Arena, Blueprint, BufferId, Chunk, Combine, Dots, Norm, NormKind, Op, Operated, Plan, PlanId, Role, View};

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
    pub(super) fn new(blueprint: &mut Blueprint, arena: &Arena, params: BufferId, grads: BufferId, slots: usize) -> Self {
        let [start, start_grads, kept, d, y] =
            ["line's start", "line's first gradient", "kept gradient", "direction", "difference"]
                .map(|name| blueprint.arena(name, arena, Role::State));
        let pairs =
            (0..slots).map(|slot| ["s", "y"].map(|name| blueprint.arena(&format!("{name} {slot}"), arena, Role::State)));
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
            coefficients: blueprint.floats("coefficients", DIRECTION + 1 + 2 * slots, Role::Scratch),
            products: blueprint.floats("products", products, Role::Scratch),
            scalars: blueprint.floats("scalars", 4, Role::Scratch),
            frozen: blueprint.indices("frozen of L-BFGS", 1, Role::Scratch),
            maxima: blueprint.floats("partial maxima", NormKind::Max.partials(chunks), Role::Scratch),
            sums: blueprint.floats("partial sums", NormKind::L1.partials(chunks), Role::Scratch),
            partials: blueprint.floats("partial products", products * chunks, Role::Scratch),
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

/// The plans of an L-BFGS.
#[derive(Debug, Clone)]
pub(super) struct Plans {
    /// max |g| and Σ |g|.
    pub measure: PlanId,
    /// max |g| and g·d.
    pub measure_on_line: PlanId,
    /// The line starts here.
    pub start_line: PlanId,
    /// x = start + t·d.
    pub go: PlanId,
    /// Back to the line's start, with its gradient.
    pub go_back: PlanId,
    /// Puts the gradient aside.
    pub keep: PlanId,
    /// Takes the gradient that was put aside, or that of the line's start.
    pub take_kept: PlanId,
    pub take_start: PlanId,
    /// By slot: s = t·d and y go there.
    pub store: Vec<PlanId>,
    /// Numbers of slots that plans look at: 0, 1, 2, 4, … and all.
    looks: Vec<usize>,
    /// By place in `looks`: y, and the products of y and g.
    compare: Vec<PlanId>,
    /// By place in `looks`: d, g·d, max |d|.
    direct: Vec<PlanId>,
}

impl Plans {
    pub(super) fn compare(&self, slots: usize) -> PlanId {
        self.compare[self.look(slots)]
    }

    pub(super) fn direct(&self, slots: usize) -> PlanId {
        self.direct[self.look(slots)]
    }

    /// How many slots the plans look at if this many are filled.
    pub(super) fn looked_at(&self, slots: usize) -> usize {
        self.looks[self.look(slots)]
    }

    fn look(&self, slots: usize) -> usize {
        self.looks.partition_point(|&look| look < slots)
    }
}

/// Records the plans of an L-BFGS.
pub(super) fn record(blueprint: &mut Blueprint, arena: &Arena, buffers: &Buffers) -> Result<Plans> {
    let layout = blueprint.layout().clone();
    if layout.lanes() != 1 {
        return Err(Error::setting("lanes of an L-BFGS", layout.lanes(), "1"));
    }
    let slots = buffers.pairs.len();
    let doubling = (0..).map(|k| 1 << k).take_while(|&look| look < slots);
    let looks: Vec<usize> = std::iter::once(0).chain(doubling).chain([slots]).collect();
    let recorder = Recorder { buffers, chunks: arena.chunks() };
    let Buffers { params, grads, start, start_grads, kept, d, y, .. } = *buffers;
    let mut add = |name: &str, ops: Vec<Op>| {
        let mut plan = Plan::default();
        ops.into_iter().for_each(|op| plan.push(op));
        blueprint.add(&format!("L-BFGS {name}"), plan)
    };
    let copy = |from: BufferId, to: BufferId| {
        Op::Operation(Operated::new(Copy { input: layout.whole(from), output: layout.whole(to) }))
    };
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
        measure: add("measure", [largest_g.clone(), sum_g].concat())?,
        measure_on_line: add("measure on the line", [largest_g, slope.clone()].concat())?,
        start_line: add("start the line", vec![copy(params, start), copy(grads, start_grads)])?,
        go: add("go", vec![recorder.combine(vec![start, d], FROM_LINE, params)])?,
        go_back: add("go back", vec![copy(start, params), copy(start_grads, grads)])?,
        keep: add("keep", vec![copy(grads, kept)])?,
        take_kept: add("take what was kept", vec![copy(kept, grads)])?,
        take_start: add("take the start", vec![copy(start_grads, grads)])?,
        store: (0..slots).map(|slot| add(&format!("store {slot}"), store(&buffers.pairs[slot]))).collect::<Result<_>>()?,
        compare: looks.iter().map(|look| add(&format!("compare {look}"), compare(look))).collect::<Result<_>>()?,
        direct: looks.iter().map(|look| add(&format!("direct {look}"), direct(look))).collect::<Result<_>>()?,
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
