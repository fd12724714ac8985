//! The command line of Thalweg: parsing, and how a failure becomes one line and an exit code. As a library it lets several
//! machines run a command together.

#[cfg(feature = "gpu")]
mod bench;
mod curve;
mod data;
mod diff;
mod engine;
#[cfg(feature = "gpu")]
mod info;
mod inspect;
mod keep;
mod limits;
mod machines;
mod memory;
mod model;
mod names;
mod numbers;
mod out;
mod past;
mod pictures;
mod predict;
mod rates;
mod recipe;
mod record;
mod report;
mod resume;
mod rules;
mod schedules;
mod score;
mod settings;
mod shell;
mod stop;
mod sweep;
mod tensorboard;
mod train;
mod version;

pub use machines::{ADAPTER, Alone, Machines};

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use report::note;
use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

const AFTER_HELP: &str = "\
Examples:
  thalweg train --rule adamw --schedule cosine
  thalweg sweep --space lr=log:1e-4:1e-1 --strategy hyperband
  thalweg rules sgd adamw
  thalweg train --help

Exit codes: 0 done; 1 failed, or the loss is not finite; 2 wrong usage; 130, 143, 129 ended by Ctrl-C, SIGTERM, SIGHUP; 141 nobody reads
the output of train, sweep or bench any more.";

/// The exit code that shells report for a program that wrote to a pipe without a reader.
const NO_READER: u8 = 141;

/// An optimizer engine for any GPU, with a CPU twin.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version = version::text(), after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Box<train::Args>),
    Predict(Box<predict::Args>),
    Evaluate(Box<predict::EvaluateArgs>),
    Sweep(Box<sweep::Args>),
    #[cfg(feature = "gpu")]
    Bench(bench::BenchArgs),
    #[cfg(feature = "gpu")]
    Info(info::Args),
    Inspect(inspect::Args),
    Diff(diff::Args),
    Rules(rules::Args),
    Schedules(schedules::Args),
    Completions(shell::CompletionArgs),
    Man(shell::ManArgs),
}

impl Command {
    /// Whether the rest of its work is lost if nobody reads its output.
    fn works(&self) -> bool {
        match self {
            Self::Train(_) | Self::Sweep(_) => true,
            #[cfg(feature = "gpu")]
            Self::Bench(_) => true,
            _ => false,
        }
    }
}

/// Arguments that can be parsed but are wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// A signal that ended the run.
#[derive(Debug, thiserror::Error)]
#[error("interrupted after {done}")]
struct Interrupted {
    done: String,
    signal: i32,
}

/// Two files differ. Where they differ was printed before.
#[derive(Debug, thiserror::Error)]
#[error("the files differ")]
struct Differ;

/// The program `thalweg`: runs the command of the process's arguments.
pub fn main() -> ExitCode {
    quiet_drivers();
    run(&Alone, std::env::args_os())
}

/// Runs a command of these arguments, the first of which is the program's name, on all machines: `train` or `sweep`. Other
/// commands are for one machine.
pub fn run(machines: &impl Machines, arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let matches = match Cli::command().try_get_matches_from(&arguments) {
        Err(error) => return not_parsed(&error),
        Ok(matches) => matches,
    };
    let Cli { command } = match Cli::from_arg_matches(&matches) {
        Err(error) => return not_parsed(&error),
        Ok(cli) => cli,
    };
    let lost = command.works();
    if !machines.is_alone() && !matches!(command, Command::Train(_) | Command::Sweep(_)) {
        return failed(&Usage("several machines run train and sweep; other commands are those of thalweg".into()).into());
    }
    let outcome = match command {
        Command::Train(args) => train::run(machines, *args, resume::Given::of_command(&matches)),
        Command::Predict(args) => predict::run(&args),
        Command::Evaluate(args) => predict::evaluate(&args),
        Command::Sweep(args) => sweep::run(machines, &args, &arguments[2..]),
        #[cfg(feature = "gpu")]
        Command::Bench(args) => bench::run(&args),
        #[cfg(feature = "gpu")]
        Command::Info(args) => info::run(args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Diff(args) => diff::run(&args),
        Command::Rules(args) => rules::run(&args),
        Command::Schedules(args) => schedules::run(args),
        Command::Completions(args) => shell::completions(args),
        Command::Man(args) => shell::man(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_unread(&error) => ExitCode::from(if lost { NO_READER } else { 0 }),
        Err(error) => failed(&error),
    }
}

/// Mesa's device selection prints a complaint on stderr if a session has no runtime folder. It is for drawing, so it is
/// switched off.
#[cfg_attr(unix, expect(unsafe_code, reason = "the environment is changed before any thread could read it"))]
fn quiet_drivers() {
    #[cfg(unix)]
    if std::env::var_os("XDG_RUNTIME_DIR").is_none() && std::env::var_os("NODEVICE_SELECT").is_none() {
        // SAFETY: this is the first statement of the program, which has one thread until it returns.
        unsafe { std::env::set_var("NODEVICE_SELECT", "1") };
    }
}

/// Help and version were asked for, so they go to stdout; anything else is wrong usage.
fn not_parsed(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => return printed(&error.render().to_string()),
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => return printed(&Cli::command().render_help().to_string()),
        _ => {}
    }
    // clap says what is wrong, then explains usage at length.
    let text = error.render().to_string().replace("\n\n  tip:", "; tip:");
    let what = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
    let known = Cli::command();
    let given = std::env::args().nth(1).filter(|name| known.find_subcommand(name).is_some());
    let meant = given.as_deref().and_then(|command| meant(error, command)).map(|hint| format!("; {hint}")).unwrap_or_default();
    let help = given.map_or("thalweg --help".into(), |name| format!("thalweg {name} --help"));
    note(&format!("{}{meant}; try '{help}'", one_line(what)));
    ExitCode::from(2)
}

/// A hint for an argument that a command does not have.
fn meant(error: &clap::Error, command: &str) -> Option<String> {
    let Some(ContextValue::String(given)) = error.get(ContextKind::InvalidArg) else { return None };
    if error.kind() != ErrorKind::UnknownArgument || !matches!(command, "train" | "sweep") {
        return None;
    }
    let Some(name) = given.strip_prefix("--") else {
        return (!given.starts_with('-')).then(|| format!("a file is given as --data {given}"));
    };
    let mut rules = thalweg::rules();
    let settings: Vec<&str> = rules.iter_mut().flat_map(|rule| rule.settings()).map(|(setting, _)| setting).collect();
    let setting = names::find("setting", name, &settings, names::RULE_SETTINGS).ok()?;
    Some(format!("settings of a rule are given as --set {setting}=VALUE"))
}

/// Prints a text. If the reader has gone, that is no failure.
fn printed(text: &str) -> ExitCode {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => failed(&error.into()),
        _ => ExitCode::SUCCESS,
    }
}

/// Whether the error means that the reader of our output has gone.
fn is_unread(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    if let Some(Interrupted { signal, .. }) = error.downcast_ref() {
        note(&error.to_string());
        return ExitCode::from(stop::code(*signal));
    }
    if error.is::<Differ>() {
        return ExitCode::from(1);
    }
    // All other errors of input and output name their file.
    let stdout = if error.is::<io::Error>() && error.chain().count() == 1 { "cannot write to stdout: " } else { "" };
    note(&format!("error: {stdout}{}", one_line(format!("{error:#}").lines())));
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}

fn one_line<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    // Names and contents of files must not control the terminal.
    let shown = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    lines.join(" ").chars().map(shown).collect()
}
