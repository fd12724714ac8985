//! Settings as `key=value`: read from arguments, and written for lists.

use serde_json::{Map, Value};
use std::str::FromStr;
use thalweg::schedule::{Schedule, schedule_by_name, schedules};
use thalweg::{AnyRule, Error, rule_by_name};

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
    /// The schedule. If it needs a number of steps and has none, `steps` is it.
    pub fn make(&self, steps: u64) -> thalweg::Result<Schedule> {
        let steps = steps.to_string();
        let mut settings: Vec<(&str, &str)> = self.settings.iter().map(|pair| (&*pair.key, &*pair.value)).collect();
        let needs_steps = schedules().iter().any(|known| known.name == self.name && known.settings.contains(&("steps", None)));
        if needs_steps && settings.iter().all(|(key, _)| *key != "steps") {
            settings.push(("steps", &steps));
        }
        schedule_by_name(&self.name, &settings)
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
