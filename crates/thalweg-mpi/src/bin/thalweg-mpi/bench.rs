//! `thalweg-mpi bench`: the time of an exchange compared with MPI's own all-reduce, and the rows per second of training steps.

use crate::options::Options;
use anyhow::{Result, bail};
use std::time::Instant;
use thalweg::cpu::Cpu;
use thalweg::data::Dataset;
use thalweg::plan::Arena;
use thalweg::tree;
use thalweg::{Accumulation, AdamW, Recipe, SumOrder};
use thalweg_mpi::{DataParallel, Exchange, Identity, Perceptron, Reduce, World};

pub const KNOWN: &[&str] = &["what", "mib", "repeats", "micro-batches"];

pub fn run(world: &World, options: &Options) -> Result<()> {
    for what in options.text("what").unwrap_or("exchange,step").split(',') {
        match what {
            "exchange" => exchange(world, options)?,
            "step" => step(world, options)?,
            other => bail!("--what takes exchange and step, not {other}"),
        }
    }
    Ok(())
}

/// The seconds of the slowest rank: the median over several repeats.
fn median(world: &World, repeats: usize, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut seconds = Vec::new();
    for _ in 0..=repeats {
        world.gather("all ranks", &[0_u32])?;
        let started = Instant::now();
        work()?;
        seconds.push(world.gather("times", &[started.elapsed().as_secs_f64()])?.into_iter().fold(0.0, f64::max));
    }
    // The first repeat is a warm-up.
    seconds.remove(0);
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}

fn exchange(world: &World, options: &Options) -> Result<()> {
    let (mib, repeats) = (options.count("mib", 64)?, options.count("repeats", 10)?);
    let micro_batches = options.count("micro-batches", world.ranks())?;
    if micro_batches < world.ranks() {
        bail!("--micro-batches {micro_batches}: at least one for each of {} ranks", world.ranks());
    }
    let len = mib << 18;
    let mut arena = Arena::default();
    arena.add("all", &[len])?;
    let mut exchange = Exchange::<f32>::new(world, &arena, micro_batches);
    let own = vec![vec![1.0_f32; len]; exchange.nodes(world.rank()).len()];
    let (mut send, mut total) = (own[0].clone(), vec![0.0; len]);
    let reference = median(world, repeats, || Ok(world.add_waiting(&send, &mut total)?))?;
    let fast = median(world, repeats, || Ok(world.add("gradients", &mut send, &mut total)?))?;
    let exact = median(world, repeats, || Ok(exchange.sum(world, own.iter().map(|sum| &**sum), &mut total)?))?;
    let latency = median(world, 1000, || Ok(world.gather("latency", &[0_u32]).map(drop)?))?;
    if world.rank() > 0 {
        return Ok(());
    }
    let cost = tree::Exchange::new(micro_batches, world.ranks());
    println!(
        "{mib} MiB of gradients on {} ranks, {micro_batches} micro-batches; a gather of 4 bytes takes {:.1} us",
        world.ranks(),
        latency * 1e6
    );
    println!("  the model: exact sends {:.3} of the gradients, a ring {:.3}", cost.volume, cost.ring);
    for (name, seconds) in [("MPI_Allreduce", reference), ("fast", fast), ("exact", exact)] {
        let rate = (mib << 20) as f64 / seconds / 1e9;
        println!("  {name:14} {:9.3} ms  {rate:7.3} GB/s  {:5.2} of MPI_Allreduce", seconds * 1e3, reference / seconds);
    }
    Ok(())
}

/// Steps of a perceptron 784-128-64-10 on 1,024 rows.
fn step(world: &World, options: &Options) -> Result<()> {
    let (repeats, threads) = (options.count("repeats", 10)?, options.count("threads", 1)?);
    let micro_batches = options.count("micro-batches", 8)?;
    let mut random = 1_u32;
    let mut number = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as f32 / (1 << 24) as f32
    };
    let rows = 4_096;
    let features = (0..rows * 784).map(|_| number()).collect();
    let data = Dataset::new(features, 784, (0..rows as u32).map(|row| row % 10).collect())?;
    for reduce in [Reduce::Exact, Reduce::Fast] {
        let order = SumOrder::Tree { micro_batches };
        let recipe = Recipe::new(AdamW::default()).clip_norm(1.0).accumulate(Accumulation { order, ..Default::default() });
        let engine = Cpu::<f32>::with_threads(threads);
        let made = Perceptron::new(&engine, &recipe, (784, &[128, 64], 10), 1_024 / micro_batches, 1);
        let (model, optimizer) = world.agree("engines", made)?;
        let mut ranks = DataParallel::new(world, optimizer, micro_batches, reduce, Identity::default())?;
        let mut made = 0;
        let seconds = median(world, repeats, || {
            for _ in 0..10 {
                ranks.step(|optimizer, number| model.gradient(optimizer, &data, made * micro_batches + number))?;
                made += 1;
            }
            Ok(())
        })?;
        if world.rank() == 0 {
            let rate = (10 * (1_024 / micro_batches) * micro_batches) as f64 / seconds;
            println!(
                "784-128-64-10, 1,024 rows, {} ranks of {threads} threads, {reduce:?}: {:.3} ms per step, {rate:.0} rows/s",
                world.ranks(),
                seconds * 100.0
            );
        }
    }
    Ok(())
}
