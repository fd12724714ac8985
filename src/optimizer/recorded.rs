//! What a recipe was recorded as: the plans and buffers by which its stepper runs it.

use crate::plan::{BufferId, Kind, Moments, PlanId};
use std::sync::Arc;

/// The plans of a recorded recipe.
#[derive(Debug, Clone)]
pub(super) struct Plans {
    pub step: PlanId,
    /// By the number of joins that follow.
    pub accumulate: Vec<PlanId>,
    /// The norm of the part that a parted recipe moves.
    pub part: Option<PlanId>,
    pub ascend: Option<PlanId>,
    pub inspect: Option<PlanId>,
}

impl Plans {
    pub(super) fn is_step(&self, plan: PlanId) -> bool {
        plan == self.step || self.inspect == Some(plan)
    }
}

/// The buffers of a recorded recipe that the host writes or reads.
#[derive(Debug, Clone)]
pub(super) struct Buffers {
    pub params: BufferId,
    pub grads: BufferId,
    pub rows: BufferId,
    /// Steps for which there are rows.
    pub slots: usize,
    pub counts: BufferId,
    pub scalars: BufferId,
    /// The groups of each norm among the scalars.
    pub domains: Arc<[Arc<[String]>]>,
    pub frozen: BufferId,
    /// A loss that the host or the caller's plans may keep there.
    pub loss: BufferId,
    /// Of each group, with the planes' indices in its rule's list of names.
    pub planes: Vec<Vec<(usize, BufferId)>>,
    /// The average of the parameters.
    pub average: Option<BufferId>,
    /// Slow weights.
    pub slow: Option<BufferId>,
    /// The copy of the parameters in 16 bits.
    pub half: Option<BufferId>,
    /// The parameters from before an ascent.
    pub before: Option<BufferId>,
    /// Partial norms of the part that a parted recipe moves, and those of all; the first elements of the chunks of all.
    pub part: Option<[BufferId; 2]>,
    pub chunks: Vec<usize>,
    /// Sums of micro-batches: by their level in the tree, or one. The last one is that of all.
    pub levels: Vec<BufferId>,
    /// The rows of an update that joins sums.
    pub joins: Option<BufferId>,
    /// The number of micro-batches in the sum.
    pub micro: Option<BufferId>,
    /// Norms of each tensor's gradient, two floats per tensor.
    pub grad_norms: Option<BufferId>,
    /// Norms of each tensor's last inspected change, and of its parameters.
    pub change_norms: Option<BufferId>,
    /// Second moments by rows and columns in the place of a plane, with the groups that have them.
    pub moments: Vec<(Vec<usize>, Moments)>,
}

/// A buffer that snapshots keep.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    pub id: BufferId,
    pub name: String,
    /// Whether it is laid out as the arena.
    pub arena: bool,
    pub kind: Kind,
    /// Elements of a lane.
    pub len: usize,
}
