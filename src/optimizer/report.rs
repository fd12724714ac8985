//! What a step did, as its owner reads it.

use crate::plan::{Counter, Scalar};
use crate::rule::Real;
use smallvec::SmallVec;
use std::sync::Arc;

/// The norm of groups that are clipped by themselves: see [`Recipe::clip_norm_of`](super::Recipe::clip_norm_of).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SetNorm {
    /// The names of the groups.
    pub groups: Arc<[String]>,
    /// Their gradient's norm before clipping.
    pub norm: f64,
    /// The factor that clipping put on it; 1 without a bound.
    pub coefficient: f64,
}

/// A lane's counters and the scalars of its last step.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Report {
    /// Steps that changed the parameters.
    pub applied: u32,
    /// Steps that did nothing, since their gradient was not finite.
    pub skipped: u32,
    /// Steps that did nothing, since all groups were frozen.
    pub frozen: u32,
    /// Applied steps whose gradient was scaled down.
    pub clipped: u32,
    /// Steps that did nothing since the last one that changed the parameters.
    pub bad_in_a_row: u32,
    /// The last gradient's global norm before clipping; 0 where the recipe needs none. If every group is in a set that is
    /// clipped by itself, it is the norm of the first set. It is finite if all elements are: a norm beyond the engine's floats
    /// is reported as the largest one.
    pub norm: f64,
    /// The factor that clipping put on it; 1 without clipping.
    pub coefficient: f64,
    /// The other norms: first those of the sets of groups that are clipped by themselves, then that of the groups outside all
    /// clips.
    pub others: SmallVec<[SetNorm; 4]>,
    /// The loss scale that the next gradients have to come with; 1 without loss scaling.
    pub loss_scale: f64,
}

impl Report {
    /// From a lane's counters and scalars, and the groups of each domain.
    pub(super) fn of<F: Real>(counts: &[u32], scalars: &[F], domains: &[Arc<[String]>]) -> Self {
        let set = |(domain, groups): (usize, &Arc<[String]>)| {
            let at = Scalar::norm_of(domain);
            SetNorm { groups: Arc::clone(groups), norm: scalars[at].as_f64(), coefficient: scalars[at + 1].as_f64() }
        };
        Self {
            applied: counts[Counter::Applied as usize],
            skipped: counts[Counter::Skipped as usize],
            frozen: counts[Counter::Frozen as usize],
            clipped: counts[Counter::Clipped as usize],
            bad_in_a_row: counts[Counter::BadInARow as usize],
            norm: scalars[Scalar::Norm as usize].as_f64(),
            coefficient: scalars[Scalar::Coefficient as usize].as_f64(),
            others: domains.iter().enumerate().skip(1).map(set).collect(),
            loss_scale: scalars[Scalar::LossScale as usize].as_f64(),
        }
    }
}

/// How far a tensor moves; see [`Optimizer::inspection`](super::Optimizer::inspection).
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct TensorReport {
    /// The tensor's name.
    pub name: String,
    /// The L2 norm of its last gradient, in the scale of the step. Not finite where an element is not.
    pub grad_norm: f64,
    /// The L2 norm of what the last inspected step added to it; 0 if that one was skipped.
    pub change_norm: f64,
    /// The L2 norm of its parameters after the last inspected step; 0 where its group is frozen.
    pub param_norm: f64,
}

impl TensorReport {
    /// Of each tensor, from two norms of its gradient and its change.
    pub(super) fn all<F: Real>(names: &[String], grads: &[F], changes: &[F]) -> Vec<Self> {
        let report = |(index, name): (usize, &String)| Self {
            name: name.clone(),
            grad_norm: grads[2 * index].as_f64(),
            change_norm: changes[2 * index].as_f64(),
            param_norm: changes[2 * index + 1].as_f64(),
        };
        names.iter().enumerate().map(report).collect()
    }
}
