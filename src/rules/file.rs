//! Rules in files: their settings under the names by which they are set, behind the feature `serde`.

use super::rule_by_name;
use crate::error::Error;
use crate::rule::{AnyRule, Configure, Setting, Settings, set};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The key that names a rule.
const RULE: &str = "rule";

/// A value of a setting, as text.
struct Value(String);

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl Visitor<'_> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number, true, false or a word")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value(value.into()))
    }
}

/// Writes each setting as what it is: a number, a switch, or a word. Numbers that are not finite are words too.
fn write<M: SerializeMap>(map: &mut M, settings: Settings<'_>) -> Result<(), M::Error> {
    for (name, mut setting) in settings {
        match &mut setting {
            Setting::Number(number) if number.is_finite() => map.serialize_entry(name, number)?,
            Setting::Flag(flag) => map.serialize_entry(name, flag)?,
            Setting::Number(_) | Setting::Fixed(_) => {
                let text = setting.text().write();
                match (text.parse::<i64>(), text.parse::<f64>(), text.parse::<bool>()) {
                    (Ok(whole), ..) => map.serialize_entry(name, &whole)?,
                    (_, Ok(number), _) if number.is_finite() => map.serialize_entry(name, &number)?,
                    (.., Ok(flag)) => map.serialize_entry(name, &flag)?,
                    _ => map.serialize_entry(name, &text)?,
                }
            }
        }
    }
    Ok(())
}

impl Serialize for dyn AnyRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(RULE, self.name())?;
        write(&mut map, self.boxed().settings())?;
        map.end()
    }
}

/// A rule by its name, one of this crate or of [`register_rule`](super::register_rule), with the settings that are given and
/// defaults for all others.
impl<'de> Deserialize<'de> for Box<dyn AnyRule> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given = deserializer.deserialize_map(Given)?;
        let name = given.iter().find(|(key, _)| key == RULE).map(|(_, name)| name.as_str());
        let name = name.ok_or_else(|| D::Error::custom(Error::missing("a rule", RULE, "rule = \"adamw\"")))?;
        let mut rule = rule_by_name(name).map_err(D::Error::custom)?;
        for (key, text) in given.iter().filter(|(key, _)| key != RULE) {
            set(&mut *rule, key, text).map_err(D::Error::custom)?;
        }
        rule.check().map_err(D::Error::custom)?;
        Ok(rule)
    }
}

/// All keys with their values, each once.
struct Given;

impl<'de> Visitor<'de> for Given {
    type Value = Vec<(String, String)>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the settings of a rule")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut given: Vec<(String, String)> = Vec::new();
        while let Some((key, Value(text))) = map.next_entry::<String, Value>()? {
            if given.iter().any(|(earlier, _)| *earlier == key) {
                return Err(M::Error::custom(Error::Duplicate { kind: "setting".into(), name: key }));
            }
            given.push((key, text));
        }
        Ok(given)
    }
}

/// Writes the settings of one rule.
pub(super) fn write_rule<S: Serializer>(rule: &impl AnyRule, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    write(&mut map, rule.boxed().settings())?;
    map.end()
}

/// Reads the settings of one rule; those that are not given have their defaults.
pub(super) fn read_rule<'de, R: AnyRule + Configure + Default, D: Deserializer<'de>>(deserializer: D) -> Result<R, D::Error> {
    let mut rule = R::default();
    for (key, text) in deserializer.deserialize_map(Given)? {
        set(&mut rule, &key, &text).map_err(D::Error::custom)?;
    }
    AnyRule::check(&rule).map_err(D::Error::custom)?;
    Ok(rule)
}
