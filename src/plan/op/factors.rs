//! Norms of tensors, and the factors that follow from them.

use super::NormKind;
use crate::plan::BufferId;
use crate::rule::AnyRule;

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
