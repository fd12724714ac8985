//! `thalweg bench`: both engines side by side, each row beside a plain copy of the same engine in the same run.

mod engine;
mod row;
mod touch;
mod work;

use crate::report::note;
use crate::{Usage, memory};
use anyhow::Result;
use clap::{Args, ValueEnum};
use engine::Timed;
use row::{Row, Table};
use thalweg::Error;
use thalweg::cpu::Cpu;
use thalweg::gpu::{Gpu, GpuOptions};
use thalweg::plan::Engine;
use work::{Size, Work};

/// Time updates, norms and matrix products on GPU and CPU.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// What to time: rows whose name contains one of these (comma-separated), such as `adamw,norm,matmul`
    #[arg(long, value_delimiter = ',')]
    what: Vec<String>,
    /// Engines to time
    #[arg(long, value_enum, default_value = "both")]
    engine: Engines,
    /// Part of the adapter's name; the default is the best one, a software driver if there is nothing else
    #[arg(long)]
    adapter: Option<String>,
    /// Parameters (comma-separated), for everything but matrix products
    #[arg(long, value_delimiter = ',', default_value = "1048576,4194304,16777216")]
    n: Vec<usize>,
    /// Timed repetitions; the median counts
    #[arg(long, default_value_t = 9, value_parser = clap::value_parser!(u32).range(1..=50))]
    reps: u32,
    /// One JSON object per row on stdout
    #[arg(long)]
    json: bool,
    /// Time the row whose whole name is `--what`: one repetition per line on stdin, its milliseconds on stdout. So another program
    /// measures in turns with this one (see benches/torch_turns.py)
    #[arg(long, conflicts_with_all = ["json", "reps"])]
    turns: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engines {
    Both,
    Gpu,
    Cpu,
}

/// Runs the benchmark: row by row, the GPU before the CPU.
pub fn run(args: &BenchArgs) -> Result<()> {
    for &n in &args.n {
        // The least that a row takes: a copy, and the copy beside it.
        memory::check(&format!("a row over {n} parameters (--n)"), 16 * n as u128, memory::available())?;
    }
    if args.turns {
        return turns(args);
    }
    let gpu = gpu(args)?;
    let cpu = (args.engine != Engines::Gpu).then(Cpu::<f32>::default);
    let mut table = Table::new(args.json);
    let wanted = |what: &str| args.what.is_empty() || args.what.iter().any(|part| what.contains(part.as_str()));
    let works = args.n.iter().flat_map(|&n| work::streams(n)).chain(work::products());
    for work in works.filter(|work| wanted(&work.what)) {
        if let Some(gpu) = &gpu {
            table.push(&row(gpu, work.clone(), args.reps)?)?;
        }
        if let Some(cpu) = &cpu {
            table.push(&row(cpu, work, args.reps)?)?;
        }
    }
    if table.rows() == 0 {
        return Err(Usage(format!("--what {} names no row", args.what.join(","))).into());
    }
    Ok(())
}

/// One row on one engine, whenever somebody asks for it.
fn turns(args: &BenchArgs) -> Result<()> {
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

/// The GPU to time. Side by side means what there is: without an adapter only the CPU is timed, unless a GPU was asked for.
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

fn row<E: Engine<Float = f32>>(engine: &E, mut work: Work, reps: u32) -> Result<Row>
where
    E::Program: Timed,
{
    work.check_memory()?;
    Ok(match work.size {
        Size::Elements(_) => {
            let pair = engine::pair(engine, &mut work, reps)?;
            Row::stream(engine, &work, &pair)
        }
        Size::Product { .. } => Row::product(engine, &work, &engine::alone(engine, &work, reps)?),
    })
}
