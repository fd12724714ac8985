//! Resumed runs: the arguments of the run in a file, and those of the command line, some of which may differ.

use crate::machines::Machines;
use crate::model::Description;
use crate::train::Args;
use crate::{Cli, Usage};
use anyhow::{Context, Result, anyhow, bail};
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, CommandFactory, FromArgMatches};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use thalweg::checkpoint::{Folder, Tensors, read};

/// Options about where and how a run is made, which do not change what it is: each command has its own.
const OWN: [&str; 15] = [
    "engine",
    "adapter",
    "threads",
    "max_memory",
    "quiet",
    "json",
    "keep_going",
    "out",
    "new_dir",
    "save",
    "checkpoint",
    "resume",
    "until",
    "watch",
    "tensorboard",
];
/// Options that a run that goes on may have anew. Whether the data are the same is seen when they are read.
const ANEW: [&str; 7] = ["data", "test", "epochs", "schedule", "every", "keep", "patience"];

/// The text of a file that holds the options of its run.
pub const ARGUMENTS: &str = "arguments";

/// Options that were given, by name, with their values as texts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Given(BTreeMap<String, Vec<String>>);

impl Given {
    /// The options on the command line.
    pub fn of(matches: &ArgMatches) -> Self {
        let command = command();
        let given = |arg: &&Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
        let values = |arg: &Arg| {
            let name = arg.get_id().as_str();
            let raw = matches.get_raw(name).into_iter().flatten();
            (name.to_string(), raw.map(|value| value.to_string_lossy().into_owned()).collect())
        };
        Self(command.get_arguments().filter(given).map(values).collect())
    }

    /// [`Given::of`] for the command that was given.
    pub fn of_command(matches: &ArgMatches) -> Self {
        matches.subcommand().map_or_else(Self::default, |(_, matches)| Self::of(matches))
    }

    /// The options that make the run what it is, as JSON for a file.
    pub fn text(&self) -> String {
        let run: BTreeMap<_, _> = self.0.iter().filter(|(name, _)| !OWN.contains(&name.as_str())).collect();
        json!(run).to_string()
    }

    /// The options of the run in a file.
    pub fn of_file(tensors: &Tensors) -> Result<Self> {
        let text = tensors.texts.get(ARGUMENTS).context("it is no run of the command line: it has no arguments")?;
        let Ok(Value::Object(options)) = serde_json::from_str(text) else { bail!("its arguments cannot be read") };
        let texts = |values: Value| -> Option<Vec<String>> {
            values.as_array()?.iter().map(|value| value.as_str().map(String::from)).collect()
        };
        let options = options.into_iter().map(|(name, values)| Some((name, texts(values)?)));
        Ok(Self(options.collect::<Option<_>>().context("its arguments cannot be read")?))
    }

    /// The values of an option, if it was given.
    pub fn text_of(&self, name: &str) -> Option<String> {
        self.0.get(name).map(|values| values.join(","))
    }

    /// These options of a run, with those of the command line. The latter are errors if they differ where a resumed run must
    /// not.
    fn with(&self, now: &Self) -> Result<Self> {
        let command = command();
        let mut all = self.clone();
        for arg in command.get_arguments() {
            let name = arg.get_id().as_str();
            let Some(values) = now.0.get(name) else { continue };
            // What a run has not kept from its start on it cannot have later.
            let begins = name == "patience" && !self.0.contains_key(name);
            if !OWN.contains(&name) && (!ANEW.contains(&name) || begins) {
                self.check(arg, values)?;
            }
            all.0.insert(name.into(), values.clone());
        }
        Ok(all)
    }

    /// Checks that an option has the value that it has in this run.
    fn check(&self, arg: &Arg, values: &[String]) -> Result<()> {
        let default = || arg.get_default_values().iter().map(|value| value.to_string_lossy().into_owned()).collect();
        let own: Vec<String> = self.0.get(arg.get_id().as_str()).cloned().unwrap_or_else(default);
        let number = |text: &String| text.parse::<f64>().map_or_else(|_| text.clone(), |x| x.to_string());
        if own.iter().map(number).eq(values.iter().map(number)) {
            return Ok(());
        }
        let name = arg.get_long().unwrap_or_default();
        let own = if own.is_empty() { "none".into() } else { own.join(",") };
        let text = format!(
            "--{name} is {}, and the resumed run has {own}: its settings come from the file; leave it out, or start a new run \
             without --resume",
            values.join(",")
        );
        Err(Usage(text).into())
    }

    /// Parses them with clap.
    pub fn parse(&self) -> Result<Args> {
        let command = command();
        let mut line = vec!["thalweg".to_string(), "train".into()];
        for arg in command.get_arguments() {
            let (Some(values), Some(long)) = (self.0.get(arg.get_id().as_str()), arg.get_long()) else { continue };
            match arg.get_action().takes_values() {
                true => line.extend(values.iter().map(|value| format!("--{long}={value}"))),
                false => line.push(format!("--{long}")),
            }
        }
        let matches = Cli::command().try_get_matches_from(line)?;
        let (_, matches) = matches.subcommand().context("no command")?;
        Ok(Args::from_arg_matches(matches)?)
    }
}

/// The command `train`.
pub fn command() -> clap::Command {
    let cli = Cli::command();
    cli.find_subcommand("train").cloned().unwrap_or_default()
}

/// A run to resume.
pub struct Resumed {
    /// Where it was read.
    pub path: PathBuf,
    /// The trainer's part of the file; none if the run starts from its beginning.
    pub tensors: Option<Tensors>,
    /// The command line's part of the file: texts and tensors.
    pub own: Tensors,
    /// The options of the run as they are in the file.
    pub arguments: Given,
}

impl Resumed {
    /// Opens a file or the newest checkpoint of a folder, at or before the step `latest`. Returns the run with all its options.
    pub fn open(machines: &impl Machines, path: &Path, latest: Option<u64>, now: &Given) -> Result<(Self, Args, Given)> {
        let (file, tensors, anew) = match path.is_dir() {
            true => of_folder(machines, path, latest)?,
            false => (path.into(), machines.read(path)?, false),
        };
        let named = |error: anyhow::Error| anyhow!("{}: {error:#}", file.display());
        let arguments = Given::of_file(&tensors).map_err(named)?;
        let given = arguments.with(now)?;
        let args = given.parse()?;
        let (own, tensors) = split(tensors);
        Ok((Self { path: file, tensors: (!anew).then_some(tensors), own, arguments }, args, given))
    }
}

impl Resumed {
    /// The model of the run; none of a run that was saved when there were perceptrons alone.
    pub fn description(&self) -> Result<Option<Description>> {
        let Some(text) = self.own.texts.get("model") else { return Ok(None) };
        let named = || format!("{}: its text 'model' cannot be read", self.path.display());
        let value: Value = serde_json::from_str(text).with_context(named)?;
        Description::of_json(&value, &self.path)
    }
}

/// What begins the names of tensors that are the command line's own.
pub const RUN: &str = "run.";
pub const SCALER: &str = "scaler.";

/// The command line's own tensors, and those of the trainer, both with all texts.
pub fn split(mut tensors: Tensors) -> (Tensors, Tensors) {
    let mut own = Tensors::default();
    own.texts = tensors.texts.clone();
    let names: Vec<String> = tensors.iter().map(|(name, _)| name.to_string()).collect();
    for name in names.into_iter().filter(|name| name.starts_with(RUN) || name.starts_with(SCALER)) {
        if let Some(tensor) = tensors.remove(&name) {
            let _ = own.insert(&name, tensor);
        }
    }
    (own, tensors)
}

/// The newest whole checkpoint at or before a step. If there is none, the newest of all, and `true`: the run starts from its
/// beginning.
fn of_folder(machines: &impl Machines, path: &Path, latest: Option<u64>) -> Result<(PathBuf, Tensors, bool)> {
    if let Some((step, file)) = machines.newest_in_parts(path, latest)? {
        let is_old = |other: u64| other <= step || latest.is_some_and(|latest| other > latest);
        if Folder::steps(path)?.into_iter().all(is_old) {
            let tensors = machines.read(&file)?;
            return Ok((file, tensors, false));
        }
    }
    let Some(latest) = latest else {
        let (step, tensors) = Folder::newest(path)?;
        return Ok((Folder::file(path, step), tensors, false));
    };
    for step in Folder::steps(path)?.into_iter().rev().filter(|&step| step <= latest) {
        if let Ok(tensors) = read(Folder::file(path, step)) {
            return Ok((Folder::file(path, step), tensors, false));
        }
    }
    let (step, tensors) = Folder::newest(path)?;
    Ok((Folder::file(path, step), tensors, true))
}
