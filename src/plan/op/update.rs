//! A step of a rule, what it touches, and what goes with it.

use crate::plan::{BufferId, Moments, Stream, StreamOf};
use crate::rule::AnyRule;

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
    pub(in crate::plan) fn ends_before(&self, next: &Self) -> bool {
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
