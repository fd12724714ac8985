//! A config file: the options of `thalweg sweep` in TOML.
//!
//! Its options become arguments before those of the command line, so that there is one parser and one set of messages.

use super::args::Args;
use super::preset;
use crate::Usage;
use anyhow::{Result, anyhow};
use clap::parser::ValueSource;
use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use std::ffi::OsString;
use std::fs;
use thalweg::Error;
use toml::de::{DeTable, DeValue};

/// The command alone, for parsing.
#[derive(Debug, Parser)]
#[command(name = "thalweg sweep", no_binary_name = true)]
struct Alone {
    #[command(flatten)]
    args: Args,
}

/// Options that a file must not have.
const OF_THE_LINE: [&str; 3] = ["config", "help", "resume"];
/// Options whose values have names: they may be given in both places.
const NAMED: [&str; 2] = ["space", "set"];
/// Options of the engine.
const ENGINE: [&str; 4] = ["engine", "adapter", "threads", "max_memory"];
/// Options of the data.
const DATA: [&str; 9] = ["data", "task", "target", "header", "delimiter", "ignore", "missing", "test", "test_fraction"];

/// The options of the command line, `given` after the command's name, with those of the config file and of a preset where it
/// has none.
pub fn complete(args: &Args, given: &[OsString]) -> Result<Args> {
    let (mut arguments, mut place) = (Vec::new(), String::new());
    if let Some(path) = &args.config {
        let text = fs::read_to_string(path).map_err(|error| anyhow!("{}: {error}", path.display()))?;
        place = format!("{}: ", path.display());
        let of_file = from_toml(&text, given).map_err(|error| Usage(format!("{place}{error}")))?;
        arguments.extend(of_file.into_iter().map(OsString::from));
    }
    arguments.extend(given.iter().cloned());
    let matches = Alone::command().try_get_matches_from(arguments).map_err(|error| {
        let text = error.render().to_string();
        let what = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
        Usage(format!("{place}{}", crate::one_line(what).trim_start_matches("error: ")))
    })?;
    let mut args = Args::from_arg_matches(&matches)?;
    args.of_data = options_given(&matches, &DATA);
    args.of_engine = options_given(&matches, &ENGINE);
    preset::fill(&mut args, |id| matches.value_source(id) == Some(ValueSource::CommandLine));
    Ok(args)
}

/// Which of these options were given, as arguments.
fn options_given(matches: &ArgMatches, options: &[&str]) -> Vec<String> {
    let given = options.iter().filter(|id| matches.value_source(id) == Some(ValueSource::CommandLine));
    let values = |id: &&str| {
        let option = id.replace('_', "-");
        let raw = matches.get_raw(id).into_iter().flatten();
        raw.map(|value| format!("--{option}={}", value.to_string_lossy())).collect::<Vec<_>>()
    };
    given.flat_map(values).collect()
}

/// The options of a file as arguments.
fn from_toml(text: &str, given: &[OsString]) -> Result<Vec<String>, String> {
    let table = DeTable::parse(text).map_err(|error| crate::one_line(error.to_string().lines()))?;
    let command = Alone::command();
    let known: Vec<&str> = command.get_arguments().filter_map(|argument| argument.get_long()).collect();
    let known: Vec<&str> = known.into_iter().filter(|name| !OF_THE_LINE.contains(name)).collect();
    // The command line was parsed alone before, so this cannot fail.
    let line = command.clone().try_get_matches_from(given).map_err(|error| error.to_string())?;
    let mut arguments = Vec::new();
    for (key, value) in in_order(table.get_ref()) {
        let name = key.replace('_', "-");
        if !known.contains(&&*name) {
            return Err(Error::unknown("option", &key, &known).to_string());
        }
        let argument = command.get_arguments().find(|argument| argument.get_long() == Some(&name));
        let id = argument.map_or(&*name, |argument| argument.get_id().as_str());
        let named: Vec<&String> =
            if NAMED.contains(&&*name) { line.get_many(id).into_iter().flatten().collect() } else { Vec::new() };
        if !NAMED.contains(&&*name) && line.value_source(id) == Some(ValueSource::CommandLine) {
            continue;
        }
        let is_given = |pair: &str| {
            let key = |pair: &str| pair.split('=').next().unwrap_or("").trim().to_string();
            named.iter().any(|given| key(given) == key(pair))
        };
        arguments.extend(
            of_value(&name, value)?
                .into_iter()
                .filter(|argument| argument.split_once('=').is_none_or(|(_, pair)| !is_given(pair))),
        );
    }
    Ok(arguments)
}

/// The arguments of one option.
fn of_value(name: &str, value: &DeValue) -> Result<Vec<String>, String> {
    let wrong = |expected: &str| format!("{name} is {}, {expected} expected", value.type_str());
    Ok(match value {
        DeValue::Boolean(true) if !NAMED.contains(&name) => vec![format!("--{name}")],
        DeValue::Boolean(false) if !NAMED.contains(&name) => Vec::new(),
        DeValue::Table(table) if NAMED.contains(&name) => {
            let pair = |(key, value): (String, &DeValue)| Ok(format!("--{name}={key}={}", scalar(name, value)?));
            in_order(table).into_iter().map(pair).collect::<Result<_, String>>()?
        }
        // An option that may be repeated, or a list.
        DeValue::Array(values) if matches!(name, "space" | "set" | "first") => values
            .iter()
            .map(|value| Ok(format!("--{name}={}", scalar(name, value.get_ref())?)))
            .collect::<Result<_, String>>()?,
        DeValue::Array(values) => {
            let values: Vec<String> = values.iter().map(|value| scalar(name, value.get_ref())).collect::<Result<_, _>>()?;
            vec![format!("--{name}={}", values.join(","))]
        }
        DeValue::Table(_) => return Err(wrong("a value")),
        _ if name == "space" => return Err(wrong("a table of names and domains")),
        value => vec![format!("--{name}={}", scalar(name, value)?)],
    })
}

/// A value as it would be typed.
fn scalar(name: &str, value: &DeValue) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.as_str().into()),
        DeValue::Float(number) => Ok(number.as_str().into()),
        DeValue::Boolean(switch) => Ok(switch.to_string()),
        other => Err(format!("a value of {name} is {}, a text or number expected", other.type_str())),
    }
}

/// Keys and values in the order of the file.
fn in_order<'a>(table: &'a DeTable<'_>) -> Vec<(String, &'a DeValue<'a>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    entries.into_iter().map(|(key, value)| (key.get_ref().to_string(), value.get_ref())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(text: &str, given: &[&str]) -> Result<Vec<String>, String> {
        from_toml(text, &given.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn a_file_has_the_options_of_the_line_and_the_line_goes_first() {
        let text = "trials = 8\nhidden = [32, 16]\njson = true\nquiet = false\nmin_epochs = 2\n[space]\nmomentum = \"uniform:0:0.9\"\nlr = \"log:1e-3:1\"\n[set]\neps = 1e-7";
        let all = [
            "--trials=8",
            "--hidden=32,16",
            "--json",
            "--min-epochs=2",
            "--space=momentum=uniform:0:0.9",
            "--space=lr=log:1e-3:1",
            "--set=eps=1e-7",
        ];
        assert_eq!(arguments(text, &[]).expect("TOML"), all);
        let less = arguments(text, &["--trials=9", "--space=lr=fixed:0.1"]).expect("TOML");
        assert_eq!(less, ["--hidden=32,16", "--json", "--min-epochs=2", "--space=momentum=uniform:0:0.9", "--set=eps=1e-7"]);
        assert_eq!(arguments("space = [\"lr=log:1e-3:1\"]", &[]).expect("TOML"), ["--space=lr=log:1e-3:1"]);
    }

    #[test]
    fn what_a_file_cannot_say_is_told() {
        let wrong = |text: &str| arguments(text, &[]).expect_err("wrong");
        assert!(wrong("trails = 8").contains("did you mean trials?"), "{}", wrong("trails = 8"));
        assert!(wrong("config = \"x\"").starts_with("unknown option 'config'"));
        assert_eq!(wrong("space = 3"), "space is integer, a table of names and domains expected");
        assert_eq!(wrong("trials = { a = 1 }"), "trials is table, a value expected");
        assert_eq!(wrong("[space]\nlr = [1]"), "a value of space is array, a text or number expected");
        assert!(wrong("trials =").contains("TOML parse error at line 1"), "{}", wrong("trials ="));
    }
}
