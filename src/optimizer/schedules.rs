//! Settings of a recipe that follow schedules.

use super::follower::{Effect, Follower};
use super::recipe::Recipe;
use crate::plan::PerLane;
use crate::schedule::Schedule;

/// What a setting follows: one schedule for all lanes, or an array of one per lane.
#[derive(Debug, Clone)]
pub struct Schedules(pub(super) PerLane<Schedule>);

impl<S: Into<Schedule>> From<S> for Schedules {
    fn from(schedule: S) -> Self {
        Self(schedule.into().into())
    }
}

impl<S: Into<Schedule>> From<Vec<S>> for Schedules {
    fn from(schedules: Vec<S>) -> Self {
        Self(schedules.into_iter().map(Into::into).collect::<Vec<_>>().into())
    }
}

impl<S: Into<Schedule>, const N: usize> From<[S; N]> for Schedules {
    fn from(schedules: [S; N]) -> Self {
        Self(schedules.map(Into::into).into())
    }
}

impl Recipe {
    /// Lets a schedule set a setting of the rules, or `clip`, the bound of [`Recipe::clip`]: at the `t`-th applied step it *is*
    /// the schedule's value at step `t − 1`, whatever the rule says. Skipped steps do not advance it. Groups share the
    /// schedule; lanes share it too, or have one each, given as an array. The bound of a global norm follows the steps of the
    /// first group that is not frozen.
    ///
    /// One setting follows one schedule: a second one, or a [`Recipe::scale`] beside it, is
    /// [`Error::Conflict`](crate::Error::Conflict) when the recipe is recorded. Several in a row are a
    /// [`Sequence`](crate::schedule::Sequence), several at once a [`Product`](crate::schedule::Product).
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{AdamW, Recipe, schedule::{Cosine, Schedule}};
    ///
    /// // Up to 3e-4 in 100 steps, down to 0 in 900.
    /// let cosine: Schedule = Cosine::new(3e-4, 900).into();
    /// let recipe = Recipe::new(AdamW::default()).schedule("lr", cosine.warmup(100, 0.0));
    /// ```
    pub fn schedule(self, setting: &str, schedules: impl Into<Schedules>) -> Self {
        self.follow(None, setting, schedules, Effect::Set)
    }

    /// [`Recipe::schedule`] for one group alone.
    pub fn schedule_group(self, group: &str, setting: &str, schedules: impl Into<Schedules>) -> Self {
        self.follow(Some(group), setting, schedules, Effect::Set)
    }

    /// Lets a schedule multiply a setting of the rules, or `clip`: at the `t`-th applied step it is the rule's own value times
    /// the schedule's at step `t − 1`. Lanes and groups keep their own values and share the factor; an array has a factor for
    /// each lane. Else as [`Recipe::schedule`].
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::{AdamW, Recipe, schedule::Cosine};
    ///
    /// // Each lane goes from its own rate down to 0.
    /// let rules = [1e-3, 3e-4].map(|lr| AdamW { lr, ..Default::default() });
    /// let recipe = Recipe::population(rules).scale("lr", Cosine::new(1.0, 900));
    /// ```
    pub fn scale(self, setting: &str, factors: impl Into<Schedules>) -> Self {
        self.follow(None, setting, factors, Effect::Scale)
    }

    /// [`Recipe::scale`] for one group alone.
    pub fn scale_group(self, group: &str, setting: &str, factors: impl Into<Schedules>) -> Self {
        self.follow(Some(group), setting, factors, Effect::Scale)
    }

    fn follow(mut self, group: Option<&str>, setting: &str, schedules: impl Into<Schedules>, effect: Effect) -> Self {
        let group = group.map(String::from);
        self.schedules.push(Follower { group, setting: setting.into(), schedules: schedules.into().0, effect });
        self
    }
}
