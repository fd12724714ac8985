//! A convolutional network learns to read digits: two convolutions of 3 × 3, each normalised and with a ReLU, then a pool of 2
//! × 2, dropout and a linear layer. Five models train side by side, each from its own seed.
//!
//! `cargo run --release --example cnn_digits`: the 1,797 digits of 8 × 8 pixels that are part of the crate, a fifth of them for
//! the test. Expected: a mean of the five test accuracies of at least 0.98.
//!
//! `cargo run --release --example cnn_digits -- FOLDER`: the four files of MNIST in a folder, one model, 5 epochs. For these
//! larger images there is also a pool after the first convolution, and a layer before the last. Expected: a test accuracy of at
//! least 0.98.
//!
//! On the GPU for the small images a step takes 58 dispatches, however many lanes there are.

use anyhow::{Result, ensure};
use thalweg::cpu::Cpu;
use thalweg::data::{self, Dataset, Scaler};
use thalweg::nn::{BatchNorm1d, BatchNorm2d, Conv2d, Dropout, Flatten, Linear, MaxPool2d, Nonlinearity, Reshape, Sequential};
use thalweg::plan::Engine;
use thalweg::schedule::Cosine;
use thalweg::{AdamW, Recipe, Trainer};

const RATE: f64 = 2e-3;

/// For images of `side` × `side` pixels; large ones are halved after the first convolution, all after the second.
pub fn model(side: usize) -> Sequential {
    let model = Sequential::new().then(Reshape(vec![1, side, side]));
    let model = model.then(Conv2d::new(1, 16, [3, 3]).padded([1, 1])).then(BatchNorm2d::new(16)).then(Nonlinearity::Relu);
    let large = side > 16;
    let (model, side) = if large { (model.then(MaxPool2d::new([2, 2])), side / 2) } else { (model, side) };
    let filters = if large { 64 } else { 32 };
    let model = model.then(Conv2d::new(16, filters, [3, 3]).padded([1, 1])).then(BatchNorm2d::new(filters));
    let model = model.then(Nonlinearity::Relu).then(MaxPool2d::new([2, 2])).then(Flatten);
    let width = filters * (side / 2) * (side / 2);
    if large {
        let model = model.then(Dropout { p: 0.25 }).then(Linear::new(width, 128)).then(BatchNorm1d::new(128));
        return model.then(Nonlinearity::Relu).then(Linear::new(128, 10));
    }
    model.then(Dropout { p: 0.5 }).then(Linear::new(width, 10))
}

pub fn trainer<E: Engine>(
    engine: &E,
    [train, test]: [&Dataset; 2],
    model: &Sequential,
    seeds: &[u64],
    epochs: usize,
) -> Result<Trainer<E::Program>> {
    let falling = Cosine::new(RATE, (epochs * train.rows().div_ceil(32)) as u64);
    let recipe = Recipe::new(AdamW { lr: RATE, ..Default::default() }).schedule("lr", falling);
    Ok(Trainer::builder(model, recipe).train(train).validation(test).batch(32).seeds(seeds).build(engine)?)
}

/// Mean test accuracy of a model per seed.
fn accuracy(train: &Dataset, test: &Dataset, model: &Sequential, seeds: &[u64], epochs: usize) -> Result<f64> {
    let mut trainer = trainer(&Cpu::<f32>::default(), [train, test], model, seeds, epochs)?;
    for epoch in 1..=epochs {
        let seen = trainer.whole_epoch()?;
        let loss: f64 = seen.iter().map(|lane| lane.loss).sum::<f64>() / seen.len() as f64;
        println!("epoch {epoch}: loss {loss:.4}");
    }
    let all: Vec<f64> = trainer.evaluate()?.iter().filter_map(|lane| lane.accuracy).collect();
    println!("test accuracies: {all:.4?}");
    Ok(all.iter().sum::<f64>() / seeds.len() as f64)
}

fn main() -> Result<()> {
    let least = 0.98;
    let mean = match std::env::args().nth(1) {
        Some(folder) => {
            let (train, test) = data::idx::read_directory(folder)?;
            accuracy(&train, &test, &model(28), &[1], 5)?
        }
        None => {
            let (mut train, mut test) = data::digits().split(0.2, 1)?;
            let scale = Scaler::range(&train)?;
            scale.apply(&mut train)?;
            scale.apply(&mut test)?;
            accuracy(&train, &test, &model(8), &[1, 2, 3, 4, 5], 20)?
        }
    };
    println!("mean of the test accuracies: {mean:.4}");
    ensure!(mean >= least, "below {least}");
    Ok(())
}
