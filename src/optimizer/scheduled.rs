//! A rule whose settings follow schedules.

use super::recipe::Follower;
use crate::error::{Error, Result};
use crate::rule::{AnyRule, Setting};
use crate::schedule::Schedule;

/// A rule whose numbers follow schedules: made once, and set anew for each step.
#[derive(Debug, Clone)]
pub(super) struct Scheduled {
    rule: Box<dyn AnyRule>,
    numbers: Vec<Number>,
}

/// A number that follows a schedule.
#[derive(Debug, Clone, Copy)]
struct Number {
    /// Its place among the rule's settings.
    setting: usize,
    /// The place of what it follows in the recipe.
    follower: usize,
    /// The rule's own value.
    own: f64,
}

impl Scheduled {
    /// # Errors
    /// A setting that the rule does not have, or that is no number.
    pub(super) fn new(rule: &dyn AnyRule, followers: &[Follower], group: usize) -> Result<Self> {
        let (name_of_rule, initial) = (rule.name(), rule.initial_settings());
        let mut rule = rule.boxed();
        let mut settings = rule.settings();
        let known: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
        let mut numbers = Vec::new();
        for (follower, Follower { setting: name, .. }) in
            followers.iter().enumerate().filter(|(_, follower)| follower.follows(group) && !follower.bounds())
        {
            let setting =
                known.iter().position(|known| known == name).ok_or_else(|| Error::unknown("setting", name, &known))?;
            let Setting::Number(own) = &mut settings[setting].1 else {
                return Err(Error::setting(&format!("schedule of {name}"), "given", "only for numbers"));
            };
            if initial.contains(&name.as_str()) {
                let allowed = format!("not for {name_of_rule}, where only the start of a run uses it");
                return Err(Error::setting(&format!("schedule of {name}"), "given", &allowed));
            }
            numbers.push(Number { setting, follower, own: **own });
        }
        drop(settings);
        Ok(Self { rule, numbers })
    }

    /// The rule with the numbers that `value` makes of their schedules.
    pub(super) fn at(&mut self, followers: &[Follower], value: impl Fn(&Schedule) -> f64) -> &dyn AnyRule {
        if !self.numbers.is_empty() {
            let mut settings = self.rule.settings();
            let mut set = |number: &Number, make: &dyn Fn(f64) -> f64| {
                if let Setting::Number(found) = &mut settings[number.setting].1 {
                    **found = make(**found);
                }
            };
            // Several schedules of one setting multiply.
            self.numbers.iter().for_each(|number| set(number, &|_| number.own));
            self.numbers.iter().for_each(|number| set(number, &|found| found * value(&followers[number.follower].schedule)));
        }
        &*self.rule
    }

    /// Whether its numbers change.
    pub(super) fn changes(&self) -> bool {
        !self.numbers.is_empty()
    }
}
