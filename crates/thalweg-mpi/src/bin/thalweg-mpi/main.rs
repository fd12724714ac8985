//! `mpirun -n 4 thalweg-mpi train …`, `sweep …` and `bench …`.

mod bench;
mod options;
mod ranks;

use anyhow::{Result, bail};
use options::Options;
use ranks::{InParts, Ranks};
use std::cell::RefCell;
use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use thalweg_mpi::{Reduce, World};

const HELP: &str = "\
Trains and searches on the ranks of an MPI job.

  mpirun -n RANKS thalweg-mpi train [--micro-batches 8] [--reduce exact|fast] [--parts nothing|checkpoints|state]
                                      OPTIONS OF thalweg train
  mpirun -n RANKS thalweg-mpi sweep OPTIONS OF thalweg sweep
  mpirun -n RANKS thalweg-mpi bench [--what exchange,step] [--mib 64] [--repeats 10] [--micro-batches RANKS] [--threads 1]

train shares the micro-batches of each step; --batch is the number of rows of a step, of all ranks together, and a multiple of
--micro-batches. The result does not depend on the number of ranks, unless --reduce is fast. sweep shares the trials; its table is that of
one machine. Rank 0 reports, and writes all files.

--parts checkpoints: each rank writes its part of the checkpoints of --checkpoint; all ranks have to see the folder. --parts state: each rank
also keeps the optimizer's state of its part alone. --resume goes on with either, on any number of ranks.

Where --threads is not given, the ranks of a machine share its cores. --adapter may be a list such as A,B: ranks of a machine take its
entries in turn. --watchdog SECONDS says how long a rank waits for the others: 8 for train and bench, 3600 for sweep.

Exit codes are those of thalweg.
";

/// Options of ranks: all others are those of thalweg.
const OWN: [&str; 4] = ["micro-batches", "reduce", "parts", "watchdog"];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) if ["train", "sweep", "bench"].contains(&&**command) => (command.as_str(), rest),
        Some((help, _)) if ["--help", "-h", "help"].contains(&&**help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => return said(HELP.trim_end(), 2),
    };
    let parsed = match command {
        "bench" => Options::parse(rest, bench::KNOWN).map(|options| (options, Vec::new())),
        _ => Options::split(rest, &OWN),
    };
    let (options, rest) = match parsed {
        Ok(parsed) => parsed,
        Err(error) => return said(&format!("error: {error}"), 2),
    };
    let usual = if command == "sweep" { 3600.0 } else { 8.0 };
    let patience = match options.get("watchdog", usual) {
        Ok(seconds) if seconds > 0.0 && seconds < 1e9 => Duration::from_secs_f64(seconds),
        _ => return said("error: --watchdog needs a number of seconds above 0", 2),
    };
    let world = match World::start() {
        Ok(world) => world.with_patience(patience),
        Err(error) => return said(&format!("error: {error}"), 1),
    };
    let code = run(&world, command, &options, rest).unwrap_or_else(|error| said(&format!("error: {error:#}"), 1));
    if code != ExitCode::SUCCESS {
        // MPI's own end would wait for ranks that know nothing of this. `mpirun` ends them with this one, so they get a moment
        // to say the same.
        std::thread::sleep(Duration::from_millis(300));
        std::mem::forget(world);
    }
    code
}

fn run(world: &World, command: &str, options: &Options, rest: Vec<String>) -> Result<ExitCode> {
    if command == "bench" {
        return bench::run(world, options).map(|()| ExitCode::SUCCESS);
    }
    if rest.iter().any(|arg| arg == "--help" || arg == "-h") && world.rank() > 0 {
        return Ok(ExitCode::SUCCESS);
    }
    let (reduce, in_parts) = (options.get("reduce", Reduce::Exact)?, options.get("parts", InParts::Nothing)?);
    if reduce == Reduce::Fast && in_parts == InParts::State {
        bail!("--parts state: ranks that have parts add up exactly; leave --reduce fast out");
    }
    let ranks = Ranks { world, micro_batches: options.count("micro-batches", 8)?, reduce, in_parts, steps: RefCell::new(None) };
    let arguments = ["thalweg".to_string(), command.to_string()].into_iter().chain(of_rank(world, rest)?);
    Ok(thalweg_cli::run(&ranks, arguments.map(OsString::from)))
}

/// The arguments with what differs among the ranks of a machine: the adapter, and how many threads there are for each.
fn of_rank(world: &World, mut arguments: Vec<String>) -> Result<Vec<String>> {
    let (number, ranks) = world.on_this_machine()?;
    let given = |name: &str| {
        let is = |arg: &str| arg == name || arg.strip_prefix(name).is_some_and(|rest| rest.starts_with('='));
        arguments.iter().enumerate().rfind(|(_, arg)| is(arg))
    };
    let of_gpu = given("--engine").is_some_and(|(at, arg)| {
        arg.ends_with("=gpu") || arguments.get(at + 1).is_some_and(|value| !arg.contains('=') && value == "gpu")
    });
    let adapter = given("--adapter").map(|(at, arg)| (at, arg.split_once('=').map(|(_, value)| value.to_string())));
    let free = given("--threads").is_none() && std::env::var_os("THALWEG_THREADS").is_none();
    if free && !of_gpu && adapter.is_none() {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        arguments.push(format!("--threads={}", (cores / ranks).max(1)));
    }
    let Some((at, value)) = adapter else { return Ok(arguments) };
    let (place, list) = match value {
        Some(list) => (at, list),
        None => (at + 1, arguments.get(at + 1).cloned().unwrap_or_default()),
    };
    let all: Vec<&str> = list.split(',').map(str::trim).collect();
    let own = all[number % all.len()];
    if own.is_empty() {
        bail!("--adapter {list}: rank {} is number {number} on its machine, and its entry is empty", world.rank());
    }
    if let Some(argument) = arguments.get_mut(place) {
        *argument = if place == at { format!("--adapter={own}") } else { own.into() };
    }
    Ok(arguments)
}

/// Prints the text in one write, since ranks print at the same time.
fn said(text: &str, code: u8) -> ExitCode {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
    ExitCode::from(code)
}
