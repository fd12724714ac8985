//! A perceptron on the handwritten digits, as you would write it in PyTorch or Keras: training rows, validation rows, an early
//! stop when the loss on these no longer improves, then test rows, with the most frequent confusion of classes.
//!
//! `cargo run --release --example mlp_digits -- [PICTURE.svg]`. Expected: at least 96 % on the test rows.
//!
//! On the GPU a step takes 21 dispatches, however many lanes there are.

use anyhow::{Result, ensure};
use thalweg::data::{Dataset, digits};
use thalweg::nn::{Dropout, Linear, Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::train::Confusion;
use thalweg::{AdamW, AnyEngine, Recipe, Trainer};
use thalweg_chart::{Axis, Chart, Line, picture};

/// Training ends after this many epochs without a better loss on the validation rows.
const PATIENCE: usize = 10;

pub fn trainer<E: Engine>(engine: &E, [train, validation]: [&Dataset; 2], seeds: &[u64]) -> Result<Trainer<E::Program>> {
    let model = Sequential::new()
        .then(Linear::new(train.width, 128))
        .then(Nonlinearity::Relu)
        .then(Dropout { p: 0.2 })
        .then(Linear::new(128, train.classes));
    // Weights decay, biases do not.
    let recipe = Recipe::new(AdamW { lr: 2e-3, weight_decay: 0.05, ..Default::default() }).group(
        "biases",
        |tensor| tensor.shape.len() < 2,
        AdamW { lr: 2e-3, weight_decay: 0.0, ..Default::default() },
    );
    let trainer = Trainer::builder(&model, recipe).train(train).validation(validation).standardise().batch(64).seeds(seeds);
    Ok(trainer.build(engine)?)
}

fn main() -> Result<()> {
    let (rest, test) = digits().split(0.2, 1)?;
    let (train, validation) = rest.split(0.2, 2)?;
    let mut trainer = trainer(&AnyEngine::auto(), [&train, &validation], &[1])?;
    let (mut losses, mut best) = ([Vec::new(), Vec::new()], (f64::INFINITY, 0));
    while trainer.epochs() < 200 && (trainer.epochs() as usize) < best.1 + PATIENCE {
        losses[0].push(trainer.whole_epoch()?[0].loss);
        let loss = trainer.evaluate()?[0].loss;
        losses[1].push(loss);
        if loss < best.0 {
            best = (loss, trainer.epochs() as usize);
        }
    }
    let confusion = Confusion::of(&test.labels, &trainer.predict_classes(0, &test.features)?, test.classes)?;
    let taken = |label: usize, class: usize| (confusion.counts[label][class], label, class);
    let pairs = (0..test.classes)
        .flat_map(|label| (0..test.classes).filter(move |&class| class != label).map(move |class| (label, class)));
    let (times, label, class) = pairs.map(|(label, class)| taken(label, class)).max().unwrap_or_default();
    println!(
        "{} epochs; {:.2} % of {} test rows, macro F1 {:.3}; most often wrong: {label} taken for {class}, {times} times",
        trainer.epochs(),
        100.0 * confusion.accuracy(),
        test.rows(),
        confusion.macro_f1()
    );
    ensure!(confusion.accuracy() >= 0.96, "{}", confusion.accuracy());
    if let Some(path) = std::env::args().nth(1) {
        let lines = ["training", "validation"].into_iter().zip(losses).enumerate();
        let lines = lines.map(|(i, (name, losses))| Line::counted(name, i, losses)).collect();
        let chart = Chart { title: "", steps: "epoch", values: "loss", x: Axis::Count(1), y: Axis::Log, key: true, lines };
        std::fs::write(path, picture((640, 400), |area| chart.draw(area))?)?;
    }
    Ok(())
}
