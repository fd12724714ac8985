//! The learning rates of a run, and how they change.

use crate::Usage;
use crate::data::short;
use crate::settings::Scheduled;
use anyhow::{Result, anyhow};
use serde_json::{Value, json};
use thalweg::plan::Program;
use thalweg::schedule::{Plateau, ReduceLrOnPlateau, Schedule};
use thalweg::{AnyRule, Recipe, Setting, Trainer};

/// Changes the learning rates from epoch to epoch, by the loss on the test data.
pub struct Follower {
    plateau: Plateau,
    rates: Starts,
}

/// The learning rates of groups at the start.
pub type Starts = Vec<(&'static str, f64)>;

/// Sets the learning rates of groups to a part of what they were at the start.
pub fn set<P: Program>(trainer: &mut Trainer<P>, rates: &Starts, factor: f64) -> Result<()> {
    Ok(rates.iter().try_for_each(|(group, rate)| trainer.set(0, group, "lr", rate * factor))?)
}

/// The learning rates of groups that have any.
pub fn starts(groups: &[(&'static str, &dyn AnyRule)]) -> Starts {
    groups.iter().filter_map(|(group, rule)| Some((*group, lr(*rule)?))).collect()
}

impl Follower {
    /// Sets the rates of the next epoch.
    pub fn set<P: Program>(&self, trainer: &mut Trainer<P>) -> Result<()> {
        set(trainer, &self.rates, self.plateau.value())
    }

    /// Takes the losses of earlier epochs. The rates that follow from them are not set yet.
    pub fn replay(&mut self, losses: impl Iterator<Item = f64>) {
        losses.for_each(|loss| {
            self.plateau.step(loss);
        });
    }

    /// Takes the loss of an epoch, and sets the rates that follow from it.
    pub fn epoch<P: Program>(&mut self, trainer: &mut Trainer<P>, loss: f64) -> Result<()> {
        let before = self.plateau.value();
        if self.plateau.step(loss) == before { Ok(()) } else { self.set(trainer) }
    }
}

/// The learning rate over a run.
#[derive(Debug, Clone)]
pub struct Rates {
    /// The rule's own rate, if it has one.
    lr: Option<f64>,
    /// The schedule with all lengths filled in, and its values.
    schedule: Option<(Scheduled, Option<Schedule>)>,
    steps: u64,
    epochs: usize,
}

/// The most steps at which a schedule is looked at; enough for a longer run too.
const LOOKS: u64 = 100_000;
/// With a highest value below this, a run hardly trains at all.
const TINY: f64 = 1e-3;
/// Schedules that are meant to stay at a value for a while, also at their end.
const STAIRS: [&str; 4] = ["constant", "step", "multi_step", "piecewise"];

impl Rates {
    /// The schedule, with the settings that were not given filled in.
    pub fn schedule(&self) -> Option<String> {
        self.schedule.as_ref().map(|(scheduled, _)| scheduled.to_string())
    }

    /// The rate of a step, counted from 0.
    pub fn at(&self, step: u64) -> Option<f64> {
        let factor = self.schedule.as_ref().and_then(|(_, schedule)| Some(schedule.as_ref()?.value(step)));
        self.lr.map(|lr| lr * factor.unwrap_or(1.0))
    }

    /// The steps at which the schedule is looked at, including the last one, with its values there.
    fn values(&self) -> Vec<(u64, f64)> {
        let Some((_, Some(schedule))) = &self.schedule else { return Vec::new() };
        let stride = self.steps.div_ceil(LOOKS).max(1);
        let last = self.steps.saturating_sub(1);
        (0..last).step_by(stride as usize).chain([last]).map(|step| (step, schedule.value(step))).collect()
    }

    /// The first, the highest and the last factor, with their steps.
    fn marks(&self) -> Option<[(u64, f64); 3]> {
        let values = self.values();
        let highest = values.iter().fold(*values.first()?, |best, &value| if value.1 > best.1 { value } else { best });
        Some([*values.first()?, highest, *values.last()?])
    }

    /// Refuses rates beyond single precision.
    fn check(&self) -> Result<()> {
        let (Some(lr), Some([_, (step, highest), _])) = (self.lr, self.marks()) else { return Ok(()) };
        if lr * highest > f64::from(f32::MAX) {
            let rate = short(lr * highest);
            return Err(anyhow!("lr = {rate} in step {} of the schedule is out of range: at most 3.4e38", step + 1));
        }
        Ok(())
    }

    /// As text: the rates of a schedule, and warnings about them. Steps are counted from 1.
    pub fn lines(&self) -> Vec<String> {
        let Some((scheduled, _)) = &self.schedule else { return Vec::new() };
        let mut lines = Vec::new();
        if let (Some(lr), Some([first, highest, last])) = (self.lr, self.marks()) {
            lines.push(format!(
                "rate: {} at first, {} at most (step {}), {} at last (step {}), by {scheduled}",
                short(lr * first.1),
                short(lr * highest.1),
                highest.0 + 1,
                short(lr * last.1),
                last.0 + 1,
            ));
        }
        lines.extend(self.warnings().iter().map(|warning| format!("warning: {warning}")));
        lines
    }

    /// Warnings about a schedule that is probably a mistake.
    fn warnings(&self) -> Vec<String> {
        let Some((scheduled, schedule)) = &self.schedule else { return Vec::new() };
        let (name, steps) = (&scheduled.name, self.steps);
        if schedule.is_none() {
            let patience = scheduled.make_plateau().map_or(0, |plateau| plateau.patience);
            let idle = patience.saturating_add(1) >= self.epochs as u64;
            let text = format!("plateau cannot move the rate in {} epochs: patience is {patience}", self.epochs);
            return idle.then_some(text).into_iter().collect();
        }
        let (values, Some([first, highest, last])) = (self.values(), self.marks()) else { return Vec::new() };
        let mut warnings = Vec::new();
        let still = values.iter().all(|value| value.1 == first.1);
        if still && (name != "constant" || first.1 == 1.0) {
            warnings.push(format!("{scheduled} never moves in the {steps} steps of this run"));
        }
        let moved = values.iter().rposition(|value| value.1 != last.1).map(|index| values[index + 1].0 + 1);
        if let Some(step) = moved.filter(|&step| step < steps && last.1 < highest.1) {
            if last.1 == 0.0 || self.lr.is_some_and(|lr| (lr * last.1) as f32 == 0.0) {
                warnings.push(format!("{name} ends before the run: the rate is 0 from step {step} of {steps} on"));
            } else if !STAIRS.contains(&name.as_str()) {
                let rate = short(self.lr.unwrap_or(1.0) * last.1);
                warnings.push(format!("{name} ends before the run: the rate stays {rate} from step {step} of {steps} on"));
            }
        }
        if highest.1 < TINY {
            warnings.push(format!(
                "{name} keeps the rate below {} times --lr in all {steps} steps of this run",
                short(highest.1.max(f64::MIN_POSITIVE))
            ));
        }
        warnings
    }

    pub fn json(&self) -> Value {
        let rate = |mark: Option<(u64, f64)>| mark.and_then(|(_, factor)| self.lr.map(|lr| lr * factor)).or(self.lr);
        let marks = self.marks();
        json!({
            "schedule": self.schedule(),
            "first": rate(marks.map(|marks| marks[0])),
            "highest": rate(marks.map(|marks| marks[1])),
            "highest_step": marks.map(|marks| marks[1].0 + 1),
            "last": rate(marks.map(|marks| marks[2])),
            "warnings": self.warnings(),
        })
    }
}

/// A recipe whose learning rates follow a schedule over `steps` steps, or a follower that changes them by the loss.
pub fn scheduled(
    recipe: Recipe,
    groups: &[(&'static str, &dyn AnyRule)],
    schedule: Option<&Scheduled>,
    (steps, epochs): (u64, usize),
) -> Result<(Recipe, Option<Follower>, Rates)> {
    let rates = starts(groups);
    let mut over = Rates { lr: rates.first().map(|&(_, lr)| lr), schedule: None, steps, epochs };
    let Some(schedule) = schedule else { return Ok((recipe, None, over)) };
    let wrong = |error: thalweg::Error| Usage(error.to_string());
    if groups.iter().any(|(_, rule)| rule.name() == "rprop") {
        return Err(Usage("--schedule has no effect on rprop, whose lr is only the length of its first step".into()).into());
    }
    if schedule.is_plateau() {
        let plateau = schedule.make_plateau().and_then(ReduceLrOnPlateau::start).map_err(wrong)?;
        over.schedule = Some((schedule.clone(), None));
        return Ok((recipe, Some(Follower { plateau, rates }), over));
    }
    let (resolved, schedule) = schedule.make(steps).map_err(wrong)?;
    over.schedule = Some((resolved, Some(schedule.clone())));
    over.check()?;
    let recipe = if rates.is_empty() { recipe } else { recipe.scale("lr", schedule) };
    Ok((recipe, None, over))
}

/// A rule's learning rate, if it has one.
pub fn lr(rule: &dyn AnyRule) -> Option<f64> {
    let mut rule = rule.boxed();
    let rate = |(name, setting)| match setting {
        Setting::Number(rate) if name == "lr" => Some(*rate),
        _ => None,
    };
    rule.settings().into_iter().find_map(rate)
}
