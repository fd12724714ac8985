//! Operations as data. Matrices are row-major; sizes are per lane.

use super::{BufferId, Chunk, Moments, Operated, Operation, PerLane, Stream, StreamOf, View};
use crate::rule::{AnyRule, Orthogonal};
use std::ops::Range;

/// A list of operations, run in order.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    ops: Vec<Op>,
}

impl Plan {
    /// Appends an operation.
    pub fn push(&mut self, op: Op) {
        self.ops.push(op);
    }

    /// Appends an [`Operation`].
    pub fn operate(&mut self, operation: impl Operation) {
        self.push(Op::Operation(Operated::new(operation)));
    }

    /// The operations in order.
    pub fn ops(&self) -> &[Op] {
        &self.ops
    }
}

/// One operation. Each writes buffers that it does not read, unless it says so.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Op {
    /// An operation by contract.
    Operation(Operated),
    /// Partial sums of squares.
    Norm(Norm),
    /// The decision about a step: its norm, clip coefficient and row, or that it is skipped.
    Control(Control),
    /// Norms of each tensor, and the factors that follow from them.
    Factors(Factors),
    /// Whether a micro-batch counts, or how far to ascend: a row for an update that is not a step.
    Gate(Gate),
    /// Takes the mean of each line out of it.
    Centralise(Centralise),
    /// Makes directions of matrices orthogonal.
    Orthogonalise(Orthogonalise),
    /// A rule over all parameters of a lane.
    Update(Update),
    /// Partial inner products of vectors.
    Dots(Dots),
    /// `output[r] = Σ_c input[r, c]`, or with [`NormKind::Max`] the largest, for values that are not negative: what partial
    /// norms and partial inner products are parts of. No root is taken.
    Join {
        /// Whether to add or to take the largest.
        kind: NormKind,
        /// A matrix of as many rows as the output has elements.
        input: View,
        /// One element per row.
        output: View,
    },
    /// A linear combination of vectors.
    Combine(Combine),
    /// Running means of squares, of matrices by rows and columns.
    Factored(Factored),
    /// Lanes take over what other lanes hold.
    CopyLanes(CopyLanes),
}

/// In each of the buffers, lane `k` takes over what lane `from[k]` holds: winners over losers of a population, or the lanes
/// that go on over those that have ended.
///
/// A lane stays as it is if its own number stands in its place, or the number of no lane. One that takes over another is no
/// source: whoever names it stays too. So the result does not depend on the order of the copies.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CopyLanes {
    /// What is copied: buffers of each lane, with elements of any kind.
    pub buffers: Vec<BufferId>,
    /// One index per lane, in a buffer that the lanes share.
    pub from: BufferId,
}

impl CopyLanes {
    /// Copies these buffers, lane `k` from lane `from[k]`.
    pub fn new(buffers: Vec<BufferId>, from: BufferId) -> Self {
        Self { buffers, from }
    }
}

/// Which norm of a gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum NormKind {
    /// The root of the sum of squares.
    #[default]
    L2,
    /// The sum of absolute values.
    L1,
    /// The largest absolute value.
    Max,
    /// The number of elements that are not 0. No norm to clip by.
    Count,
}

impl NormKind {
    /// Whether its sums can leave the range of the float although all terms are in it.
    pub(crate) fn leaves_range(self) -> bool {
        matches!(self, Self::L2 | Self::L1)
    }

    /// How many times a power of two that multiplies the elements is in the sum.
    pub(crate) fn power(self) -> i32 {
        if self == Self::L2 { 2 } else { 1 }
    }

    /// Elements of [`Norm::partials`] for this many chunks.
    pub fn partials(self, chunks: usize) -> usize {
        if self.leaves_range() { chunks.saturating_mul(2) } else { chunks }
    }
}

/// Partial norms of each lane's gradients: the i-th is Σ g², Σ |g| or max |g| over the i-th chunk. Whatever is not finite stays
/// so in the partial norm. The chunks of frozen groups give 0.
///
/// Squares leave the range of a float before their roots do: in single precision from 1.8e19 on, and below 1e-19. So a sum has
/// a second value, behind the first ones of all chunks. Where the first value is infinite, or is tiny although not all elements
/// are 0, the second is the same sum over elements times a power of two that the engine fixes. Then the norm of every finite
/// gradient is known to full precision.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Norm {
    /// Which norm.
    pub kind: NormKind,
    /// The gradients.
    pub grads: BufferId,
    /// What each partial norm covers.
    pub chunks: Vec<Chunk>,
    /// One value per chunk, or two: see [`NormKind::partials`].
    pub partials: BufferId,
    /// One index per group: not 0 where the group is frozen.
    pub frozen: BufferId,
}

impl Norm {
    /// The norms of these chunks of gradients.
    pub fn new(kind: NormKind, grads: BufferId, chunks: Vec<Chunk>, partials: BufferId, frozen: BufferId) -> Self {
        Self { kind, grads, chunks, partials, frozen }
    }
}

/// What the counters of a lane count; their places in the index buffer `counts`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counter {
    /// Steps that changed the parameters.
    Applied,
    /// Steps that did nothing, since their gradient was not finite.
    Skipped,
    /// Applied steps whose gradient was scaled down.
    Clipped,
    /// Applied steps since the loss scale last changed.
    Good,
    /// Skipped steps since the last applied one.
    BadInARow,
    /// Steps that did nothing, since all groups were frozen.
    Frozen,
}

impl Counter {
    /// Number of counters of a lane. Behind them stands, for each group, the number of steps that were applied to it.
    pub const LEN: usize = 6;
}

/// The scalars of a lane's last step; their places in the float buffer `scalars`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scalar {
    /// The gradient's global norm, without the loss scale and before clipping.
    Norm,
    /// The factor that clipping put on the gradient.
    Coefficient,
    /// The loss scale that the next gradients have to come with.
    LossScale,
}

impl Scalar {
    /// Number of scalars where all groups share a norm. Each further domain of a [`Control`] adds two behind them: a norm and a
    /// coefficient.
    pub const LEN: usize = 3;

    /// Number of scalars with this many domains, at least one.
    pub fn len(domains: usize) -> usize {
        Self::norm_of(domains)
    }

    /// The place of a domain's norm; its coefficient is behind it.
    pub fn norm_of(domain: usize) -> usize {
        if domain == 0 { Self::Norm as usize } else { Self::LEN + 2 * (domain - 1) }
    }
}

/// Dynamic loss scaling: the scale grows after a number of good steps in a row, and shrinks with each bad one.
///
/// Rule and defaults of `torch.amp.GradScaler`, which has no smallest scale: there a scale falls to 0 in a long run of bad
/// steps, and stays 0.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct LossScale {
    /// The scale of the first step, finite and above 0. Default 2¹⁶.
    pub init: f64,
    /// Factor after [`LossScale::interval`] good steps, above 1. Default 2. A scale that would be infinite stays.
    pub growth: f64,
    /// Factor after a bad step, above 0 and below 1. Default 0.5.
    pub backoff: f64,
    /// A bad step shrinks the scale to no less than this; finite and at least 0. Default 2⁻¹⁶. A scale that is smaller from the
    /// start stays where it is. With 0 there is no bound, as in PyTorch.
    pub min: f64,
    /// Good steps until the scale grows, at least 1. Default 2,000.
    pub interval: u32,
}

impl Default for LossScale {
    fn default() -> Self {
        Self { init: 65_536.0, growth: 2.0, backoff: 0.5, min: 1.0 / 65_536.0, interval: 2_000 }
    }
}

/// The decision about a step, for each lane. The partial norms of each domain, a set of groups, are joined into its norm. Then
/// the step counts as applied, and the rows of each group become current, with `scale` multiplied by the clip coefficient
/// `min(1, max_norm / (norm + 1e-6))` and divided by the loss scale. If `skip_bad` holds, and an element of the gradient is not
/// finite or may become infinite by its scales, the step counts as skipped instead, and `live` is 0. A frozen group's `live` is
/// 0 too, and its steps do not count.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Control {
    /// Partial norms and their kind; without them every step is applied, unclipped.
    pub norm: Option<(BufferId, NormKind)>,
    /// Whether the norm decides if the step is skipped; else it is there to be looked at.
    pub skip_bad: bool,
    /// Hyper rows of groups × `slots` steps; a group's step after `n` applied ones uses its slot `n mod slots`.
    pub rows: BufferId,
    /// Steps for which there are rows, at least 1.
    pub slots: usize,
    /// The rows of this step, one per group.
    pub current: BufferId,
    /// Counters, in the order of [`Counter`], then one per group.
    pub counts: BufferId,
    /// Scalars, in the order of [`Scalar`], then two for each domain but the first.
    pub scalars: BufferId,
    /// One index per group: not 0 where the group is frozen.
    pub frozen: BufferId,
    /// Groups of hyper-parameters.
    pub groups: usize,
    /// Which of the partial norms belong to each domain: groups that share a norm. At least one.
    pub domains: Vec<Range<usize>>,
    /// The domain of each group.
    pub domain_of: Vec<usize>,
    /// Dynamic loss scaling, by lane; it needs a norm.
    pub loss_scale: Option<PerLane<LossScale>>,
    /// Micro-batches that were accumulated; without any there is no step. Set to 0.
    pub micro: Option<Micro>,
}

impl Control {
    /// Of one group, with every step applied. For anything else set the other fields.
    pub fn new(rows: BufferId, slots: usize, current: BufferId, [counts, scalars, frozen]: [BufferId; 3]) -> Self {
        Self {
            norm: None,
            skip_bad: false,
            rows,
            slots,
            current,
            counts,
            scalars,
            frozen,
            groups: 1,
            domains: vec![Range::default()],
            domain_of: vec![0],
            loss_scale: None,
            micro: None,
        }
    }
}

/// The number of accumulated micro-batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Micro {
    /// One index.
    pub count: BufferId,
    /// Divide the gradient by it.
    pub mean: bool,
}

impl Micro {
    /// Micro-batches counted by the index `count`, of whose gradients a step takes the mean or the sum.
    pub fn new(count: BufferId, mean: bool) -> Self {
        Self { count, mean }
    }
}

/// Per tensor: its norms, and what they make of its gradient. With a = ‖g‖ from `partials` and b = ‖x‖ from `params`:
///
/// ```text
/// norms = (a, b)
/// factors = (bound(a), trust(a·bound(a), b))
/// ```
///
/// The first factor multiplies the gradient, the second what the rule is given. A tensor without chunks has norms of 0.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Factors {
    /// Tensors, all or some.
    pub tensors: Vec<TensorChunks>,
    /// Partial norms, and their kind.
    pub partials: (BufferId, NormKind),
    /// Of what they are.
    pub of: NormOf,
    /// Partial L2 norms of the parameters, for rules with a trust.
    pub params: Option<BufferId>,
    /// How the norm bounds the gradient.
    pub bound: TensorBound,
    /// What gives the second factor.
    pub trust: Trust,
    /// The rows of this step, one per group.
    pub current: BufferId,
    /// One value per tensor that a trust keeps from step to step.
    pub memory: Option<BufferId>,
    /// Two per tensor.
    pub norms: BufferId,
    /// Two per tensor.
    pub factors: BufferId,
}

impl Factors {
    /// Norms of tensors from partial norms of gradients, and factors of 1. For anything else set the other fields.
    pub fn new(
        tensors: Vec<TensorChunks>,
        partials: (BufferId, NormKind),
        current: BufferId,
        [norms, factors]: [BufferId; 2],
    ) -> Self {
        Self {
            tensors,
            partials,
            of: NormOf::Gradient,
            params: None,
            bound: TensorBound::None,
            trust: Trust::None,
            current,
            memory: None,
            norms,
            factors,
        }
    }
}

/// What partial norms are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NormOf {
    /// Gradients, which `scale` of the current row brings into the scale of the step.
    Gradient,
    /// A direction or a change that an update of this step left behind. A step that is skipped leaves nothing: 0.
    Direction,
}

/// A tensor as [`Factors`] sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorChunks {
    /// Its first chunk.
    pub chunk: usize,
    /// Its chunks.
    pub chunks: usize,
    /// Its elements, without padding.
    pub len: usize,
    /// Its group.
    pub group: usize,
    /// Its place among norms, factors and memory.
    pub tensor: usize,
}

/// What a tensor's own norm does to its gradient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum TensorBound {
    /// Nothing: 1.
    #[default]
    None,
    /// `min(1, max_norm / (a + 1e-6))` with `max_tensor` of the current row.
    Clip,
    /// `1 / (a + 1e-6)`.
    Normalise,
}

/// What gives the second factor of a tensor.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Trust {
    /// Nothing: 1.
    None,
    /// The rule's own [`trust`](crate::Rule::trust).
    Rule(Box<dyn AnyRule>),
    /// `len / max(a, len/1000)` where a counts the elements that a cautious update kept.
    Cautious,
}

/// A row for an update that is not a step. `live` is 1 and `scale` what the kind says; the rule's own first scalar is `stays`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Gate {
    /// What the row is for.
    pub kind: GateKind,
    /// Partial norms and their kind; without them nothing is bad.
    pub norm: Option<(BufferId, NormKind)>,
    /// One index per group: not 0 where the group is frozen.
    pub frozen: BufferId,
    /// The rows, one per group.
    pub current: BufferId,
    /// Groups of hyper-parameters.
    pub groups: usize,
}

impl Gate {
    /// A gate without a norm, so that no gradient counts as bad.
    pub fn new(kind: GateKind, frozen: BufferId, current: BufferId, groups: usize) -> Self {
        Self { kind, norm: None, frozen, current, groups }
    }
}

/// What a [`Gate`] decides about.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum GateKind {
    /// Whether a micro-batch joins the sum: `live` is 0 if it is bad, else the index `count` grows by 1. `scale` is
    /// 1.
    Accumulate {
        /// One index.
        count: BufferId,
    },
    /// How far parameters ascend: `scale` is `rho / (norm + 1e-12)`. `stays` is 1 where they stay: in frozen groups, and
    /// everywhere if the gradient is bad.
    Ascend {
        /// The distance.
        rho: PerLane<f64>,
    },
}

/// `grads[e] −= mean of its line`, for lines of equal length in each tensor.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Centralise {
    /// Gradients, read and written.
    pub grads: BufferId,
    /// The lines: first element in the arena, and elements.
    pub lines: Vec<[usize; 2]>,
}

impl Centralise {
    /// Of these lines.
    pub fn new(grads: BufferId, lines: Vec<[usize; 2]>) -> Self {
        Self { grads, lines }
    }
}

/// Makes the directions of matrices of one shape orthogonal, in place, as [`Orthogonal`] says. A matrix whose norm is 0
/// becomes 0.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Orthogonalise {
    /// An arena, read and written.
    pub directions: BufferId,
    /// Two per tensor, the first the norm of its direction; from [`Factors`].
    pub norms: BufferId,
    /// First element in the arena, and place among the norms.
    pub matrices: Vec<[usize; 2]>,
    /// Rows of each matrix.
    pub rows: usize,
    /// Columns of each matrix.
    pub columns: usize,
    /// Coefficients, iterations and what follows.
    pub how: Orthogonal,
    /// For intermediate results: two buffers that hold the matrices, two that hold as many squares of their shorter side.
    pub scratch: [BufferId; 4],
}

impl Orthogonalise {
    /// Of matrices of this many rows and columns.
    pub fn new(
        directions: BufferId,
        norms: BufferId,
        matrices: Vec<[usize; 2]>,
        [rows, columns]: [usize; 2],
        how: Orthogonal,
        scratch: [BufferId; 4],
    ) -> Self {
        Self { directions, norms, matrices, rows, columns, how, scratch }
    }
}

/// One step of a rule on the parameters of its spans, in place.
///
/// ```text
/// (f, r) = factors of the tensor      (1, 1) without factors
/// g = clamp(f · scale · g, ±max_value)
/// d = r · (g + l2 · x + l1 · sign(x))
/// x = rule(decay · x, d, state, row)
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Update {
    /// The rule; its numbers come from the rows, its switches from here.
    pub rule: Box<dyn AnyRule>,
    /// What it reads and writes, each once: parameters, gradients, the planes that the rule uses in their order, and what the
    /// pass and the recipe want beside them.
    pub streams: Vec<Stream>,
    /// The rows of this step, one per group.
    pub current: BufferId,
    /// Where groups, or tensors where factors differ, begin and end, in order. What lies in none of them is left alone.
    pub spans: Vec<Span>,
    /// Which part of a step this is.
    pub kind: UpdateKind,
    /// What else the kernel does; what is off costs nothing.
    pub extras: Extras,
    /// What takes the place of the plane of a factored rule.
    pub moments: Option<Moments>,
}

impl Update {
    /// A whole step of spans with nothing beside it.
    pub fn new(rule: impl Into<Box<dyn AnyRule>>, streams: Vec<Stream>, current: BufferId, spans: Vec<Span>) -> Self {
        let (kind, extras) = (UpdateKind::Whole, Extras::default());
        Self { rule: rule.into(), streams, current, spans, kind, extras, moments: None }
    }

    /// The buffer of a stream, where it has it.
    pub fn buffer(&self, of: StreamOf) -> Option<BufferId> {
        self.stream(of).map(|stream| stream.buffer)
    }

    /// A stream, if the update has it.
    pub fn stream(&self, of: StreamOf) -> Option<Stream> {
        self.streams.iter().find(|stream| stream.of == of).copied()
    }
}

/// Neighbouring elements of one group, and of one tensor where factors differ by tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Span {
    /// First element in the arena.
    pub start: usize,
    /// The place that its first element would have if tensors lay in the order of sums over them. It differs from `start` only
    /// over slices of the caller. Random numbers are drawn by it, so that they do not depend on where a tensor lies.
    pub place: usize,
    /// Elements, padding included.
    pub len: usize,
    /// The group.
    pub group: usize,
    /// The place of the tensor's factors.
    pub tensor: usize,
}

impl Span {
    /// Elements of an arena whose tensors lie in the order of sums.
    pub fn new(start: usize, len: usize, group: usize, tensor: usize) -> Self {
        Self { start, place: start, len, group, tensor }
    }

    /// Whether another begins where it ends, in the arena and in the order of sums.
    pub(super) fn ends_before(&self, next: &Self) -> bool {
        (self.start + self.len, self.place + self.len) == (next.start, next.place)
    }
}

/// Which part of a step an update is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum UpdateKind {
    /// All of it.
    #[default]
    Whole,
    /// State, and `direction = rule(x, d)`; parameters stay. For rules whose step depends on their direction's norm.
    Direction,
    /// State, and `direction = −rule(0, d)` where it has the sign of d, else 0; parameters stay.
    Cautious,
    /// `x = decay · x − r · direction`, with the second factor r; the direction takes the place of the gradient.
    Apply,
}

/// Parts of an update that are compiled in where they are wanted; what comes with a stream of its own is told by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Extras {
    /// Bound each element of the gradient by the row's `max_value`.
    pub max_value: bool,
    /// Add the row's `l1` times the sign of the parameter to the gradient.
    pub l1: bool,
    /// Two factors per tensor.
    pub factors: Option<BufferId>,
    /// Whether the gradient is set to 0, also where the step does nothing.
    pub zero_grads: bool,
}

/// A float type of 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Half {
    /// IEEE 754 binary16: 5 bits of exponent, 10 of fraction; infinite from 65,520 on.
    F16,
    /// The upper half of an `f32`, rounded to the nearest, ties to even.
    Bf16,
}

impl Half {
    /// The bits of the nearest value, ties to even.
    pub fn bits(self, x: f32) -> u16 {
        match self {
            Self::F16 => half::f16::from_f32(x).to_bits(),
            Self::Bf16 => half::bf16::from_f32(x).to_bits(),
        }
    }

    /// The value of bits.
    pub fn value(self, bits: u16) -> f32 {
        match self {
            Self::F16 => half::f16::from_bits(bits).to_f32(),
            Self::Bf16 => half::bf16::from_bits(bits).to_f32(),
        }
    }
}

/// `partials[l·R + r, c] = Σ left_l[i] · right_r[i]` over the elements `i` of the c-th chunk; R is the number of vectors on the
/// right. Vectors are buffers of one arena, and may be the same ones on both sides.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Dots {
    /// Left factors.
    pub left: Vec<BufferId>,
    /// Right factors.
    pub right: Vec<BufferId>,
    /// What each partial sum covers.
    pub chunks: Vec<Chunk>,
    /// One row per product, one column per chunk.
    pub partials: View,
}

impl Dots {
    /// The products of each vector on the left with each on the right.
    pub fn new(left: Vec<BufferId>, right: Vec<BufferId>, chunks: Vec<Chunk>, partials: View) -> Self {
        Self { left, right, chunks, partials }
    }
}

/// `output = Σ_k coefficients[k] · term_k`, element-wise; the coefficients are a lane's own floats. Vectors are buffers of one
/// arena.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Combine {
    /// What is added up, at least one.
    pub terms: Vec<BufferId>,
    /// One per term.
    pub coefficients: View,
    /// What is written; no term.
    pub output: BufferId,
}

impl Combine {
    /// The sum of terms, each times its coefficient.
    pub fn new(terms: Vec<BufferId>, coefficients: View, output: BufferId) -> Self {
        Self { terms, coefficients, output }
    }
}

/// Second moments of gradients g, in the scale of the step, with the rate w and the floor that a factored rule's row starts
/// with:
///
/// ```text
/// R += w · (mean of g² over the row − R)            one per row
/// C += w · (mean of g² over the column − C)         one per column
/// divisor = max(mean of R, floor)                   one per matrix
/// V += w · (g² − V)                                 one per element of a vector
/// ```
///
/// Where `live` of the current row is 0, all of them stay.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Factored {
    /// The gradients.
    pub grads: BufferId,
    /// The rows of this step, one per group.
    pub current: BufferId,
    /// What is read and written.
    pub moments: Moments,
    /// Sums over tiles, as many as [`Moments::partials`] says.
    pub partials: BufferId,
}

impl Factored {
    /// Of these gradients.
    pub fn new(grads: BufferId, current: BufferId, moments: Moments, partials: BufferId) -> Self {
        Self { grads, current, moments, partials }
    }
}
