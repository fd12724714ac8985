//! Many steps wait only for a device that is far behind.

use crate::common::counting::Counting;
use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::with;
use thalweg::cpu::Cpu;
use thalweg::gpu::GpuOptions;
use thalweg::plan::Engine;
use thalweg::{Adam, Recipe, Result};

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
