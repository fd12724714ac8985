//! The learning rates of a run, and what changes them.

use crate::Usage;
use crate::settings::Scheduled;
use anyhow::Result;
use thalweg::plan::Program;
use thalweg::schedule::{Plateau, ReduceLrOnPlateau};
use thalweg::{AnyRule, Recipe, Setting, Trainer};

/// Settings that are learning rates.
const RATES: [&str; 2] = ["lr", "adamw_lr"];

/// What changes the learning rates from epoch to epoch, by the loss on the test data.
pub struct Follower {
    plateau: Plateau,
    /// With their values at the start.
    rates: Vec<(&'static str, f64)>,
}

impl Follower {
    /// Sets the rates of the next epoch.
    pub fn set<P: Program>(&self, trainer: &mut Trainer<P>) -> Result<()> {
        let factor = self.plateau.lr();
        Ok(self.rates.iter().try_for_each(|(name, rate)| trainer.set(0, 0, name, rate * factor))?)
    }

    /// Takes the loss of an epoch.
    pub fn epoch<P: Program>(&mut self, trainer: &mut Trainer<P>, loss: f64) -> Result<()> {
        let before = self.plateau.lr();
        if self.plateau.step(loss) == before { Ok(()) } else { self.set(trainer) }
    }
}

/// A recipe with its learning rates on a schedule over a run of so many steps, or with what makes them follow the loss.
pub fn scheduled(
    recipe: Recipe,
    rule: &dyn AnyRule,
    schedule: Option<&Scheduled>,
    steps: u64,
) -> Result<(Recipe, Option<Follower>)> {
    let Some(schedule) = schedule else { return Ok((recipe, None)) };
    let wrong = |error: thalweg::Error| Usage(error.to_string());
    if rule.name() == "rprop" {
        return Err(Usage("--schedule has no effect on rprop, whose lr is only the length of its first step".into()).into());
    }
    let rates = rates(rule);
    if schedule.is_plateau() {
        let plateau = schedule.make_plateau().and_then(ReduceLrOnPlateau::start).map_err(wrong)?;
        return Ok((recipe, Some(Follower { plateau, rates })));
    }
    let schedule = schedule.make(steps).map_err(wrong)?;
    Ok((rates.iter().fold(recipe, |recipe, (name, _)| recipe.schedule(name, schedule.clone())), None))
}

/// A rule's learning rates.
pub fn rates(rule: &dyn AnyRule) -> Vec<(&'static str, f64)> {
    let mut rule = rule.boxed();
    let rate = |(name, setting)| match setting {
        Setting::Number(rate) if RATES.contains(&name) => Some((name, *rate)),
        _ => None,
    };
    rule.settings().into_iter().filter_map(rate).collect()
}
