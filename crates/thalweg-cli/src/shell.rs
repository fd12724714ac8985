//! `thalweg completions` and `thalweg man`: descriptions of the command line for a shell and for `man`.

use crate::{Cli, Usage};
use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;
use std::io::{self, Write};

/// Print completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  thalweg completions bash > ~/.local/share/bash-completion/completions/thalweg")]
pub struct CompletionArgs {
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Print the man page of the program or of a command
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  thalweg man train > thalweg-train.1")]
pub struct ManArgs {
    /// A command [default: the program]
    #[arg(value_name = "COMMAND")]
    command: Option<String>,
}

/// Prints completions.
pub fn completions(args: CompletionArgs) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "thalweg", &mut text);
    Ok(io::stdout().lock().write_all(&text)?)
}

/// Prints a man page.
pub fn man(args: &ManArgs) -> Result<()> {
    let mut program = Cli::command();
    program.build();
    let command = match &args.command {
        None => program,
        Some(name) => {
            let found = program.find_subcommand(name).cloned();
            let command = found.ok_or_else(|| Usage(format!("thalweg has no command '{name}'; try 'thalweg --help'")))?;
            command.name(format!("thalweg-{name}"))
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(command).render(&mut text)?;
    Ok(io::stdout().lock().write_all(&text)?)
}
