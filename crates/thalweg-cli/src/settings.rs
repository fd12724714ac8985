//! Settings as `key=value`: read from arguments, and written for lists.

use serde_json::{Map, Value};
use std::str::FromStr;
use thalweg::schedule::{Goal, ReduceLrOnPlateau, Schedule, schedule_by_name, schedules};
use thalweg::{AnyRule, Error, Text, range, rule_by_name};

/// One setting as it is given.
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

/// A schedule as it is given: `cosine,steps=100`.
#[derive(Debug, Clone)]
pub struct Scheduled {
    pub name: String,
    pub settings: Vec<Pair>,
}

impl FromStr for Scheduled {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once(',').map_or((text, None), |(name, rest)| (name, Some(rest)));
        let mut settings: Vec<Pair> = Vec::new();
        for part in rest.into_iter().flat_map(|rest| rest.split(',')) {
            match settings.last_mut() {
                // Lists have commas too: `multi_step,milestones=10,20,gamma=0.5`.
                Some(Pair { value, .. }) if !part.contains('=') => *value += &format!(",{part}"),
                _ => settings.push(part.parse()?),
            }
        }
        Ok(Self { name: name.into(), settings })
    }
}

impl Scheduled {
    fn pairs(&self) -> Vec<(&str, &str)> {
        self.settings.iter().map(|pair| (&*pair.key, &*pair.value)).collect()
    }

    /// Whether it goes by a metric and not by steps.
    pub fn is_plateau(&self) -> bool {
        self.name == ReduceLrOnPlateau::listing().name
    }

    /// What goes by a metric.
    pub fn make_plateau(&self) -> thalweg::Result<ReduceLrOnPlateau> {
        let plateau = ReduceLrOnPlateau::from_settings(&self.pairs())?;
        range::require(plateau.goal == Goal::Min, "goal", plateau.goal.write(), "min, since it goes by a loss")?;
        Ok(plateau)
    }

    /// The schedule over a run of so many steps. If it needs a number of steps and has none, it is what the warm-up leaves.
    pub fn make(&self, run: u64) -> thalweg::Result<Schedule> {
        let mut settings = self.pairs();
        let given = |name| self.settings.iter().find(|pair| pair.key == name);
        let needs_steps = schedules().iter().any(|known| known.name == self.name && known.settings.contains(&("steps", None)));
        // What is no number is refused with the other settings.
        let warmup = given("warmup").and_then(|pair| pair.value.trim().parse().ok()).unwrap_or(0);
        let steps = run.saturating_sub(warmup).to_string();
        if needs_steps && given("steps").is_none() {
            range::require(
                warmup < run,
                "warmup",
                warmup,
                &format!("below {run}, the steps of the run, where steps is not given"),
            )?;
            settings.push(("steps", &steps));
        }
        schedule_by_name(&self.name, &settings).map_err(|error| match error {
            Error::Unknown { kind, name, known } if kind == "schedule" => {
                Error::Unknown { kind, name, known: format!("{known}, {}", ReduceLrOnPlateau::listing().name) }
            }
            other => other,
        })
    }
}

/// The rule of that name with the given settings, checked.
pub fn rule(name: &str, settings: &[Pair]) -> thalweg::Result<Box<dyn AnyRule>> {
    let mut rule = rule_by_name(name)?;
    for (index, Pair { key, value }) in settings.iter().enumerate() {
        if settings[..index].iter().any(|earlier| earlier.key == *key) {
            return Err(Error::Duplicate { kind: "setting".into(), name: key.clone() });
        }
        thalweg::set(&mut *rule, key, value)?;
    }
    rule.check()?;
    Ok(rule)
}

/// Names and defaults in one line; what has no default is followed by an ellipsis.
pub fn line(settings: &[(&str, Option<String>)]) -> String {
    let pair = |(key, value): &(&str, Option<String>)| format!("{key}={}", value.as_deref().unwrap_or("…"));
    settings.iter().map(pair).collect::<Vec<_>>().join(" ")
}

/// Names and defaults as an object: numbers and switches as such, lists and words as text, what has no default as null.
pub fn object(settings: &[(&str, Option<String>)]) -> Map<String, Value> {
    let value = |text: &String| serde_json::from_str(text).unwrap_or_else(|_| text.clone().into());
    settings.iter().map(|(key, text)| (key.to_string(), text.as_ref().map_or(Value::Null, value))).collect()
}
