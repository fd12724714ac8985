//! A trainer of the library: alone, and on ranks.

use crate::recipe;
use anyhow::Result;
use std::ops::ControlFlow;
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::data::{Dataset, digits};
use thalweg::nn::{BatchNorm1d, Dropout, Linear, Nonlinearity, Sequential};
use thalweg::{Metrics, Recipe, Trainer};
use thalweg_mpi::{Identity, Parts, Reduce, Training, World, part};

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

fn trainer(recipe: Recipe, data: &Dataset, on_ranks: bool) -> thalweg::Result<Trainer<Program>> {
    let model = model();
    let builder = Trainer::builder(&model, recipe).train(data).validation(data).batch(48).seeds(&[3, 4]);
    if on_ranks { builder.on_ranks() } else { builder }.build(&Cpu::<f32>::with_threads(1))
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

/// Whole epochs and then two steps, so that the end is within one.
pub fn alone(rule: &str, epochs: usize) -> Result<()> {
    let mut trainer = trainer(recipe(rule, 0.01, MICRO_BATCHES)?, &data()?, false)?;
    trainer.micro_batches(MICRO_BATCHES)?;
    let mut told = Vec::new();
    for _ in 0..epochs {
        told.push(trainer.whole_epoch()?);
        told.push(trainer.evaluate()?);
    }
    trainer.advance(2)?;
    told.push(trainer.metrics()?);
    println!("{}", line(&told, &mut trainer)?);
    Ok(())
}

/// Trains for `epochs` epochs and two steps, and goes on from the newest checkpoint of the folder if it has one; saves at the
/// end.
pub fn resumed(world: &World, folder: &str, sharded: bool, epochs: usize) -> Result<()> {
    let (data, whole) = (data()?, recipe("adamw", 0.01, MICRO_BATCHES)?);
    let recipe = match sharded {
        true => whole.clone().part(part(world, trainer(whole, &data, true)?.optimizer().arena())),
        false => whole,
    };
    let mut trainer = world.agree("engines", trainer(recipe, &data, true))?;
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
    println!("{}", line(&[], training.trainer_mut())?);
    Ok(())
}

/// The same on ranks: with all state on each, with parts of it, or with MPI's own sums.
pub fn ranks(world: &World, scenario: &str, rule: &str, epochs: usize) -> Result<()> {
    let (data, whole) = (data()?, recipe(rule, 0.01, MICRO_BATCHES)?);
    let identity = Identity::default().with_digest("data", bytemuck::cast_slice(&data.features));
    let made = match scenario {
        "training-parts" => {
            let part = part(world, trainer(whole.clone(), &data, true)?.optimizer().arena());
            trainer(whole.part(part), &data, true)
        }
        _ => trainer(whole, &data, true),
    };
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
    println!("{}", line(&told, training.trainer_mut())?);
    Ok(())
}
