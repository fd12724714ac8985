//! `thalweg-mpi bench`: the time of an exchange beside MPI's own all-reduce, and the rows per second of training steps beside
//! those of one process. What is compared takes turns, so that other load on the machine hits all of it.

use crate::options::Options;
use anyhow::{Result, bail};
use std::time::Instant;
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::data::Dataset;
use thalweg::nn::{Nonlinearity, Sequential};
use thalweg::plan::Arena;
use thalweg::tree;
use thalweg::{Accumulation, AdamW, Recipe, SumOrder, Trainer};
use thalweg_mpi::{AllReduce, Exchange, Identity, Reduce, Training, World};

pub const KNOWN: &[&str] = &["what", "mib", "repeats", "micro-batches", "threads", "watchdog"];

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

/// Some work of all ranks.
type Work<'a> = &'a mut dyn FnMut() -> Result<()>;

/// The seconds of the slowest rank for each of several works, which take turns: the median over the repeats.
fn medians<const N: usize>(world: &World, repeats: usize, mut works: [Work; N]) -> Result<[f64; N]> {
    let mut seconds: [Vec<f64>; N] = std::array::from_fn(|_| Vec::new());
    // The first turn is a warm-up.
    for turn in 0..=repeats {
        for (work, seconds) in works.iter_mut().zip(&mut seconds) {
            world.gather("all ranks", &[0_u32])?;
            let started = Instant::now();
            work()?;
            let slowest = world.gather("times", &[started.elapsed().as_secs_f64()])?.into_iter().fold(0.0, f64::max);
            seconds.extend((turn > 0).then_some(slowest));
        }
    }
    Ok(seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    }))
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
    let [mut exact, mut overlapping] = [(); 2].map(|()| Exchange::<f32>::new(world, &arena));
    let mut fast = AllReduce::<f32>::new(world, len);
    let own = vec![1.0_f32; len];
    let [mut by_mpi, mut by_fast, mut by_exact, mut by_overlapping] = [(); 4].map(|()| vec![0.0; len]);
    let all = medians(
        world,
        repeats,
        [
            &mut || Ok(world.add_waiting(&own, &mut by_mpi)?),
            &mut || Ok(fast.sum(micro_batches, &own, &mut by_fast, |_| ())?),
            &mut || Ok(exact.sum(micro_batches, &own, &mut by_exact, |_| ())?),
        ],
    )?;
    // Each rank computes as long as an exchange takes, and its micro-batches take shares of that.
    let own_count = tree::share(micro_batches, world.ranks(), world.rank()).len();
    let slice = units(all[2] / micro_batches.div_ceil(world.ranks()) as f64);
    let [before, beside] = medians(
        world,
        repeats,
        [
            &mut || {
                (0..own_count).for_each(|_| compute(slice));
                Ok(exact.sum(micro_batches, &own, &mut by_exact, |_| ())?)
            },
            &mut || Ok(overlapping.sum(micro_batches, &own, &mut by_overlapping, |_| compute(slice))?),
        ],
    )?;
    let [latency] = medians(world, 1000, [&mut || Ok(world.gather("latency", &[0_u32]).map(drop)?)])?;
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
    for (name, seconds) in ["MPI_Allreduce", "fast", "exact"].into_iter().zip(all) {
        let rate = (mib << 20) as f64 / seconds / 1e9;
        println!("  {name:14} {:9.3} ms  {rate:7.3} GB/s  {:5.2} of MPI_Allreduce", seconds * 1e3, all[0] / seconds);
    }
    println!("  computing as long as that, then exact: {:9.3} ms", before * 1e3);
    println!(
        "  blocks sent while the next are computed: {:9.3} ms, which hides {:.0} % of the exchange",
        beside * 1e3,
        // Without a sign where it is 0.
        ((before - beside) / all[2] * 100.0).round() + 0.0
    );
    Ok(())
}

/// Computes, and asks nothing of MPI. Work is counted and not timed, since ranks may share a core.
fn compute(units: usize) {
    for _ in 0..units {
        std::hint::black_box((0..1_000).fold(0.0_f64, |sum, i| sum.mul_add(0.5, f64::from(i))));
    }
}

/// How many units of [`compute`] take as long as that on a core of its own.
fn units(time: f64) -> usize {
    let timed = || {
        let started = Instant::now();
        compute(1_000);
        started.elapsed().as_secs_f64()
    };
    let least = (0..10).map(|_| timed()).fold(f64::INFINITY, f64::min);
    (time / least * 1e3) as usize
}

/// Rows of a step, and steps of a turn.
const ROWS: usize = 1_024;
const STEPS: usize = 10;

/// 4,096 rows of random numbers.
fn data() -> Result<Dataset> {
    let mut random = 1_u32;
    let mut number = || {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as f32 / (1 << 24) as f32
    };
    let features = (0..4 * ROWS * 784).map(|_| number()).collect();
    Ok(Dataset::new(features, 784, (0..4 * ROWS as u32).map(|row| row % 10).collect())?)
}

/// Steps of a perceptron 784-128-64-10 on 1,024 rows: on ranks, and in one process with the threads of all of them.
fn step(world: &World, options: &Options) -> Result<()> {
    let (repeats, threads) = (options.count("repeats", 10)?, options.count("threads", 1)?);
    let micro_batches = options.count("micro-batches", 8)?;
    let (data, order) = (data()?, SumOrder::Tree { micro_batches });
    let recipe = Recipe::new(AdamW::default()).clip_norm(1.0).accumulate(Accumulation { order, ..Default::default() });
    let model = Sequential::perceptron(784, &[128, 64], 10, Nonlinearity::Relu);
    let trainer = |threads: usize, on_ranks: bool| -> thalweg::Result<Trainer<CpuProgram<f32>>> {
        let builder = Trainer::builder(&model, recipe.clone()).train(&data).batch(ROWS / micro_batches);
        let builder = if on_ranks { builder.on_ranks() } else { builder };
        builder.build(&Cpu::<f32>::with_threads(threads))
    };
    let training = |reduce: Reduce| -> Result<Training<CpuProgram<f32>>> {
        let made = world.agree("engines", trainer(threads, true))?;
        Ok(Training::new(world, made, micro_batches, reduce, Identity::default())?)
    };
    let (mut exact, mut fast) = (training(Reduce::Exact)?, training(Reduce::Fast)?);
    // Other ranks wait meanwhile.
    let mut alone = if world.rank() == 0 { Some(trainer(threads * world.ranks(), false)?) } else { None };
    if let Some(alone) = &mut alone {
        alone.micro_batches(micro_batches)?;
    }
    let arena = exact.trainer().optimizer().arena().clone();
    let mut exchange = Exchange::<f32>::new(world, &arena);
    let (own, mut sum) = (vec![1.0_f32; arena.len()], vec![0.0; arena.len()]);
    let seconds = medians(
        world,
        repeats,
        [
            &mut || Ok((0..STEPS).try_for_each(|_| exact.step())?),
            &mut || Ok((0..STEPS).try_for_each(|_| fast.step())?),
            &mut || Ok(alone.as_mut().map_or(Ok(()), |alone| alone.advance(STEPS))?),
            &mut || Ok((0..STEPS).try_for_each(|_| exchange.sum(micro_batches, &own, &mut sum, |_| ()))?),
        ],
    )?;
    if world.rank() > 0 {
        return Ok(());
    }
    println!("784-128-64-10, steps of {ROWS} rows in {micro_batches} micro-batches");
    let all = world.ranks();
    let names = [format!("{all} ranks, exact"), format!("{all} ranks, fast"), format!("1 process, {} threads", threads * all)];
    for (name, took) in names.iter().zip(seconds) {
        let rate = (STEPS * ROWS / micro_batches * micro_batches) as f64 / took;
        let (per_step, of_one) = (took * 1e3 / STEPS as f64, seconds[2] / took);
        println!("  {name:22} {per_step:8.3} ms per step  {rate:9.0} rows/s  {of_one:5.2} of one process");
    }
    let [whole, part] = [seconds[0], seconds[3]].map(|took| took * 1e3 / STEPS as f64);
    println!(
        "  an exact exchange alone takes {part:.3} ms, {:.0} % of a step; last blocks travel when all gradients are there",
        part / whole * 100.0
    );
    Ok(())
}
