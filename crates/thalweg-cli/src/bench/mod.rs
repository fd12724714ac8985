//! `thalweg bench`: both engines side by side, each row beside a plain copy of the same engine in the same run.

mod engine;
mod networks;
mod row;
mod touch;
mod training;
mod work;

use crate::engine::{no_adapter, no_engine};
use crate::numbers::whole;
use crate::report::{is_screen, note};
use crate::{Usage, memory};
use anyhow::Result;
use clap::Args;
use engine::Timed;
use indicatif::{ProgressBar, ProgressStyle};
use row::{Row, Table};
use std::io::Write;
use thalweg::Error;
use thalweg::cpu::Cpu;
use thalweg::gpu::{Gpu, GpuOptions};
use thalweg::plan::Engine;
use training::Training;
use work::{Size, Work};

const EXAMPLES: &str = "\
Examples:
  thalweg bench --list
  thalweg bench --what adamw,matmul --n 1048576 --engine cpu
  thalweg bench --what network,population --engine cpu

\"% of copy\" is the row's speed in bytes per second, compared with the fastest copy of as many arrays in the same run.";

/// Time updates, norms, matrix products and whole training steps on GPU and CPU.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct BenchArgs {
    /// What to time: rows whose name contains one of these (comma-separated), such as `adamw,norm,matmul`. `network` is a
    /// training step of a model, and `population` one of many models as lanes, beside lanes that share weights and batches, or
    /// of convolutional networks beside one of them alone [default: all but these two]
    #[arg(long, value_delimiter = ',', value_name = "NAME,…")]
    what: Vec<String>,
    /// List the names of the rows instead
    #[arg(long, conflicts_with_all = ["json", "turns", "what"])]
    list: bool,
    /// Engines to time
    #[arg(long, value_parser = engines, default_value = "both", value_name = "both|gpu|cpu")]
    engine: Engines,
    /// Part of the adapter's name [default: the best adapter, or a software driver if there is no other]
    #[arg(long, value_name = "TEXT")]
    adapter: Option<String>,
    /// Numbers of parameters (comma-separated), for updates and norms
    #[arg(
        long,
        value_name = "N,N,…",
        value_delimiter = ',',
        default_value = "1048576,4194304,16777216",
        value_parser = whole::<usize>(1..=u64::MAX),
        allow_negative_numbers = true
    )]
    n: Vec<usize>,
    /// Timed repetitions, of which the median is reported
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = whole::<u32>(1..=50), allow_negative_numbers = true)]
    reps: u32,
    /// One JSON object per row on stdout
    #[arg(long)]
    json: bool,
    /// Time the row whose whole name is `--what`: one repetition for each line on stdin, its milliseconds on stdout (the mean
    /// step of an epoch, if whole steps are timed). So another program can measure in turns with this one (see
    /// benches/torch_turns.py)
    #[arg(long, conflicts_with_all = ["json", "reps"])]
    turns: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Engines {
    Both,
    Gpu,
    Cpu,
}

/// What `--engine` takes.
fn engines(text: &str) -> Result<Engines, String> {
    match text {
        "both" => Ok(Engines::Both),
        "gpu" => Ok(Engines::Gpu),
        "cpu" => Ok(Engines::Cpu),
        _ => Err(no_engine(text, "both, gpu, cpu")),
    }
}

/// Runs the benchmark: row by row, the GPU before the CPU.
pub fn run(args: &BenchArgs) -> Result<()> {
    if args.list {
        return list();
    }
    known(&args.what)?;
    if args.engine == Engines::Cpu && args.adapter.is_some() {
        return Err(no_adapter());
    }
    for &n in &args.n {
        // The least memory that a row takes: that of a copy, and of the copy that it is compared with.
        memory::check(&format!("a row over {n} parameters (--n)"), 16 * n as u128, thalweg::cpu::available_memory())?;
    }
    if args.turns {
        return turns(args);
    }
    let gpu = gpu(args)?;
    let cpu = (args.engine != Engines::Gpu).then(Cpu::<f32>::default);
    let mut table = Table::new(args.json);
    let wanted = |what: &str| args.what.is_empty() || args.what.iter().any(|part| what.contains(part.as_str()));
    let works = args.n.iter().flat_map(|&n| work::streams(n)).chain(work::products());
    let works: Vec<Work> = works.filter(|work| wanted(&work.what)).collect();
    let trainings: Vec<Training> = if args.what.is_empty() { Vec::new() } else { Training::all() };
    let trainings: Vec<Training> = trainings.into_iter().filter(|training| wanted(&training.name())).collect();
    let engines = u64::from(gpu.is_some()) + u64::from(cpu.is_some());
    let progress = progress((works.len() + trainings.len()) as u64 * engines);
    for work in works {
        if let Some(gpu) = &gpu {
            progress.set_message(format!("{} on the GPU", work.what));
            let row = row(gpu, work.clone(), args.reps, &mut table)?;
            progress.suspend(|| table.push(&row))?;
            progress.inc(1);
        }
        if let Some(cpu) = &cpu {
            progress.set_message(format!("{} on the CPU", work.what));
            let row = row(cpu, work, args.reps, &mut table)?;
            progress.suspend(|| table.push(&row))?;
            progress.inc(1);
        }
    }
    for training in trainings {
        if let Some(gpu) = &gpu {
            progress.set_message(format!("{} on the GPU", training.name()));
            let row = training.row(gpu, args.reps)?;
            progress.suspend(|| table.push(&row))?;
            progress.inc(1);
        }
        if let Some(cpu) = &cpu {
            progress.set_message(format!("{} on the CPU", training.name()));
            let row = training.row(cpu, args.reps)?;
            progress.suspend(|| table.push(&row))?;
            progress.inc(1);
        }
    }
    progress.finish_and_clear();
    Ok(())
}

/// The names of all rows.
fn rows() -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for work in work::streams(LISTED_AT).into_iter().chain(work::products()) {
        if !names.contains(&work.what) {
            names.push(work.what);
        }
    }
    names.extend(Training::all().iter().map(Training::name));
    names
}

/// The size at which the rows are listed; their names are the same at every size.
const LISTED_AT: usize = 1024;

fn list() -> Result<()> {
    let mut out = std::io::stdout().lock();
    Ok(rows().iter().try_for_each(|name| writeln!(out, "{name}"))?)
}

/// Refuses a text that is not part of any row's name.
fn known(what: &[String]) -> Result<()> {
    let rows = rows();
    let Some(unknown) = what.iter().find(|part| part.is_empty() || !rows.iter().any(|row| row.contains(part.as_str()))) else {
        return Ok(());
    };
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let near = thalweg::error::nearest(unknown, rows.iter().copied());
    let hint = if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(" or ")) };
    Err(Usage(format!("--what {unknown} names no row; known: {}{hint}", rows.join(", "))).into())
}

/// Shows on a terminal how many of all rows are done.
fn progress(rows: u64) -> ProgressBar {
    if !is_screen() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(rows);
    if let Ok(style) = ProgressStyle::with_template("{pos} of {len} rows: {msg} {wide_bar}") {
        bar.set_style(style);
    }
    bar
}

/// Times one row on one engine, once for each line on stdin.
fn turns(args: &BenchArgs) -> Result<()> {
    if let [what] = &args.what[..]
        && let Some(training) = Training::all().into_iter().find(|training| training.name() == *what)
    {
        return match (args.engine, gpu(args)?) {
            (Engines::Cpu, _) => training.in_turns(&Cpu::<f32>::default()),
            (Engines::Gpu, Some(gpu)) => training.in_turns(&gpu),
            _ => Err(Usage("--turns takes one --engine, gpu or cpu".into()).into()),
        };
    }
    let ([what], [n]) = (&args.what[..], &args.n[..]) else {
        return Err(Usage("--turns takes one --what and one --n".into()).into());
    };
    let work = work::streams(*n).into_iter().find(|work| work.what == *what);
    let work = work.ok_or_else(|| Usage(format!("--what {what} is no row's name")))?;
    work.check_memory()?;
    match (args.engine, gpu(args)?) {
        (Engines::Cpu, _) => engine::in_turns(&Cpu::<f32>::default(), work),
        (Engines::Gpu, Some(gpu)) => engine::in_turns(&gpu, work),
        _ => Err(Usage("--turns takes one --engine, gpu or cpu".into()).into()),
    }
}

/// The GPU to time. With `both` and without an adapter, only the CPU is timed; an error if a GPU was asked for.
fn gpu(args: &BenchArgs) -> Result<Option<Gpu>> {
    if args.engine == Engines::Cpu {
        return Ok(None);
    }
    match Gpu::with(&GpuOptions { adapter: args.adapter.clone(), allow_cpu: true, ..Default::default() }) {
        Ok(gpu) => Ok(Some(gpu)),
        Err(error @ Error::Unknown { .. }) => Err(Usage(error.to_string()).into()),
        Err(error) if args.engine == Engines::Both && args.adapter.is_none() => {
            note(&format!("no GPU rows: {error}"));
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}

fn row<E: Engine<Float = f32>>(engine: &E, mut work: Work, reps: u32, table: &mut Table) -> Result<Row>
where
    E::Program: Timed,
{
    work.check_memory()?;
    Ok(match work.size {
        Size::Elements(_) => {
            let pair = engine::pair(engine, &mut work, reps)?;
            Row::stream(engine, &work, &pair, table)
        }
        Size::Product { .. } => Row::product(engine, &work, &engine::alone(engine, &work, reps)?),
    })
}
