//! A setting that follows a schedule.

use crate::plan::PerLane;
use crate::schedule::Schedule;
use std::fmt;

/// A setting that follows a schedule, in all groups or in one.
#[derive(Debug, Clone)]
pub(super) struct Follower {
    /// A group's name.
    pub group: Option<String>,
    pub setting: String,
    /// For all lanes, or one per lane.
    pub schedules: PerLane<Schedule>,
    pub effect: Effect,
}

/// What the value of a schedule does to a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Effect {
    /// It is the setting.
    Set,
    /// It multiplies the setting.
    Scale,
}

impl Effect {
    /// What a setting becomes where the schedule has a value.
    pub(super) fn of(self, own: f64, value: f64) -> f64 {
        match self {
            Self::Set => value,
            Self::Scale => own * value,
        }
    }
}

impl fmt::Display for Follower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name())?;
        let mut values = self.schedules.values().iter();
        values.next().map_or(Ok(()), |first| write!(f, "{first:?}"))?;
        values.try_for_each(|next| write!(f, "; {next:?}"))
    }
}

impl Follower {
    /// Whether it is a group's.
    pub(super) fn follows(&self, group: &str) -> bool {
        self.group.as_ref().is_none_or(|only| only == group)
    }

    /// Whether some group follows both.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.setting == other.setting && (self.group.is_none() || other.group.is_none() || self.group == other.group)
    }

    /// How the user wrote it, for errors.
    pub(super) fn name(&self) -> String {
        let call = match self.effect {
            Effect::Set => "schedule",
            Effect::Scale => "scale",
        };
        match &self.group {
            None => format!("a {call} of {}", self.setting),
            Some(group) => format!("a {call} of {} in group '{group}'", self.setting),
        }
    }

    /// Whether it is the bound of the gradient, which is the recipe's and no rule's.
    pub(super) fn bounds(&self) -> bool {
        self.setting == "clip"
    }
}
