//! `thalweg bench`: both engines side by side, each row beside a plain copy of the same engine in the same run.

mod engine;
mod row;
mod touch;
mod work;

use anyhow::Result;
use clap::{Args, ValueEnum};
use engine::Timed;
use row::{Row, Table};
use thalweg::cpu::Cpu;
use thalweg::gpu::{Gpu, GpuOptions};
use thalweg::plan::Engine;

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
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Engines {
    Both,
    Gpu,
    Cpu,
}

/// Runs the benchmark.
pub fn run(args: &BenchArgs) -> Result<()> {
    let mut table = Table::new(args.json);
    if args.engine != Engines::Cpu {
        let options = GpuOptions { adapter: args.adapter.clone(), allow_cpu: true, ..Default::default() };
        match Gpu::with(&options) {
            Ok(gpu) => all(&gpu, args, &mut table)?,
            // Side by side means what there is; a GPU that was asked for is another matter.
            Err(error) if args.engine == Engines::Both && args.adapter.is_none() => eprintln!("no GPU rows: {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    if args.engine != Engines::Gpu {
        all(&Cpu::<f32>::default(), args, &mut table)?;
    }
    anyhow::ensure!(table.rows() > 0, "nothing to time: --what {} names no row", args.what.join(","));
    Ok(())
}

fn all<E: Engine<Float = f32>>(engine: &E, args: &BenchArgs, table: &mut Table) -> Result<()>
where
    E::Program: Timed,
{
    let wanted = |what: &str| args.what.is_empty() || args.what.iter().any(|part| what.contains(part.as_str()));
    for &n in &args.n {
        for mut work in work::streams(n).into_iter().filter(|work| wanted(&work.what)) {
            let (samples, copies) = engine::pair(engine, &mut work, args.reps)?;
            table.push(&Row::stream::<E>(engine, &work, &samples, &copies))?;
        }
    }
    for work in work::products().into_iter().filter(|work| wanted(&work.what)) {
        let samples = engine::alone(engine, &work, args.reps)?;
        table.push(&Row::product::<E>(engine, &work, &samples))?;
    }
    Ok(())
}
