//! `thalweg rules`: the choices for `--rule` and `--set`.

use crate::{Usage, names, settings};
use serde_json::{Value, json};
use std::io::{self, Write};
use thalweg::{AnyRule, Memory, rule_by_name};

const EXAMPLES: &str = "\
Examples:
  thalweg rules
  thalweg rules sgd adamw";

/// List the update rules with formulas, settings, defaults, a rate to start from, and the memory of their state
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Rules; several are shown side by side [default: all of them]
    #[arg(value_name = "NAME")]
    names: Vec<String>,

    /// Print one JSON object per rule instead of text
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let known = thalweg::rules();
    let known: Vec<&str> = known.iter().map(|rule| rule.name()).collect();
    let named = |name: &String| names::find("rule", name, &known, names::RULES).and_then(rule_by_name);
    let mut rules: Vec<Box<dyn AnyRule>> = match &args.names[..] {
        [] => thalweg::rules(),
        names => names.iter().map(named).collect::<thalweg::Result<_>>().map_err(|error| Usage(error.to_string()))?,
    };
    let mut out = io::stdout().lock();
    if args.names.len() > 1 && !args.json {
        write!(out, "{}", side_by_side(&mut rules))?;
        return Ok(());
    }
    for (index, rule) in rules.iter_mut().enumerate() {
        if args.json {
            writeln!(out, "{}", object(&mut **rule))?;
        } else {
            let gap = if index > 0 { "\n" } else { "" };
            writeln!(out, "{gap}{}", text(&mut **rule))?;
        }
    }
    Ok(())
}

/// Letters in formulas, and the settings that they stand for.
const LETTERS: [(&str, &str); 14] = [
    ("β₁", "beta1"),
    ("β₂", "beta2"),
    ("β₃", "beta3"),
    ("λ", "weight_decay"),
    ("μ", "momentum"),
    ("τ", "dampening"),
    ("ρ", "rho"),
    ("α", "alpha"),
    ("η₊", "eta_plus"),
    ("η₋", "eta_minus"),
    ("tc", "trust_coefficient"),
    ("ρ", "lr"),
    ("/d)", "clip_threshold"),
    ("η", "lr"),
];

/// The letters of a rule's formula that stand for its settings.
fn letters(rule: &mut dyn AnyRule) -> Vec<String> {
    let formula = rule.formula();
    let settings: Vec<&str> = rule.settings().into_iter().map(|(name, _)| name).collect();
    let mut found: Vec<(&str, &str)> = Vec::new();
    for (letter, setting) in LETTERS {
        let taken = found.iter().any(|(earlier, _)| earlier.contains(letter.trim_matches(['/', ')'])));
        // If `lr` itself is in the formula, no letter stands for it.
        let plain = setting == "lr" && formula.contains("lr");
        if formula.contains(letter) && settings.contains(&setting) && !taken && !plain {
            found.push((letter.trim_matches(['/', ')']), setting));
        }
    }
    found.into_iter().map(|(letter, setting)| format!("{letter} = {setting}")).collect()
}

/// Rates to start from, and the least test accuracy in percent that each reached on the digits over the seeds 1, 2 and 3, after
/// 40 epochs with the defaults of `train`. Rates were tried in steps by a factor of two to three. At two to three times these
/// rates each rule still reached 92 %, so a rate may also be a little larger. `scripts/starting_rates` measures them again.
const STARTS: &[(&str, &str, f64)] = &[
    ("sgd", "--lr 0.1", 95.3),
    ("sgd", "--lr 0.05 --set momentum=0.9", 96.1),
    ("rmsprop", "--lr 0.002", 96.4),
    ("adam", "--lr 0.002", 96.7),
    ("adamw", "--lr 0.002", 96.7),
    ("adagrad", "--lr 0.02", 95.5),
    ("radam", "--lr 0.005", 96.9),
    ("adamax", "--lr 0.005", 96.4),
    ("adadelta", "--lr 1", 96.7),
    ("nadam", "--lr 0.002", 96.9),
    ("asgd", "--lr 0.1", 95.3),
    ("rprop", "--batch 100000", 95.3),
    ("lion", "--lr 0.001", 95.8),
    ("lars", "--lr 0.1", 95.3),
    ("lamb", "--lr 0.003", 96.1),
    ("novograd", "--lr 0.01", 96.7),
    ("ademamix", "--lr 0.002", 96.4),
    ("adan", "--lr 0.005", 96.7),
    ("schedulefree", "--lr 0.005", 96.4),
    ("muon", "--lr 0.02 --others adamw,lr=0.002", 97.2),
    ("adafactor", "--lr 0.02", 97.2),
];

/// The options to start from for a rule, with the accuracies that they reach.
fn starts(rule: &dyn AnyRule) -> impl Iterator<Item = (&'static str, f64)> + use<> {
    let name = rule.name();
    STARTS.iter().filter(move |(of, ..)| *of == name).map(|&(_, start, reached)| (start, reached))
}

/// The rate to start from: that of the list, or else the rule's default.
pub fn starting_rate(rule: &str) -> f64 {
    let listed =
        STARTS.iter().find(|(of, ..)| *of == rule).and_then(|(_, start, _)| start.split_whitespace().nth(1)?.parse().ok());
    let own = || rule_by_name(rule).ok().and_then(|rule| crate::rates::lr(&*rule));
    listed.filter(|rate: &f64| *rate < 100.0).or_else(own).unwrap_or(1e-3)
}

/// The options to start from for a rule, as text.
fn start(rule: &dyn AnyRule) -> String {
    let starts: Vec<String> = starts(rule).map(|(start, reached)| format!("{start} ({reached} %)")).collect();
    starts.join(", or ")
}

/// Rules as columns with a line for each setting. Formulas are above the columns, since they are long.
fn side_by_side(rules: &mut [Box<dyn AnyRule>]) -> String {
    let mut text = String::new();
    for rule in rules.iter_mut() {
        text += &format!("{}: {}\n", rule.name(), rule.formula());
        let letters = letters(&mut **rule);
        if !letters.is_empty() {
            text += &format!("  where {}\n", letters.join(", "));
        }
    }
    let columns: Vec<Vec<(&str, Option<String>)>> = rules.iter_mut().map(|rule| defaults(&mut **rule)).collect();
    let mut keys: Vec<&str> = Vec::new();
    columns.iter().flatten().for_each(|(key, _)| {
        if !keys.contains(key) {
            keys.push(key)
        }
    });
    let mut table = vec![[""].into_iter().chain(rules.iter().map(|rule| rule.name())).map(String::from).collect::<Vec<_>>()];
    for key in keys {
        let cell = |column: &Vec<(&str, Option<String>)>| {
            let value = column.iter().find(|(name, _)| *name == key).and_then(|(_, value)| value.clone());
            value.unwrap_or_else(|| "–".into())
        };
        table.push(std::iter::once(key.to_string()).chain(columns.iter().map(cell)).collect());
    }
    let bytes = rules.iter().map(|rule| Memory::of(&**rule).bytes.to_string());
    table.push(std::iter::once("state bytes per parameter".to_string()).chain(bytes).collect());
    let starts = rules.iter().map(|rule| start(&**rule));
    table.push(std::iter::once("a start (digits, 40 epochs)".to_string()).chain(starts).collect());
    let width = |column: usize| table.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..=rules.len()).map(width).collect();
    text.push('\n');
    for row in &table {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        text += cells.join("  ").trim_end();
        text.push('\n');
    }
    text
}

/// Names and defaults.
fn defaults(rule: &mut dyn AnyRule) -> Vec<(&'static str, Option<String>)> {
    rule.settings().into_iter().map(|(name, mut setting)| (name, Some(setting.text().write()))).collect()
}

fn text(rule: &mut dyn AnyRule) -> String {
    let Memory { arrays, bytes, most, other } = Memory::of(rule);
    let names = if arrays.is_empty() { String::new() } else { format!(" ({})", arrays.join(", ")) };
    let other = other.map_or(String::new(), |other| format!(", {other}"));
    let letters = letters(rule);
    let letters = if letters.is_empty() { String::new() } else { format!("\n  letters   {}", letters.join(", ")) };
    [
        rule.name().to_string(),
        format!("  formula   {}{letters}", rule.formula()),
        format!("  settings  {}", settings::line(&defaults(rule))),
        format!("  start     {} on the digits in 40 epochs", start(rule)),
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
        "starts": starts(rule).map(|(start, reached)| json!({ "arguments": start, "digits_percent": reached })).collect::<Vec<_>>(),
        "letters": letters(rule),
        "settings": settings::object(&defaults(rule)),
        "state_bytes": bytes,
        "state_bytes_max": most,
        "state_other": other,
        "planes": planes,
    })
}
