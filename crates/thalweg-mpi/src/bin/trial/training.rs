//! A trainer of the library: alone, and on ranks.

use crate::recipe;
use anyhow::Result;
use std::ops::ControlFlow;
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::data::{Dataset, digits};
use thalweg::nn::{BatchNorm1d, Dropout, Linear, Nonlinearity, Sequential};
use thalweg::{Average, Lookahead, Metrics, Recipe, Trainer};
use thalweg_mpi::{Identity, Parts, Reduce, SharedSteps, Training, World, part};

type Program = CpuProgram<f32>;

/// Micro-batches of a step.
pub const MICRO_BATCHES: usize = 8;
/// An epoch has 3 steps of 8 batches of 48 rows, and one with the 4 that are left, the last of which has 29.
const ROWS: usize = 1325;

/// Running statistics, and random numbers.
fn model() -> Sequential {
    let norm = BatchNorm1d { momentum: 0.3, ..BatchNorm1d::new(24) };
    Sequential::new()
        .then(Linear::new(64, 24))
        .then(norm)
        .then(Nonlinearity::Tanh)
        .then(Dropout { p: 0.2 })
        .then(Linear::new(24, 10))
}

fn data() -> thalweg::Result<Dataset> {
    digits().rows_at(&(0..ROWS).collect::<Vec<_>>())
}

/// A trainer alone, or on ranks, where each may have a part of the state.
fn trainer(recipe: Recipe, data: &Dataset, on_ranks: Option<&World>, sharded: bool) -> thalweg::Result<Trainer<Program>> {
    let model = model();
    // 14 blocks of an evaluation, the last of which has 25 rows.
    let builder = Trainer::builder(&model, recipe).train(data).validation(data).evaluation_rows(100);
    let builder = builder.batch(48).seeds(&[3, 4]);
    let builder = match on_ranks {
        Some(world) if sharded => builder.on_ranks().part(|arena| part(world, arena))?,
        Some(_) => builder.on_ranks(),
        None => builder,
    };
    builder.build(&Cpu::<f32>::with_threads(1))
}

/// What was measured over epochs, and what a trainer has come to.
fn line(told: &[Vec<Metrics>], trainer: &mut Trainer<Program>) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    for lane in 0..trainer.lanes() {
        hasher.update(bytemuck::cast_slice(&trainer.params(lane)?));
        hasher.update(bytemuck::cast_slice(&trainer.statistics(lane)?));
    }
    let measured = blake3::hash(format!("{told:?}").as_bytes()).to_hex();
    Ok(format!("{} steps, measured {measured}, came to {}", trainer.steps(), hasher.finalize().to_hex()))
}

/// Rows to predict from, as many as nobody shares evenly.
fn features(data: &Dataset) -> Vec<f32> {
    data.features[..data.width * 311].to_vec()
}

fn digest_of(lanes: &[Vec<f32>]) -> blake3::Hash {
    blake3::hash(bytemuck::cast_slice(&lanes.concat()))
}

/// Whole epochs and then two steps, so that the end is within one.
pub fn alone(rule: &str, epochs: usize) -> Result<()> {
    let mut trainer = trainer(recipe(rule, 0.01, MICRO_BATCHES)?, &data()?, None, false)?;
    trainer.micro_batches(MICRO_BATCHES)?;
    let mut told = Vec::new();
    for _ in 0..epochs {
        told.push(trainer.whole_epoch()?);
        told.push(trainer.evaluate()?);
    }
    trainer.advance(2)?;
    told.push(trainer.metrics()?);
    let features = features(&data()?);
    let said = (0..trainer.lanes()).map(|lane| trainer.predict(lane, &features)).collect::<thalweg::Result<Vec<_>>>()?;
    println!("{}, says {}", line(&told, &mut trainer)?, digest_of(&said));
    Ok(())
}

/// Trains for `epochs` epochs and two steps, and goes on from the newest checkpoint of the folder if it has one; saves at the
/// end.
pub fn resumed(world: &World, folder: &str, sharded: bool, epochs: usize) -> Result<()> {
    // Planes, averages and slow weights.
    let recipe = recipe("adamw", 0.01, MICRO_BATCHES)?.average(Average::Ema { decay: 0.9 }).lookahead(Lookahead::default());
    let mut trainer = world.agree("engines", trainer(recipe, &data()?, Some(world), sharded))?;
    let parts = Parts::new(world, folder)?;
    trainer.micro_batches(MICRO_BATCHES)?;
    if std::fs::read_dir(folder)?.next().is_some() {
        let (step, tensors) = parts.newest()?;
        let loaded = trainer.load_tensors(&tensors);
        world.agree("a checkpoint", loaded)?;
        assert_eq!(trainer.steps() as u64, step);
    }
    // Nobody writes before all have read.
    world.gather("all ranks", &[0_u32])?;
    let mut training = match sharded {
        true => Training::sharded(world, trainer, MICRO_BATCHES, Identity::default())?,
        false => Training::new(world, trainer, MICRO_BATCHES, Reduce::Exact, Identity::default())?,
    };
    while training.trainer().epochs() < epochs as u64 {
        training.epoch(|_| ControlFlow::Continue(()))?;
    }
    training.epoch(|done| if done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })?;
    training.save(&parts)?;
    training.join_state()?;
    let trainer = training.trainer_mut();
    let averages: Vec<u8> = (0..trainer.lanes())
        .map(|lane| Ok(bytemuck::cast_slice(&trainer.optimizer_mut().lane(lane)?.averaged("0.weight")?).to_vec()))
        .collect::<thalweg::Result<Vec<_>>>()?
        .concat();
    println!("{}, averages {}", line(&[], trainer)?, blake3::hash(&averages).to_hex());
    Ok(())
}

/// A step of four micro-batches on five ranks, of which the first has none, and cannot begin: its trainer was not built for it.
pub fn unbegun(world: &World) -> Result<()> {
    let data = digits().rows_at(&(0..64).collect::<Vec<_>>())?;
    let new = |on_ranks: bool| {
        let model = Linear::new(data.width, data.classes);
        let builder = Trainer::builder(&model, recipe("sgd", 0.01, MICRO_BATCHES)?).train(&data).batch(16);
        let builder = if on_ranks { builder.on_ranks() } else { builder };
        let mut trainer = builder.build(&Cpu::<f32>::with_threads(1))?;
        trainer.micro_batches(MICRO_BATCHES)?;
        anyhow::Ok(trainer)
    };
    let mut steps = SharedSteps::new(world, &mut new(true)?, MICRO_BATCHES, Reduce::Exact, Identity::default())?;
    Ok(steps.step(&mut new(world.rank() > 0)?)?)
}

/// The same on ranks: with all state on each, with parts of it, or with MPI's own sums.
pub fn ranks(world: &World, scenario: &str, rule: &str, epochs: usize) -> Result<()> {
    let data = data()?;
    let identity = Identity::default().with_digest("data", bytemuck::cast_slice(&data.features));
    let made = trainer(recipe(rule, 0.01, MICRO_BATCHES)?, &data, Some(world), scenario == "training-parts");
    let trainer = world.agree("engines", made)?;
    let mut training = match scenario {
        "training-parts" => Training::sharded(world, trainer, MICRO_BATCHES, identity)?,
        "training-fast" => Training::new(world, trainer, MICRO_BATCHES, Reduce::Fast, identity)?,
        _ => Training::new(world, trainer, MICRO_BATCHES, Reduce::Exact, identity)?,
    };
    let mut told = Vec::new();
    for _ in 0..epochs {
        told.push(training.epoch(|_| ControlFlow::Continue(()))?);
        told.push(training.evaluate()?);
        training.check()?;
    }
    told.push(training.epoch(|done| if done == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })?);
    training.check()?;
    let features = features(&data);
    let lanes = training.trainer().lanes();
    let said = (0..lanes).map(|lane| Ok(training.predict(lane, &features)?)).collect::<Result<Vec<_>>>()?;
    println!("{}, says {}", line(&told, training.trainer_mut())?, digest_of(&said));
    Ok(())
}
