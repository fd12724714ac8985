//! SGD with momentum, AdaGrad, RMSprop and Adam on four data sets, ten seeds each as lanes of one population: the loss on
//! held-out rows, as mean and deviation over the seeds. Then the effective rate of AdaGrad, lr/√Σg², which can only fall,
//! beside that of RMSprop, whose mean of squares forgets old gradients.
//!
//! `cargo run --release --example adaptive_rates -- [PICTURE.svg]`. Expected: every rule beats guessing on every data set;
//! AdaGrad's mean effective rate ends below 60 % of its value after ten steps, and RMSprop's ends above it.
//!
//! On the GPU a step of any of the rules takes 20 dispatches, however many lanes there are.

mod data;

use anyhow::{Result, ensure};
use thalweg::cpu::Cpu;
use thalweg::data::{Dataset, digits};
use thalweg::nn::{Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::{Adagrad, Adam, AnyRule, Recipe, RmsProp, Sgd, Trainer};
use thalweg_chart::{Axis, Chart, Line, picture};

const SEEDS: [u64; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];
const EPOCHS: usize = 20;
const EPS: f64 = 1e-10;

pub fn rules() -> Vec<(&'static str, Box<dyn AnyRule>)> {
    vec![
        ("sgd + momentum", Sgd { lr: 0.02, momentum: 0.9, ..Default::default() }.into()),
        ("adagrad", Adagrad { lr: 0.05, ..Default::default() }.into()),
        ("rmsprop", RmsProp { lr: 2e-3, ..Default::default() }.into()),
        ("adam", Adam { lr: 5e-3, ..Default::default() }.into()),
    ]
}

/// Two spirals that wind around each other.
fn spirals() -> Result<Dataset> {
    let mut random = fastrand::Rng::with_seed(1);
    let (mut features, mut labels) = (Vec::new(), Vec::new());
    for i in 0..600 {
        let (label, angle) = (i % 2, 0.6 + 6.0 * random.f32());
        let turned = angle + std::f32::consts::PI * label as f32;
        features.extend([angle * turned.cos() + 0.2 * random.f32(), angle * turned.sin() + 0.2 * random.f32()]);
        labels.push(label);
    }
    Ok(Dataset::new(features, 2, labels)?)
}

/// The data sets, and the loss of guessing: the entropy of the classes, or the variance of the numbers.
fn data_sets() -> Result<Vec<(&'static str, Dataset, f64)>> {
    let (features, labels) = data::table(include_bytes!("data/breast_cancer.csv.gz"))?;
    let cancer = Dataset::new(features, 30, labels.iter().map(|&label| label as u32).collect())?;
    let (features, targets) = data::table(include_bytes!("data/diabetes.csv.gz"))?;
    // Targets are standardised, so that the same rates suit all data sets.
    let mean = targets.iter().sum::<f32>() / targets.len() as f32;
    let variance = targets.iter().map(|t| (t - mean).powi(2)).sum::<f32>() / targets.len() as f32;
    let targets = targets.iter().map(|t| (t - mean) / variance.sqrt()).collect();
    let diabetes = Dataset::regression(features, 10, targets, 1)?;
    Ok(vec![("digits", digits(), 2.30), ("cancer", cancer, 0.66), ("diabetes", diabetes, 1.0), ("spirals", spirals()?, 0.69)])
}

pub fn trainer<E: Engine>(
    engine: &E,
    [train, test]: [&Dataset; 2],
    rule: &dyn AnyRule,
    seeds: &[u64],
) -> Result<Trainer<E::Program>> {
    let outputs = if train.is_regression() { 1 } else { train.classes };
    let model = Sequential::perceptron(train.width, &[32], outputs, Nonlinearity::Tanh);
    let trainer = Trainer::builder(&model, Recipe::new(rule.boxed())).train(train).validation(test);
    Ok(trainer.standardise().seeds(seeds).build(engine)?)
}

/// The loss of each seed on a quarter of the rows, after training on the others.
fn losses(data: &Dataset, rule: &dyn AnyRule) -> Result<Vec<f64>> {
    let (train, test) = data.split(0.25, 1)?;
    let mut trainer = trainer(&Cpu::<f32>::default(), [&train, &test], rule, &SEEDS)?;
    (0..EPOCHS).try_for_each(|_| trainer.whole_epoch().map(drop))?;
    Ok(trainer.evaluate()?.iter().map(|lane| lane.loss).collect())
}

/// The mean of lr/√(the rule's state of squares) over all weights of the first layer, by step.
fn effective_rates(rule: &dyn AnyRule, lr: f64, plane: &str) -> Result<Vec<f64>> {
    let digits = digits();
    let model = Sequential::perceptron(digits.width, &[32], digits.classes, Nonlinearity::Tanh);
    let trainer = Trainer::builder(&model, Recipe::new(rule.boxed())).train(&digits).standardise();
    let mut trainer = trainer.build(&Cpu::<f32>::default())?;
    let mut rates = Vec::new();
    for _ in 0..1_000 {
        trainer.advance(1)?;
        let squares = trainer.optimizer_mut().state("2.weight", plane)?;
        rates.push(squares.iter().map(|&v| lr / (f64::from(v).sqrt() + EPS)).sum::<f64>() / squares.len() as f64);
    }
    Ok(rates)
}

fn main() -> Result<()> {
    println!("{:>15} {:>18} {:>18} {:>18} {:>18}", "loss", "digits", "cancer", "diabetes", "spirals");
    let data = data_sets()?;
    for (name, rule) in rules() {
        let mut line = format!("{name:>15}");
        for (set, data, guess) in &data {
            let losses = losses(data, &*rule)?;
            let mean = losses.iter().sum::<f64>() / losses.len() as f64;
            let squares = losses.iter().map(|loss| (loss - mean).powi(2)).sum::<f64>();
            line += &format!(" {:>18}", format!("{mean:.3} ± {:.3}", (squares / (losses.len() - 1) as f64).sqrt()));
            ensure!(mean < *guess, "{name} on {set}: a loss of {mean}, and guessing has {guess}");
        }
        println!("{line}");
    }
    let adagrad = effective_rates(&Adagrad { lr: 0.05, ..Default::default() }, 0.05, "sum")?;
    let rmsprop = effective_rates(&RmsProp { lr: 2e-3, ..Default::default() }, 2e-3, "q")?;
    for (name, rates) in [("adagrad", &adagrad), ("rmsprop", &rmsprop)] {
        println!("{name}: mean effective rate {:.3} after 10 steps, {:.3} after {}", rates[9], rates[999], rates.len());
    }
    ensure!(adagrad[999] < 0.6 * adagrad[9] && rmsprop[999] > rmsprop[9], "one falls, the other follows the gradients");
    if let Some(path) = std::env::args().nth(1) {
        let lines = vec![Line::counted("AdaGrad", 0, adagrad), Line::counted("RMSprop", 4, rmsprop)];
        let values = "mean effective rate";
        let chart = Chart { title: "", steps: "step", values, x: Axis::Log, y: Axis::Log, key: true, lines };
        std::fs::write(path, picture((640, 400), |area| chart.draw(area))?)?;
    }
    Ok(())
}
