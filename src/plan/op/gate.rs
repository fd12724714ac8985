//! Rows for updates that are no steps.

use super::NormKind;
use crate::plan::{BufferId, PerLane};

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
