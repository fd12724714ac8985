//! Many steps wait only for a device that is far behind.

use crate::common::counting::Counting;
use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::with;
use thalweg::cpu::Cpu;
use thalweg::data::Dataset;
use thalweg::gpu::GpuOptions;
use thalweg::nn::{Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::{Adam, Recipe, Result, Trainer};

const LEN: usize = 64;

fn recipe() -> Recipe {
    Recipe::new(Adam { lr: 1e-3, ..Default::default() }).clip_norm(1.0)
}

/// The waits and requests of 1,000 steps with telemetry every `every` steps. `idle` lets the device catch up after each step,
/// as if there were other work between steps.
fn count<E: Engine>(engine: E, every: u64, mut idle: impl FnMut(&E::Program) -> Result<()>) -> Result<(usize, usize)> {
    let rule = with("adam", "lr=0.01");
    let mut model = Model::new(&Counting(engine), recipe(), &*rule, &[LEN]);
    model.optimizer.telemetry_every(every);
    for step in 0..1_000 {
        model.set_grads(0, &numbers(step, LEN));
        model.step();
        model.optimizer.poll()?;
        if step % 32 == 31 {
            idle(&model.optimizer.program().inner)?;
        }
    }
    let program = model.optimizer.program();
    Ok((program.waits, program.requests))
}

#[test]
fn steps_wait_for_nothing() -> Result<()> {
    // Every 128 steps, and for samples; step 640 is both.
    for (every, requests) in [(0, 7), (1, 1_000), (10, 100 + 7 - 1)] {
        assert_eq!(count(Cpu::<f32>::default(), every, |_| Ok(()))?, (0, requests));
        assert_eq!(count(engines::open(GpuOptions::default()), every, |program| program.wait())?, (0, requests));
    }
    Ok(())
}

/// The host has to wait for a device that is behind by a whole ring of rows. That happens at most once per ring, not in each
/// step.
#[test]
fn a_busy_device_is_waited_for_once_per_ring_at_most() -> Result<()> {
    let (waits, requests) = count(engines::open(GpuOptions::default()), 0, |_| Ok(()))?;
    assert!(waits <= 1_000 / 128, "{waits} waits");
    assert_eq!(requests, 7 + waits);
    Ok(())
}

/// Steps of a trainer wait for nothing, also from one epoch to the next, whose order the host writes; and many go to the engine
/// in one call.
#[test]
fn steps_of_a_trainer_wait_for_nothing() -> Result<()> {
    fn count<E: Engine>(engine: E, seeds: &[u64], idle: impl Fn(&E::Program) -> Result<()>) -> Result<(usize, usize)> {
        let data = Dataset::new(numbers(1, 3 * 400), 3, (0..400).map(|row| row % 2).collect())?;
        let model = Sequential::perceptron(3, &[4], 2, Nonlinearity::Relu);
        let mut trainer = Trainer::builder(&model, recipe()).train(&data).batch(4).seeds(seeds).build(&Counting(engine))?;
        trainer.advance(10)?;
        let before = (trainer.optimizer().program().waits, trainer.optimizer().program().runs);
        for _ in 0..5 {
            trainer.advance(100)?;
            idle(&trainer.optimizer().program().inner)?;
        }
        let after = trainer.optimizer().program();
        Ok((after.waits - before.0, after.runs - before.1))
    }
    for seeds in [&[1][..], &[1, 2, 3]] {
        // Five calls, each cut at the end of an epoch, and at every 128th step.
        let found = count(Cpu::<f32>::default(), seeds, |_| Ok(()))?;
        assert!(found.0 == 0 && found.1 <= 5 + 5 + 4, "{found:?}");
        let gpu = engines::open(GpuOptions::default());
        assert_eq!(count(gpu, seeds, |program| program.wait())?, found);
    }
    Ok(())
}

/// Steps without a look in between go to the engine in one call: it divides them by dispatches and work, not by a number of
/// steps.
#[test]
fn steps_that_nobody_looks_between_are_handed_over_at_once() -> Result<()> {
    let rule = with("adam", "lr=0.01");
    let mut model = Model::new(&Counting(Cpu::<f32>::default()), recipe(), &*rule, &[LEN]);
    model.set_grads(0, &numbers(1, LEN));
    model.optimizer.steps(128)?;
    assert_eq!(model.optimizer.program().runs, 1);
    model.optimizer.steps(300)?;
    // Counters are asked for at 256 and 384.
    assert_eq!((model.optimizer.program().runs, model.optimizer.program().requests), (4, 3));
    model.optimizer.telemetry_every(50);
    model.optimizer.steps(72)?;
    assert_eq!(model.optimizer.program().runs, 6, "samples after steps 450 and 500");
    Ok(())
}
