//! A deep network with and without batch normalisation: ten layers with sigmoids on the digits, whose gradients vanish on the
//! way back.
//!
//! `cargo run --release --example batch_norm -- [PICTURE.svg]`. Expected: with normalisation above 90 % on the test rows,
//! without it less than 30 %, which is little more than guessing.
//!
//! On the GPU with normalisation, a step takes 224 dispatches, however many lanes there are.

use anyhow::{Result, ensure};
use thalweg::cpu::Cpu;
use thalweg::data::{Dataset, digits};
use thalweg::nn::{BatchNorm1d, Linear, Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::{Adam, Recipe, Trainer};
use thalweg_chart::{Axis, Chart, Line, picture};

const DEPTH: usize = 10;
const WIDTH: usize = 32;
const EPOCHS: usize = 15;

fn model(inputs: usize, classes: usize, normalised: bool) -> Sequential {
    let layer = |model: Sequential, i: usize| {
        let model = model.then(Linear::new(if i == 0 { inputs } else { WIDTH }, WIDTH));
        let model = if normalised { model.then(BatchNorm1d::new(WIDTH)) } else { model };
        model.then(Nonlinearity::Sigmoid)
    };
    (0..DEPTH).fold(Sequential::new(), layer).then(Linear::new(WIDTH, classes))
}

pub fn trainer<E: Engine>(
    engine: &E,
    [train, test]: [&Dataset; 2],
    normalised: bool,
    seeds: &[u64],
) -> Result<Trainer<E::Program>> {
    let model = model(train.width, train.classes, normalised);
    let recipe = Recipe::new(Adam { lr: 3e-3, ..Default::default() });
    Ok(Trainer::builder(&model, recipe).train(train).validation(test).standardise().batch(64).seeds(seeds).build(engine)?)
}

/// The training loss by epoch, and the accuracy on the test rows at the end.
fn train(train: &Dataset, test: &Dataset, normalised: bool) -> Result<(Vec<f64>, f64)> {
    let mut trainer = trainer(&Cpu::<f32>::default(), [train, test], normalised, &[1])?;
    let losses = (0..EPOCHS).map(|_| Ok(trainer.whole_epoch()?[0].loss)).collect::<Result<_>>()?;
    Ok((losses, trainer.evaluate()?[0].accuracy.unwrap_or(0.0)))
}

fn main() -> Result<()> {
    let (training, test) = digits().split(0.25, 1)?;
    let [plain, normalised] = [train(&training, &test, false)?, train(&training, &test, true)?];
    for (name, (losses, accuracy)) in [("without", &plain), ("with", &normalised)] {
        let loss = losses[EPOCHS - 1];
        println!("{name:>7} batch normalisation: training loss {loss:.3}, {:.1} % on the test rows", 100.0 * accuracy);
    }
    ensure!(plain.1 < 0.3 && normalised.1 > 0.9, "{} without, {} with", plain.1, normalised.1);
    if let Some(path) = std::env::args().nth(1) {
        let lines = [("without", plain.0), ("with batch normalisation", normalised.0)];
        let lines = lines.into_iter().enumerate().map(|(i, (name, losses))| Line::counted(name, i, losses)).collect();
        let chart =
            Chart { title: "", steps: "epoch", values: "training loss", x: Axis::Count(1), y: Axis::Log, key: true, lines };
        std::fs::write(path, picture((640, 400), |area| chart.draw(area))?)?;
    }
    Ok(())
}
