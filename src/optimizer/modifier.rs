//! What goes with a rule, whatever the rule: settings and what they add to a row.

use crate::error::{Result, range};
use crate::plan::NormKind;

/// What bounds a gradient.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Clip {
    /// The whole gradient of a lane is scaled down to a global norm of at most `max`.
    Norm {
        /// The bound, above 0. Infinity bounds nothing: the norm is only measured.
        #[cfg_attr(feature = "serde", serde(with = "crate::text::number"))]
        max: f64,
        /// Which norm.
        #[cfg_attr(feature = "serde", serde(default))]
        kind: NormKind,
    },
    /// Each element is clamped to ± this bound, finite and above 0.
    Value(f64),
    /// The gradient of each tensor is scaled down to a norm of at most `max`, by `min(1, max / (norm + 1e-6))`.
    Tensor {
        /// The bound, finite and above 0.
        max: f64,
        /// Which norm.
        #[cfg_attr(feature = "serde", serde(default))]
        kind: NormKind,
    },
    /// The gradient of each tensor is scaled to a norm of 1, by `1 / (norm + 1e-6)`.
    Normalise(NormKind),
}

impl Clip {
    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::Norm { max, kind } if max == f64::INFINITY => check_kind(kind),
            Self::Norm { max, kind } => range::positive("clip_norm", max).and_then(|()| check_kind(kind)),
            Self::Value(max) => range::positive("clip_value", max),
            Self::Tensor { max, kind } => range::positive("clip_tensor", max).and_then(|()| check_kind(kind)),
            Self::Normalise(kind) => check_kind(kind),
        }
    }

    /// Whether two lanes may have these two: they differ only in the bound.
    pub(super) fn is_like(self, other: Self) -> bool {
        std::mem::discriminant(&self) == std::mem::discriminant(&other) && self.kind() == other.kind()
    }

    /// The norm that it needs. A bound on elements needs one to find NaN, which it would hide.
    pub(super) fn kind(self) -> NormKind {
        match self {
            Self::Norm { kind, .. } | Self::Tensor { kind, .. } | Self::Normalise(kind) => kind,
            Self::Value(_) => NormKind::Max,
        }
    }
}

fn check_kind(kind: NormKind) -> Result<()> {
    range::require(kind != NormKind::Count, "clip.kind", format!("{kind:?}"), "L2, L1 or Max")
}

/// An average of the parameters over the steps, beside the parameters that are trained.
///
/// ```text
/// average += rate · (x − average)
/// ```
///
/// Until the first step that counts, the average is the parameters, as `AveragedModel` starts as a copy. It takes in applied
/// steps: a skipped step, or any while the group is frozen, leaves it as it is.
///
/// PyTorch's `AveragedModel` knows no frozen groups: its average goes on towards the parameters. Here a frozen group makes no
/// steps, so its average waits, as its moments do, until the group thaws. If parameters should stay while their average
/// approaches them, give the group a learning rate of 0 ([`Optimizer::set`](super::Optimizer::set)) and no decay instead.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum Average {
    /// Exponential moving average: rate = 1 − decay, 1 at the first step; as `torch.optim.swa_utils.get_ema_multi_avg_fn`.
    Ema {
        /// At least 0 and below 1. PyTorch's default is 0.999.
        decay: f64,
    },
    /// Stochastic weight averaging: the plain mean of the parameters after steps `start`, `start + every`, …; as
    /// `torch.optim.swa_utils.AveragedModel`. Source: Izmailov et al. 2018, arXiv:1803.05407.
    Swa {
        /// The first step that counts, from 1 on.
        start: u64,
        /// Steps from one that counts to the next, at least 1.
        every: u64,
    },
}

impl Average {
    pub(super) fn check(self) -> Result<()> {
        match self {
            Self::Ema { decay } => range::fraction("ema.decay", decay),
            Self::Swa { start, every } => {
                range::require(start >= 1, "swa.start", start, "at least 1")?;
                range::require(every >= 1, "swa.every", every, "at least 1")
            }
        }
    }

    /// The rate of the `t`-th applied step.
    pub(super) fn rate(self, t: u64) -> f64 {
        match self {
            Self::Ema { .. } if t == 1 => 1.0,
            Self::Ema { decay } => 1.0 - decay,
            Self::Swa { start, every } if t >= start && (t - start).is_multiple_of(every) => {
                (((t - start) / every + 1) as f64).recip()
            }
            // Nothing counts yet: the average is the parameters.
            Self::Swa { start, .. } if t < start => 1.0,
            Self::Swa { .. } => 0.0,
        }
    }

    /// Whether the average is still the parameters themselves after `applied` steps.
    pub(super) fn is_copy(self, applied: u64) -> bool {
        self.rate(applied + 1) == 1.0
    }
}

/// Lookahead: every `steps` steps slow weights go a part of the way to the parameters, which start again from there.
///
/// ```text
/// slow += alpha · (x − slow);  x = slow
/// ```
///
/// Slow weights start where the parameters were before the first step, and where
/// [`Optimizer::set_params`](super::Optimizer::set_params) puts them. Source: Zhang et al. 2019, arXiv:1907.08610.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Lookahead {
    /// Steps in between, at least 1. Default 5.
    pub steps: u64,
    /// The part of the way, above 0 and at most 1. Default 0.5.
    pub alpha: f64,
}

impl Default for Lookahead {
    fn default() -> Self {
        Self { steps: 5, alpha: 0.5 }
    }
}

impl Lookahead {
    pub(super) fn check(self) -> Result<()> {
        range::require(self.steps >= 1, "lookahead.steps", self.steps, "at least 1")?;
        let holds = self.alpha > 0.0 && self.alpha <= 1.0;
        range::require(holds, "lookahead.alpha", self.alpha, "above 0 and at most 1")
    }

    /// The rate of the `t`-th applied step.
    pub(super) fn rate(self, t: u64) -> f64 {
        if t.is_multiple_of(self.steps) { self.alpha } else { 0.0 }
    }
}

/// Several micro-batches make one step: [`Optimizer::accumulate`](super::Optimizer::accumulate) adds the gradients of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(default, deny_unknown_fields))]
pub struct Accumulation {
    /// Step with the mean over the micro-batches, not with their sum. Default yes.
    pub mean: bool,
    /// Leave out a micro-batch whose gradient is not finite, and step with the others. Default no: it spoils the step, which is
    /// skipped if the recipe looks for bad steps.
    pub drop_bad: bool,
    /// The order in which gradients are added up. Default: one after the other.
    pub order: SumOrder,
}

impl Default for Accumulation {
    fn default() -> Self {
        Self { mean: true, drop_bad: false, order: SumOrder::InTurn }
    }
}

/// The order in which the gradients g₀, g₁, … of a step's micro-batches are added up. Sums of floats depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case", deny_unknown_fields)
)]
pub enum SumOrder {
    /// `((g₀ + g₁) + g₂) + g₃`: one sum, which takes 4 bytes per parameter.
    #[default]
    InTurn,
    /// `(g₀ + g₁) + (g₂ + g₃)`: a binary tree over the numbers of micro-batches. Neighbours are joined, then neighbouring
    /// pairs, and so on; see [`tree`](crate::tree). Several machines that share the micro-batches come to the same bits,
    /// however many they are. A micro-batch that is dropped leaves 0 in its place.
    ///
    /// A micro-batch costs about twice as much memory traffic as in turn, and sums of 1, 2, 4, … micro-batches wait for their
    /// neighbours: ⌊log₂ `micro_batches`⌋ + 1 buffers, 4 bytes per parameter each.
    Tree {
        /// Micro-batches of a step, at most: from 1 to 65,536. A step may have fewer.
        micro_batches: usize,
    },
}

impl SumOrder {
    pub(super) fn check(self) -> Result<()> {
        let Self::Tree { micro_batches } = self else { return Ok(()) };
        let holds = (1..=1 << 16).contains(&micro_batches);
        range::require(holds, "accumulate.order.tree.micro_batches", micro_batches, "from 1 to 65536")
    }

    /// Sums that wait for their neighbours at once, the whole one included.
    pub(super) fn levels(self) -> usize {
        match self {
            Self::InTurn => 1,
            Self::Tree { micro_batches } => micro_batches.max(1).ilog2() as usize + 1,
        }
    }

    /// Micro-batches of a step, at most.
    pub(super) fn most(self) -> usize {
        match self {
            Self::InTurn => usize::MAX,
            Self::Tree { micro_batches } => micro_batches,
        }
    }

    /// How many joins follow when the `number`-th micro-batch of a step, from 0 on, is added.
    pub(super) fn joins(self, number: usize) -> usize {
        match self {
            Self::InTurn => 0,
            Self::Tree { .. } => number.trailing_ones() as usize,
        }
    }
}
