//! The numbers of a step: rules that follow their schedules, and the rows made of them.

use super::domain::Domain;
use super::follower::{Effect, Follower};
use super::modifier::Clip;
use super::recipe::Recipe;
use crate::error::{Error, Result, range};
use crate::plan::Storage;
use crate::random::threefry;
use crate::rule::{AnyRule, Decay, HyperRow, Setting};
use crate::schedule::Schedule;

/// The rule of a group of a lane, whose numbers follow schedules: made once, and set anew for each step.
#[derive(Debug, Clone)]
pub(super) struct Scheduled {
    lane: usize,
    group: usize,
    rule: Box<dyn AnyRule>,
    numbers: Vec<Number>,
}

/// A number that follows a schedule.
#[derive(Debug, Clone, Copy)]
struct Number {
    /// Its place among the rule's settings.
    setting: usize,
    /// Its place in the recipe's list of schedules.
    follower: usize,
    /// The rule's own value.
    own: f64,
    effect: Effect,
}

impl Scheduled {
    /// # Errors
    /// A setting that the rule does not have, or that is no number.
    fn new(rule: &dyn AnyRule, followers: &[Follower], lane: usize, (group, named): (usize, &str)) -> Result<Self> {
        let (name_of_rule, initial) = (rule.name(), rule.initial_settings());
        let mut rule = rule.boxed();
        let mut settings = rule.settings();
        let known: Vec<&str> = settings.iter().map(|(name, _)| *name).collect();
        let mut numbers = Vec::new();
        let follows = |(_, follower): &(usize, &Follower)| follower.follows(named) && !follower.bounds();
        for (follower, given) in followers.iter().enumerate().filter(follows) {
            let Follower { setting: name, effect, .. } = given;
            let setting =
                known.iter().position(|known| known == name).ok_or_else(|| Error::unknown("setting", name, &known))?;
            let Setting::Number(own) = &mut settings[setting].1 else {
                return Err(Error::conflict(given.name(), name_of_rule, format!("{name} is no number")));
            };
            if initial.contains(&name.as_str()) {
                let reason = format!("only the start of a run uses {name}");
                return Err(Error::conflict(given.name(), name_of_rule, reason));
            }
            numbers.push(Number { setting, follower, own: **own, effect: *effect });
        }
        drop(settings);
        Ok(Self { lane, group, rule, numbers })
    }

    /// The rule with the numbers that `value` makes of their schedules.
    pub(super) fn at(&mut self, followers: &[Follower], value: impl Fn(&Schedule) -> f64) -> &dyn AnyRule {
        if !self.numbers.is_empty() {
            let mut settings = self.rule.settings();
            for &Number { setting, follower, own, effect } in &self.numbers {
                if let Setting::Number(found) = &mut settings[setting].1 {
                    **found = effect.of(own, value(followers[follower].schedules.of(self.lane)));
                }
            }
        }
        &*self.rule
    }

    /// Whether its numbers change.
    pub(super) fn changes(&self) -> bool {
        !self.numbers.is_empty()
    }
}

impl Recipe {
    /// A rule of a group of a lane, as it follows its schedules.
    pub(super) fn scheduled(&self, rule: &dyn AnyRule, lane: usize, group: usize) -> Result<Scheduled> {
        Scheduled::new(rule, &self.schedules, lane, (group, &self.groups[group].name))
    }

    /// The row of a rule's `t`-th step with everything that this recipe adds to it, and whether its settings are in their
    /// ranges: a schedule may take one out.
    pub(super) fn row(&self, scheduled: &mut Scheduled, t: u64) -> (HyperRow, Result<()>) {
        let (lane, group, changes) = (scheduled.lane, scheduled.group, scheduled.changes());
        let rule = scheduled.at(&self.schedules, |schedule| schedule.value(t - 1));
        // Only a schedule's upper bound is known beforehand: some settings must not fall to 0.
        let fits = if changes { rule.check() } else { Ok(()) };
        let (names, mut row) = (rule.hyper_names(), rule.hyper_row(t));
        row.0[HyperRow::SCALE] *= *self.grad_scale.of(lane);
        row.0[HyperRow::L1] = *self.l1.of(lane);
        match self.decay.as_ref().map(|decay| *decay.of(lane)) {
            Some(Decay::Coupled(lambda)) => row.0[HyperRow::L2] += lambda,
            Some(Decay::Decoupled(lambda)) => row.0[HyperRow::DECAY] *= 1.0 - rule.lr() * lambda,
            Some(Decay::Independent(lambda)) => row.0[HyperRow::DECAY] *= 1.0 - lambda,
            None => {}
        }
        let bounds = |max| {
            let name = &self.groups[group].name;
            let follower = self.schedules.iter().find(|follower| follower.follows(name) && follower.bounds());
            follower.map_or(max, |follower| follower.effect.of(max, follower.schedules.of(lane).value(t - 1)))
        };
        let clip = self.clips.as_ref().map(|clips| *clips.of(lane));
        match (self.groups[group].domain, clip) {
            (Domain::Global, Some(Clip::Norm { max, .. })) => row.0[HyperRow::MAX_NORM] = bounds(max),
            (Domain::Set(set), _) => row.0[HyperRow::MAX_NORM] = bounds(*self.clip_sets[set].max.of(lane)),
            _ => {}
        }
        match clip {
            Some(Clip::Tensor { max, .. }) => row.0[HyperRow::MAX_TENSOR] = bounds(max),
            Some(Clip::Value(max)) => row.0[HyperRow::MAX_VALUE] = bounds(max),
            Some(Clip::Norm { .. } | Clip::Normalise(_)) | None => {}
        }
        row.0[HyperRow::AVERAGE] = self.average.as_ref().map_or(0.0, |average| average.of(lane).rate(t));
        row.0[HyperRow::SYNC] = self.lookahead.as_ref().map_or(0.0, |lookahead| lookahead.of(lane).rate(t));
        row.0[HyperRow::NOISE] = if self.state == Storage::F32 { 0.0 } else { noise(t) };
        (row, fits.and_then(|()| check_row(&row, names, t)))
    }
}

/// The key of a step's random numbers: 24 bits, which single precision holds. Lanes share it, so that one has the bits of a
/// model alone.
fn noise(t: u64) -> f64 {
    let [word, _] = threefry([0x6e6f_6973, 0x6500_0000], [t as u32, (t >> 32) as u32]);
    (word >> 8).into()
}

/// Checks that finite numbers of a row stay finite in single precision: infinity times 0 would be NaN.
fn check_row(row: &HyperRow, names: &[&str], t: u64) -> Result<()> {
    let Some((at, value)) = row.0.iter().enumerate().find(|(_, value)| !range::in_single(**value)) else { return Ok(()) };
    let name = HyperRow::SHARED.iter().chain(names).nth(at).unwrap_or(&"a scalar");
    range::single(&format!("{name} of step {t}"), *value)
}
