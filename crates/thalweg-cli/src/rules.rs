//! `thalweg rules`: what there is to choose from for `--rule` and `--set`.

use crate::{Usage, settings};
use serde_json::{Value, json};
use std::io::{self, Write};
use thalweg::{AnyRule, Memory, rule_by_name};

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
    rule.settings().into_iter().map(|(name, mut setting)| (name, Some(setting.text().write()))).collect()
}

fn text(rule: &mut dyn AnyRule) -> String {
    let Memory { arrays, bytes, most, other } = Memory::of(rule);
    let names = if arrays.is_empty() { String::new() } else { format!(" ({})", arrays.join(", ")) };
    let other = other.map_or(String::new(), |other| format!(", {other}"));
    [
        rule.name().to_string(),
        format!("  formula   {}", rule.formula()),
        format!("  settings  {}", settings::line(&defaults(rule))),
        format!("  state     {bytes} bytes per parameter{names}{other}; per parameter at most {most}"),
    ]
    .join("\n")
}

fn object(rule: &mut dyn AnyRule) -> Value {
    let Memory { bytes, most, other, .. } = Memory::of(rule);
    let planes: Vec<&str> = rule.planes().into_iter().map(|plane| rule.state_names()[plane]).collect();
    json!({
        "name": rule.name(),
        "formula": rule.formula(),
        "settings": settings::object(&defaults(rule)),
        "state_bytes": bytes,
        "state_bytes_max": most,
        "state_other": other,
        "planes": planes,
    })
}
