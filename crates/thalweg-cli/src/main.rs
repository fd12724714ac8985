//! The command line of Thalweg: parsing, and how a failure becomes one line and an exit code.

mod bench;
mod curve;
mod data;
mod engine;
mod info;
mod memory;
mod rates;
mod report;
mod rules;
mod schedules;
mod settings;
mod train;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};
use report::note;
use std::io;
use std::process::ExitCode;

const EXIT_CODES: &str = "Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted.";

/// An optimizer engine for any GPU, with a CPU twin.
#[derive(Debug, Parser)]
#[command(name = "thalweg", version, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(train::Args),
    Bench(bench::BenchArgs),
    Info(info::Args),
    Rules(rules::Args),
    Schedules(schedules::Args),
}

/// Arguments that parse but make no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Usage(String);

/// Ctrl-C.
#[derive(Debug, thiserror::Error)]
#[error("interrupted after {epochs} whole epochs")]
struct Interrupted {
    epochs: usize,
}

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Err(error) => return not_parsed(&error),
        Ok(Cli { command: Command::Train(args) }) => train::run(args),
        Ok(Cli { command: Command::Bench(args) }) => bench::run(&args),
        Ok(Cli { command: Command::Info(args) }) => info::run(args),
        Ok(Cli { command: Command::Rules(args) }) => rules::run(&args),
        Ok(Cli { command: Command::Schedules(args) }) => schedules::run(args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Help and version are asked for and go to stdout; anything else is wrong usage.
fn not_parsed(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that has left wants no help.
            let _ = error.print();
            return ExitCode::SUCCESS;
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => note("error: no command given; try 'thalweg --help'"),
        _ => {
            // clap says what is wrong, then explains usage at length.
            let text = error.render().to_string();
            let what = text.lines().take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"));
            note(&format!("{}; try 'thalweg --help'", one_line(what)));
        }
    }
    ExitCode::from(2)
}

fn failed(error: &anyhow::Error) -> ExitCode {
    if error.is::<Interrupted>() {
        note(&error.to_string());
        return ExitCode::from(130);
    }
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        // Whoever read our output has seen enough.
        return ExitCode::SUCCESS;
    }
    note(&format!("error: {}", one_line(format!("{error:#}").lines())));
    ExitCode::from(if error.is::<Usage>() { 2 } else { 1 })
}

fn one_line<'a>(lines: impl Iterator<Item = &'a str>) -> String {
    let lines: Vec<&str> = lines.map(str::trim).filter(|line| !line.is_empty()).collect();
    // Names of files and what stands in them must not steer the terminal.
    let shown = |c: char| if c.is_control() { c.escape_debug().to_string() } else { c.to_string() };
    lines.join(" ").chars().map(shown).collect()
}
