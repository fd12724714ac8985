//! `thalweg rules`: what there is to choose from for `--rule` and `--set`.

use crate::{Usage, settings};
use serde_json::{Value, json};
use std::io::{self, Write};
use thalweg::{AnyRule, Layerwise, Setting, rule_by_name};

/// Bytes of an element of a plane.
const ELEMENT: usize = size_of::<f32>();

/// List the update rules with formula, settings and their defaults, and state
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A rule [default: all of them]
    #[arg(value_name = "NAME")]
    name: Option<String>,

    /// Print one JSON object per rule instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let rules = match &args.name {
        None => thalweg::rules(),
        Some(name) => vec![rule_by_name(name).map_err(|error| Usage(error.to_string()))?],
    };
    let mut out = io::stdout().lock();
    for (index, mut rule) in rules.into_iter().enumerate() {
        if args.json {
            writeln!(out, "{}", object(&mut *rule))?;
        } else {
            let gap = if index > 0 { "\n" } else { "" };
            writeln!(out, "{gap}{}", text(&mut *rule))?;
        }
    }
    Ok(())
}

/// Names and defaults.
fn defaults(rule: &mut dyn AnyRule) -> Vec<(&'static str, Option<String>)> {
    let text = |setting| match setting {
        Setting::Number(number) if *number != 0.0 && number.abs() < 1e-3 => format!("{number:e}"),
        Setting::Number(number) => number.to_string(),
        Setting::Flag(flag) => flag.to_string(),
    };
    rule.settings().into_iter().map(|(name, setting)| (name, Some(text(setting)))).collect()
}

/// Bytes per parameter of so many planes, and of the direction that rules of two passes keep in between.
fn bytes(rule: &dyn AnyRule, planes: usize) -> usize {
    ELEMENT * (planes + usize::from(rule.layerwise() == Layerwise::After))
}

/// The planes in use by their names.
fn planes(rule: &dyn AnyRule) -> Vec<&'static str> {
    rule.planes().into_iter().map(|plane| rule.state_names()[plane]).collect()
}

fn text(rule: &mut dyn AnyRule) -> String {
    let planes = planes(rule);
    let names = if planes.is_empty() { String::new() } else { format!(" ({})", planes.join(", ")) };
    let (bytes, most) = (bytes(rule, planes.len()), bytes(rule, rule.state_names().len()));
    [
        rule.name().to_string(),
        format!("  formula   {}", rule.formula()),
        format!("  settings  {}", settings::line(&defaults(rule))),
        format!("  state     {bytes} bytes per parameter{names}, at most {most}"),
    ]
    .join("\n")
}

fn object(rule: &mut dyn AnyRule) -> Value {
    let planes = planes(rule);
    json!({
        "name": rule.name(),
        "formula": rule.formula(),
        "settings": settings::object(&defaults(rule)),
        "state_bytes": bytes(rule, planes.len()),
        "state_bytes_max": bytes(rule, rule.state_names().len()),
        "planes": planes,
    })
}
