//! What a sweep compares.

use super::result::{NEAR_ACCURACY, NEAR_LOSS};
use crate::data::short;
use crate::score::Aim;
use clap::ValueEnum;
use thalweg::sweep::Goal;

/// The choices of `--metric`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Metric {
    Accuracy,
    Loss,
    R2,
    Mae,
    Rmse,
}

impl Metric {
    /// That of a task where none is given.
    pub fn of(aim: Aim) -> Self {
        match aim {
            Aim::Classes => Self::Accuracy,
            Aim::Numbers => Self::R2,
        }
    }

    /// Whether a task measures it.
    pub fn fits(self, aim: Aim) -> bool {
        match self {
            Self::Loss => true,
            Self::Accuracy => aim == Aim::Classes,
            Self::R2 | Self::Mae | Self::Rmse => aim == Aim::Numbers,
        }
    }

    /// The metric of the library.
    pub fn measured(self) -> thalweg::train::Metric {
        match self {
            Self::Accuracy => thalweg::train::Metric::Accuracy,
            Self::Loss => thalweg::train::Metric::Loss,
            Self::R2 => thalweg::train::Metric::R2,
            Self::Mae => thalweg::train::Metric::Mae,
            Self::Rmse => thalweg::train::Metric::Rmse,
        }
    }

    pub fn goal(self) -> Goal {
        if self.measured().is_gain() { Goal::Maximize } else { Goal::Minimize }
    }

    pub fn goal_name(self) -> &'static str {
        match self.goal() {
            Goal::Minimize => "minimize",
            Goal::Maximize => "maximize",
        }
    }

    pub fn name(self) -> &'static str {
        self.measured().name()
    }

    /// Describes a metric that is nearly the best.
    pub fn near(self) -> String {
        match self {
            Self::Accuracy => format!("an accuracy at most {} points lower", 100.0 * NEAR_ACCURACY),
            Self::R2 => format!("an R² at most {NEAR_ACCURACY} lower"),
            Self::Loss => format!("a loss at most {:.0} % higher", 100.0 * (NEAR_LOSS - 1.0)),
            Self::Mae | Self::Rmse => format!("an error at most {:.0} % higher", 100.0 * (NEAR_LOSS - 1.0)),
        }
    }

    /// A metric as text.
    pub fn shown(self, metric: f64) -> String {
        match self {
            Self::Accuracy => format!("{:.2} %", 100.0 * metric),
            Self::Loss | Self::R2 => format!("{metric:.4}"),
            Self::Mae | Self::Rmse => short(metric),
        }
    }
}
