//! `mpirun -n 4 thalweg-mpi train …` and `bench …`.

mod bench;
mod options;
mod train;

use options::Options;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use thalweg_mpi::World;

const HELP: &str = "\
Trains on the ranks of an MPI job.

  mpirun -n RANKS thalweg-mpi train [--rule adamw] [--set lr=0.01,weight_decay=0.1] [--clip-norm 1] [--hidden 128,64]
      [--epochs 20] [--batch 256] [--micro-batches 8] [--reduce exact|fast] [--seed 0] [--save FILE] [--resume FILE]
  mpirun -n RANKS thalweg-mpi bench [--what exchange,step] [--mib 64] [--repeats 10] [--micro-batches RANKS]

Both take --threads N (threads of a rank, default 1) and --watchdog SECONDS (default 8). train learns the digits; --batch is the number of
rows of a step, of all ranks together. With --save, rank 0 writes a checkpoint after each epoch, and any number of ranks can resume from
it.

Exit codes: 0 done; 1 failed; 2 wrong usage. Rank 0 reports.
";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (command, rest) = match args.split_first() {
        Some((command, rest)) if ["train", "bench"].contains(&&**command) => (command.clone(), rest),
        Some((help, _)) if ["--help", "-h", "help"].contains(&&**help) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => return said(HELP.trim_end(), 2),
    };
    let known = if command == "train" { train::KNOWN } else { bench::KNOWN };
    let options = match Options::parse(rest, known) {
        Ok(options) => options,
        Err(error) => return said(&format!("error: {error}"), 2),
    };
    let patience = match options.get("watchdog", 8.0) {
        Ok(seconds) if seconds > 0.0 && seconds < 1e9 => Duration::from_secs_f64(seconds),
        _ => return said("error: --watchdog needs a number of seconds above 0", 2),
    };
    let world = match World::start() {
        Ok(world) => world.with_patience(patience),
        Err(error) => return said(&format!("error: {error}"), 1),
    };
    let done = if command == "train" { train::run(&world, &options) } else { bench::run(&world, &options) };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Print the error before MPI ends: then `mpirun` ends this rank as soon as any other has ended.
            let code = said(&format!("error: {error:#}"), 1);
            drop(world);
            code
        }
    }
}

/// Prints the text in one write, since ranks print at the same time.
fn said(text: &str, code: u8) -> ExitCode {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
    ExitCode::from(code)
}
