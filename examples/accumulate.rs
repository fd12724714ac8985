//! Gradient accumulation: a batch that is too large for memory comes as micro-batches, one of them bad, and makes one step.
//!
//! `cargo run --example accumulate -- [auto|cpu|gpu]`; by default a real GPU if there is one, else the CPU engine.
//!
//! A line is fitted to points. The gradient of each micro-batch is the mean over its points; the step takes the mean over the
//! micro-batches. A micro-batch with a broken point is left out, and the others of the step count. Expected: 400 steps, and a
//! line within 0.01 of y = 2·x − 1.

use thalweg::plan::Engine;
use thalweg::{Accumulation, Adam, AnyEngine, Average, Optimizer, Recipe};

const MICRO_BATCHES: usize = 8;
const POINTS: usize = 16;

/// The gradient of the mean of (slope·x + offset − y)² over points on y = 2·x − 1.
fn gradient([slope, offset]: [f32; 2], random: &mut fastrand::Rng, broken: bool) -> [f32; 2] {
    let mut sum = [0.0; 2];
    for point in 0..POINTS {
        let x = random.f32();
        let y = if broken && point == 3 { f32::NAN } else { 2.0 * x - 1.0 };
        let error = slope * x + offset - y;
        sum[0] += 2.0 * error * x / POINTS as f32;
        sum[1] += 2.0 * error / POINTS as f32;
    }
    sum
}

fn run<E: Engine<Float = f32>>(engine: &E) -> anyhow::Result<()> {
    let recipe = Recipe::new(Adam { lr: 0.05, ..Default::default() })
        .accumulate(Accumulation { mean: true, drop_bad: true, ..Default::default() })
        .average(Average::Ema { decay: 0.9 });
    let mut optimizer = Optimizer::new(engine, recipe, &[("line", &[2])])?;
    let mut random = fastrand::Rng::with_seed(1);
    for step in 0..400 {
        let line = optimizer.params("line")?;
        for micro_batch in 0..MICRO_BATCHES {
            let broken = step % 10 == 0 && micro_batch == 5;
            optimizer.set_grads("line", &gradient([line[0], line[1]], &mut random, broken))?;
            optimizer.accumulate()?;
        }
        optimizer.step()?;
    }
    let (line, report) = (optimizer.averaged("line")?, optimizer.report()?);
    println!("{}: y = {:.3}·x + {:.3} after {} steps", engine.describe(), line[0], line[1], report.applied);
    assert!((line[0] - 2.0).abs() < 0.01 && (line[1] + 1.0).abs() < 0.01, "{line:?}");
    assert_eq!((report.applied, report.skipped), (400, 0));
    Ok(())
}

fn main() -> anyhow::Result<()> {
    run(&AnyEngine::by_name(&std::env::args().nth(1).unwrap_or("auto".into()))?)
}
