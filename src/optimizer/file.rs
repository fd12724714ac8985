//! Recipes in files, behind the feature `serde`. What a file leaves out is as in a new recipe, and only what differs from that
//! is written.

use super::domain::Domain;
use super::follower::{Effect, Follower};
use super::group::{DEFAULT, Group, Select};
use super::recipe::Recipe;
use crate::error::{Error, nearest};
use crate::plan::PerLane;
use crate::rule::AnyRule;
use crate::schedule::Schedule;
use serde::de::{DeserializeOwned, Error as _, MapAccess, Visitor};
use serde::ser::{Error as _, SerializeMap};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

/// The modifiers of a recipe: its fields, under the names of the functions that set them.
macro_rules! modifiers {
    ($($field:ident $name:literal),* $(,)?) => {
        /// What may stand in a file.
        const KEYS: &[&str] = &[GROUPS, SCHEDULES, $($name),*];

        impl Serialize for Recipe {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let plain = empty();
                let mut map = serializer.serialize_map(None)?;
                $(if self.$field != plain.$field {
                    map.serialize_entry($name, &self.$field)?;
                })*
                let groups: Vec<GroupFile> = self.groups.iter().map(GroupFile::of).collect::<Result<_, _>>().map_err(S::Error::custom)?;
                map.serialize_entry(GROUPS, &groups)?;
                if !self.schedules.is_empty() {
                    map.serialize_entry(SCHEDULES, &self.schedules.iter().map(FollowerFile::of).collect::<Vec<_>>())?;
                }
                map.end()
            }
        }

        /// Takes the value of one key.
        fn take<'de, M: MapAccess<'de>>(recipe: &mut Recipe, key: &str, map: &mut M) -> Result<(), M::Error> {
            match key {
                GROUPS => {
                    let groups: Vec<GroupFile> = value(map)?;
                    recipe.groups = groups.into_iter().map(Group::from).collect();
                }
                SCHEDULES => {
                    let schedules: Vec<FollowerFile> = value(map)?;
                    recipe.schedules = schedules.into_iter().map(Follower::try_from).collect::<Result<_, _>>().map_err(M::Error::custom)?;
                }
                $($name => recipe.$field = value(map)?,)*
                _ => return Err(M::Error::custom(Error::unknown("setting of a recipe", key, KEYS))),
            }
            Ok(())
        }
    };
}

const GROUPS: &str = "groups";
const SCHEDULES: &str = "schedules";

modifiers! {
    clips "clip",
    clip_sets "clip_norm_of",
    skip_bad "skip_bad",
    max_bad_steps "max_bad_steps",
    grad_scale "grad_scale",
    loss_scale "loss_scale",
    l1 "l1",
    decay "weight_decay",
    average "average",
    lookahead "lookahead",
    accumulation "accumulate",
    rho "sam",
    half "half_copy",
    state "state",
    zero_grads "zero_grads",
    cautious "cautious",
    centralise "centralise",
    inspect "inspect",
}

fn empty() -> Recipe {
    Recipe::population(Vec::<Box<dyn AnyRule>>::new())
}

/// A value; an unknown key inside comes with the nearest.
fn value<'de, T: DeserializeOwned, M: MapAccess<'de>>(map: &mut M) -> Result<T, M::Error> {
    map.next_value().map_err(|error| match meant(&error.to_string()) {
        Some(message) => M::Error::custom(message),
        None => error,
    })
}

/// The error for an unknown key or word, with the nearest of those that serde's message lists.
fn meant(message: &str) -> Option<String> {
    let by_serde = || {
        let (_, rest) = ["unknown field `", "unknown variant `"].iter().find_map(|words| message.split_once(words))?;
        let mut names = rest.split('`').step_by(2);
        Some((names.next()?, names.collect::<Vec<_>>()))
    };
    // TOML has words of its own for the fields of a variant.
    let by_toml = || {
        let (_, rest) = message.split_once("unexpected keys in table: ")?;
        let (unknown, known) = rest.lines().next()?.split_once(", available keys: ")?;
        Some((unknown.split(", ").next()?, known.split(", ").collect()))
    };
    let (name, known) = by_serde().or_else(by_toml)?;
    let near = nearest(name, known);
    (!near.is_empty()).then(|| format!("{}; did you mean {}?", message.trim_end(), near.join(" or ")))
}

impl<'de> Deserialize<'de> for Recipe {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RecipeVisitor)
    }
}

struct RecipeVisitor;

impl<'de> Visitor<'de> for RecipeVisitor {
    type Value = Recipe;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("the settings of a recipe")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Recipe, M::Error> {
        let (mut recipe, mut seen) = (empty(), Vec::new());
        while let Some(key) = map.next_key::<String>()? {
            take(&mut recipe, &key, &mut map)?;
            if seen.contains(&key) {
                return Err(M::Error::custom(Error::Duplicate { kind: "setting of a recipe".into(), name: key }));
            }
            seen.push(key);
        }
        if recipe.groups.iter().all(|group| group.rules.is_empty()) {
            let example = "groups = [{ rules = [{ rule = \"adamw\" }] }]";
            return Err(M::Error::custom(Error::missing("a recipe", GROUPS, example)));
        }
        Ok(recipe)
    }
}

/// A group: the first takes what no other takes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GroupFile {
    #[serde(default = "default_name")]
    name: String,
    #[serde(default = "everything")]
    tensors: Select,
    rules: Vec<Box<dyn AnyRule>>,
}

fn default_name() -> String {
    DEFAULT.into()
}

fn everything() -> Select {
    Select::AtLeast(0)
}

impl GroupFile {
    fn of(group: &Group) -> Result<Self, String> {
        let Group { name, takes, rules, .. } = group;
        match takes {
            Select::By(_) => {
                Err(format!("the tensors of group '{name}' are told by a function, which no file holds: describe them by data"))
            }
            described => Ok(Self { name: name.clone(), tensors: described.clone(), rules: rules.clone() }),
        }
    }
}

impl From<GroupFile> for Group {
    fn from(GroupFile { name, tensors, rules }: GroupFile) -> Self {
        Self { name, takes: tensors, rules, domain: Domain::Global }
    }
}

/// A setting that follows a schedule, which sets it or scales it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FollowerFile {
    setting: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    group: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    set: Option<PerLane<Schedule>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scale: Option<PerLane<Schedule>>,
}

impl FollowerFile {
    fn of(follower: &Follower) -> Self {
        let Follower { group, setting, schedules, effect } = follower.clone();
        let (set, scale) = match effect {
            Effect::Set => (Some(schedules), None),
            Effect::Scale => (None, Some(schedules)),
        };
        Self { setting, group, set, scale }
    }
}

impl TryFrom<FollowerFile> for Follower {
    type Error = Error;

    fn try_from(file: FollowerFile) -> Result<Self, Error> {
        let FollowerFile { setting, group, set, scale } = file;
        let (schedules, effect) = match (set, scale) {
            (Some(schedules), None) => (schedules, Effect::Set),
            (None, Some(schedules)) => (schedules, Effect::Scale),
            (None, None) => {
                return Err(Error::missing(
                    format!("the schedule of {setting}"),
                    "set or scale",
                    "set = { constant = { value = 0.001 } }",
                ));
            }
            (Some(_), Some(_)) => {
                let reason = "a setting follows one schedule, which may be a product or a sequence of several";
                return Err(Error::conflict(format!("set of {setting}"), "scale", reason));
            }
        };
        Ok(Self { group, setting, schedules, effect })
    }
}
