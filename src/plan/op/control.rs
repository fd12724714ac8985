//! The decision about a step, what it counts and what it keeps.

use super::NormKind;
use crate::plan::{BufferId, PerLane};
use std::ops::Range;

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
