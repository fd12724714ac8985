//! Settings as `key=value`: reads them from arguments, and writes them for lists.

use crate::names;
use serde_json::{Map, Value};
use std::fmt;
use std::str::FromStr;
use thalweg::schedule::{Extreme, Listing, ReduceLrOnPlateau, Schedule, factor_by_name, factors};
use thalweg::{AnyRule, Error, Setting, Text, range, rule_by_name};

/// One setting, as it was given.
#[derive(Debug, Clone)]
pub struct Pair {
    pub key: String,
    pub value: String,
}

impl FromStr for Pair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self { key: key.into(), value: value.into() }),
            _ => Err(format!("'{text}' is not of the form key=value")),
        }
    }
}

/// Settings with commas between them: `beta1=0.9,beta2=0.99`.
#[derive(Debug, Clone)]
pub struct Pairs(pub Vec<Pair>);

impl FromStr for Pairs {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut pairs: Vec<Pair> = Vec::new();
        for part in text.split(',') {
            match pairs.last_mut() {
                // A part without `=` belongs to the list before it: `milestones=10,20,gamma=0.5`.
                Some(Pair { value, .. }) if !part.contains('=') => *value += &format!(",{part}"),
                _ => pairs.push(part.parse()?),
            }
        }
        Ok(Self(pairs))
    }
}

/// A schedule, as it was given: `cosine,steps=100`.
#[derive(Debug, Clone)]
pub struct Scheduled {
    pub name: String,
    pub settings: Vec<Pair>,
}

impl FromStr for Scheduled {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once(',').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let settings = rest.map(str::parse).transpose()?.map(|Pairs(pairs)| pairs);
        Ok(Self { name: name.into(), settings: settings.unwrap_or_default() })
    }
}

impl fmt::Display for Scheduled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.name)?;
        self.settings.iter().try_for_each(|Pair { key, value }| write!(f, ",{key}={value}"))
    }
}

impl Scheduled {
    fn pairs(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|pair| (&*pair.key, &*pair.value)).collect()
    }

    /// The schedule, with Thalweg's names for it and its settings.
    pub fn named(self) -> thalweg::Result<Self> {
        let plateau = ReduceLrOnPlateau::factor_listing();
        let listings: Vec<Listing> = factors().into_iter().chain([plateau]).collect();
        let known: Vec<&str> = listings.iter().map(|listing| listing.name).collect();
        let name = names::find("schedule", &self.name, &known, names::SCHEDULES)?;
        let keys = listings.iter().find(|listing| listing.name == name).map(|listing| &listing.settings);
        let keys: Vec<&str> = keys.into_iter().flatten().map(|(name, _)| *name).collect();
        let pair = |pair: Pair| {
            let key = names::find("setting", &pair.key, &keys, names::SCHEDULE_SETTINGS)?;
            Ok(Pair { key: key.into(), ..pair })
        };
        Ok(Self { settings: self.settings.into_iter().map(pair).collect::<thalweg::Result<_>>()?, name: name.into() })
    }

    /// Whether it follows a metric rather than steps.
    pub fn is_plateau(&self) -> bool {
        self.name == ReduceLrOnPlateau::factor_listing().name
    }

    /// Whether a length that was not given follows from that of the run.
    pub fn follows_run(&self, run: u64) -> bool {
        self.make(run).is_ok_and(|(resolved, _)| resolved.settings.len() > self.settings.len())
    }

    /// The schedule that follows a metric.
    pub fn make_plateau(&self) -> thalweg::Result<ReduceLrOnPlateau> {
        let plateau = ReduceLrOnPlateau::factor_from_settings(&self.pairs())?;
        range::require(plateau.goal == Extreme::Min, "goal", plateau.goal.write(), "min, since it goes by a loss")?;
        Ok(plateau)
    }

    fn given(&self, name: &str) -> Option<&Pair> {
        self.settings.iter().find(|pair| pair.key == name)
    }

    /// A number of steps among the settings, or 0 without that setting. A text that is not a number is refused later, with the
    /// other settings.
    fn count(&self, name: &str) -> u64 {
        self.given(name).and_then(|pair| pair.value.trim().parse().ok()).unwrap_or(0)
    }

    fn fill(&mut self, name: &str, value: impl ToString) {
        if self.given(name).is_none() {
            self.settings.push(Pair { key: name.into(), value: value.to_string() });
        }
    }

    /// Fills in the lengths that were not given, for a run of `run` steps.
    fn fill_lengths(&mut self, run: u64) -> thalweg::Result<()> {
        let needs_steps = factors().iter().any(|known| known.name == self.name && known.settings.contains(&("steps", None)));
        let warmup = self.count("warmup");
        let rest = run.saturating_sub(warmup);
        match &*self.name {
            _ if needs_steps && self.given("steps").is_none() => {
                let allowed = format!("below {run}, the steps of the run, where steps is not given");
                range::require(warmup < run, "warmup", warmup, &allowed)?;
                self.fill("steps", rest);
            }
            // The rate falls in the last fifth of the run, and is stable before that.
            "wsd" => {
                self.fill("decay", (rest.saturating_sub(self.count("stable")) / 5).max(1));
                self.fill("stable", rest.saturating_sub(self.count("decay")));
            }
            // So that the run has two triangles.
            "cyclic" => self.fill("up", (rest / 4).max(1)),
            // The given rate is the highest one, which is reached after a tenth of the run.
            "noam" => {
                self.fill("warmup", (run / 10).max(1));
                self.fill("model_size", 512);
                let scale = self.count("model_size").saturating_mul(self.count("warmup"));
                self.fill("factor", (scale as f64).sqrt());
            }
            _ => {}
        }
        Ok(())
    }

    /// The schedule over a run of `run` steps, and its settings with the missing lengths filled in.
    pub fn make(&self, run: u64) -> thalweg::Result<(Self, Schedule)> {
        let mut resolved = self.clone();
        resolved.fill_lengths(run)?;
        let schedule = factor_by_name(&resolved.name, &resolved.pairs())?;
        Ok((resolved, schedule))
    }
}

/// The rule of that name with the given settings, which are checked, also in single precision.
pub fn rule(name: &str, settings: &[Pair]) -> thalweg::Result<Box<dyn AnyRule>> {
    let known: Vec<&str> = thalweg::rules().iter().map(|rule| rule.name()).collect();
    let mut rule = rule_by_name(names::find("rule", name, &known, names::RULES)?)?;
    let mut given: Vec<&str> = Vec::new();
    for Pair { key, value } in settings {
        let known: Vec<&'static str> = rule.settings().into_iter().map(|(name, _)| name).collect();
        let key = names::find("setting", key, &known, names::RULE_SETTINGS)?;
        if given.contains(&key) {
            return Err(Error::Duplicate { kind: "setting".into(), name: key.into() });
        }
        given.push(key);
        thalweg::set(&mut *rule, key, value)?;
    }
    rule.check()?;
    for (name, setting) in rule.settings() {
        if let Setting::Number(number) = setting {
            single(name, *number)?;
        }
    }
    Ok(rule)
}

/// Checks that a number is still one after rounding to single precision.
pub fn single(name: &str, number: f64) -> thalweg::Result<()> {
    let range = f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX);
    let fits = number == 0.0 || range.contains(&number.abs());
    let allowed = "0, or from 1.2e-38 to 3.4e38, the range of single precision";
    range::require(fits, name, format!("{number:e}"), allowed)
}

/// Names and defaults in one line; a setting without a default has an ellipsis.
pub fn line(settings: &[(&str, Option<String>)]) -> String {
    let pair = |(key, value): &(&str, Option<String>)| format!("{key}={}", value.as_deref().unwrap_or("…"));
    settings.iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// Names and defaults as an object: numbers and switches as such, lists and words as texts, and null for a setting without a
/// default.
pub fn object(settings: &[(&str, Option<String>)]) -> Map<String, Value> {
    let value = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| text.clone().into());
    settings.iter().map(|(key, text)| (key.to_string(), text.as_ref().map_or(Value::Null, value))).collect()
}
