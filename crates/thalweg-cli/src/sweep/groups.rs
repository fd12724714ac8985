//! Settings of the tensors that have a rule of their own, as parameters of a sweep: `others.lr` and the like.

use crate::Usage;
use crate::names;
use crate::recipe::OTHERS;
use crate::settings::{Pair, Scheduled};
use anyhow::Result;
use thalweg::sweep::Point;
use thalweg::{AnyRule, Error, rule_by_name};

/// The parameter that says whose rate a range test varies; it is for conditions alone.
pub const GROUP: &str = "group";

/// The rule of the other tensors: the one that is given, or that which goes with a rule for matrices alone.
pub fn others(given: Option<&Scheduled>, rule: &dyn AnyRule) -> Option<Scheduled> {
    let of_vectors = || rule.orthogonal().map(|_| Scheduled { name: "adamw".into(), settings: Vec::new() });
    given.cloned().or_else(of_vectors)
}

/// The setting of the others that a parameter is, if it is one.
pub fn setting(name: &str) -> Option<&str> {
    name.strip_prefix(OTHERS)?.strip_prefix('.')
}

/// The parameters that the settings of a rule of others are.
pub fn parameters(others: &Scheduled) -> Result<Vec<String>, Error> {
    let known = thalweg::rules();
    let known: Vec<&str> = known.iter().map(|rule| rule.name()).collect();
    let mut rule = rule_by_name(names::find("rule", &others.name, &known, names::RULES)?)?;
    Ok(rule.settings().into_iter().map(|(name, _)| format!("{OTHERS}.{name}")).collect())
}

/// Whether the point's parameter `group` names a group.
pub fn check(point: &Point) -> Result<(), Error> {
    let known = [crate::recipe::DEFAULT, OTHERS];
    match point.get(GROUP).map(ToString::to_string) {
        Some(name) if !known.contains(&&*name) => Err(Error::unknown(GROUP, &name, &known)),
        _ => Ok(()),
    }
}

/// The settings of a point whose parameters `own` takes, by its names for them.
pub fn searched<'a>(point: &'a Point, own: impl Fn(&'a str) -> Option<&'a str>) -> Vec<Pair> {
    let pair = |(name, value): (&'a str, _)| Some(Pair { key: own(name)?.into(), value: ToString::to_string(value) });
    point.iter().filter_map(pair).collect()
}

/// Settings that were given, and those of a point, which take the place of what was given where the point has them.
pub fn together(given: Vec<Pair>, searched: Vec<Pair>) -> Vec<Pair> {
    let replaced = |pair: &Pair| {
        searched.iter().any(|other| names::find("setting", &pair.key, &[&other.key], names::RULE_SETTINGS).is_ok())
    };
    given.into_iter().filter(|pair| !replaced(pair)).chain(searched.iter().cloned()).collect()
}

/// The space of a range test of rates, of one group after the other, while the rest has the rate that is given.
pub fn scan(rates: &str) -> Vec<String> {
    let of = |name: &str, group: &str| format!("{name}={rates} if {GROUP}={group}");
    vec![format!("{GROUP}=choice:default,{OTHERS}"), of("lr", "default"), of(&format!("{OTHERS}.lr"), OTHERS)]
}

/// Refuses a range test by group where there is one group.
pub fn check_scan(given: Option<&Scheduled>, rule: &dyn AnyRule) -> Result<()> {
    if others(given, rule).is_some() {
        return Ok(());
    }
    let text = "--groups: all tensors are one group; --others RULE makes another one, of those with fewer than two dimensions";
    Err(Usage(text.into()).into())
}
