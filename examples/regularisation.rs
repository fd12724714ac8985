//! The effect of penalties. First a logistic regression on the breast-cancer data, as one population: lanes with an L1 penalty,
//! many of whose weights become 0, and lanes with a weight decay (L2), whose weights shrink but do not become 0. Then a
//! perceptron that learns 300 digits by heart, a quarter of them with wrong labels, with and without dropout, and its accuracy
//! on other digits.
//!
//! `cargo run --release --example regularisation -- [PICTURE.svg]`. Expected: the strongest L1 leaves at most 20 of 60 weights,
//! the strongest L2 all 60 at less than half of their length; the accuracy on other digits is higher with dropout, and the loss
//! there lower.
//!
//! On the GPU a step takes 14 dispatches with a penalty, and that of the perceptron takes 21 dispatches, however many lanes
//! there are.

mod data;

use anyhow::{Result, ensure};
use thalweg::cpu::Cpu;
use thalweg::data::{Dataset, digits};
use thalweg::nn::{Dropout, Linear, Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::schedule::Cosine;
use thalweg::{Adam, Recipe, Sgd, Trainer};
use thalweg_chart::{Axis, Chart, Line, beside, picture};

const PENALTIES: [f64; 6] = [0.0, 0.001, 0.003, 0.01, 0.03, 0.1];
/// Weights that are nearer to 0 than this count as 0. At the end the steps are smaller than this, since the rate falls.
const ZERO: f64 = 1e-3;
const EPOCHS: usize = 400;

pub fn cancer() -> Result<Dataset> {
    let (features, labels) = data::table(include_bytes!("data/breast_cancer.csv.gz"))?;
    Ok(Dataset::new(features, 30, labels.into_iter().map(|label| label as u32).collect())?)
}

/// A trainer of weights with penalties.
pub fn penalised<E: Engine>(engine: &E, data: &Dataset, recipe: Recipe, seeds: &[u64]) -> Result<Trainer<E::Program>> {
    let model = Linear::new(data.width, data.classes);
    let recipe = recipe.scale("lr", Cosine::new(1.0, EPOCHS as u64));
    Ok(Trainer::builder(&model, recipe).train(data).standardise().batch(data.rows()).seeds(seeds).build(engine)?)
}

/// The number of weights that are not 0, and the norm of all weights, by penalty.
fn weights(data: &Dataset, recipe: Recipe) -> Result<Vec<(usize, f64)>> {
    let mut trainer = penalised(&Cpu::<f32>::default(), data, recipe, &[0])?;
    (0..EPOCHS).try_for_each(|_| trainer.whole_epoch().map(drop))?;
    let of_lane = |lane| {
        let weights = trainer.optimizer_mut().lane(lane)?.params("weight")?;
        let weights: Vec<f64> = weights.into_iter().map(f64::from).collect();
        let left = weights.iter().filter(|w| w.abs() > ZERO).count();
        Ok((left, weights.iter().map(|w| w * w).sum::<f64>().sqrt()))
    };
    (0..PENALTIES.len()).map(of_lane).collect()
}

/// A trainer of a perceptron with or without dropout.
pub fn perceptron<E: Engine>(
    engine: &E,
    [learnt, others]: [&Dataset; 2],
    dropout: Option<f64>,
    seeds: &[u64],
) -> Result<Trainer<E::Program>> {
    let mut model = Sequential::new().then(Linear::new(learnt.width, 128)).then(Nonlinearity::Relu);
    if let Some(p) = dropout {
        model = model.then(Dropout { p });
    }
    let model = model.then(Linear::new(128, learnt.classes));
    let recipe = Recipe::new(Adam { lr: 3e-3, ..Default::default() });
    Ok(Trainer::builder(&model, recipe).train(learnt).validation(others).standardise().batch(30).seeds(seeds).build(engine)?)
}

/// The loss on the training rows and on other rows, by epoch; and the accuracy on the other rows at the end.
fn by_heart(dropout: Option<f64>) -> Result<([Vec<f64>; 2], f64)> {
    let digits = digits();
    let (others, mut learnt) = digits.split(300.0 / digits.rows() as f64, 2)?;
    let mut random = fastrand::Rng::with_seed(4);
    learnt.labels.iter_mut().filter(|_| random.u8(..4) == 0).for_each(|label| *label = (*label + 1) % 10);
    let mut trainer = perceptron(&Cpu::<f32>::default(), [&learnt, &others], dropout, &[3])?;
    let (mut losses, mut accuracy) = ([Vec::new(), Vec::new()], 0.0);
    for _ in 0..150 {
        losses[0].push(trainer.whole_epoch()?[0].loss);
        let met = trainer.evaluate()?[0];
        losses[1].push(met.loss);
        accuracy = met.accuracy.unwrap_or(0.0);
    }
    Ok((losses, accuracy))
}

fn main() -> Result<()> {
    let data = cancer()?;
    let sgd = || Sgd { lr: 0.5, ..Default::default() };
    let l1 = weights(&data, Recipe::population(PENALTIES.map(|_| sgd())).l1(PENALTIES))?;
    let l2 = weights(&data, Recipe::population(PENALTIES.map(|weight_decay| Sgd { weight_decay, ..sgd() })))?;
    for (penalty, (l1, l2)) in PENALTIES.iter().zip(l1.iter().zip(&l2)) {
        println!("penalty {penalty:>5}: L1 leaves {:>2} weights of length {:.2}, L2 {:>2} of {:.2}", l1.0, l1.1, l2.0, l2.1);
    }
    ensure!(l1[5].0 <= 20 && l2[5].0 == 60 && l2[5].1 < l2[0].1 / 2.0, "L1 makes zeros, L2 shrinks");

    let [plain, dropped] = [by_heart(None)?, by_heart(Some(0.5))?];
    for (name, (losses, accuracy)) in [("without dropout", &plain), ("with dropout", &dropped)] {
        let [learnt, others] = losses.each_ref().map(|losses| losses[losses.len() - 1]);
        println!(
            "{name:>15}: loss {learnt:.4} on what is learnt, {others:.4} on others, accuracy there {:.1} %",
            100.0 * accuracy
        );
    }
    ensure!(dropped.0[1][149] < plain.0[1][149] && dropped.1 > plain.1, "dropout helps");
    if let Some(path) = std::env::args().nth(1) {
        std::fs::write(path, draw(&l1, &l2, &plain.0, &dropped.0)?)?;
    }
    Ok(())
}

fn draw(l1: &[(usize, f64)], l2: &[(usize, f64)], plain: &[Vec<f64>; 2], dropped: &[Vec<f64>; 2]) -> Result<String> {
    let left = |name, color, of: &[(usize, f64)]| {
        let points = PENALTIES.iter().zip(of).skip(1).map(|(&penalty, of)| (penalty, of.0 as f64)).collect();
        Line { points, ..Line::counted(name, color, []) }
    };
    let lines = vec![left("L1", 0, l1), left("L2", 1, l2)];
    let zeros = Chart {
        title: "",
        steps: "penalty",
        values: "weights that are not 0",
        x: Axis::Log,
        y: Axis::Linear(0.0, 60.0),
        key: true,
        lines,
    };
    let curve = |name, color, losses: &[f64]| Line::counted(name, color, losses.iter().copied());
    let lines = vec![
        curve("learnt", 0, &plain[0]),
        curve("others", 4, &plain[1]),
        curve("learnt, dropout", 5, &dropped[0]),
        curve("others, dropout", 1, &dropped[1]),
    ];
    let curves = Chart { title: "", steps: "epoch", values: "loss", x: Axis::Count(1), y: Axis::Log, key: true, lines };
    picture((1200, 440), |area| {
        let [one, two] = beside(area);
        zeros.draw(&one)?;
        curves.draw(&two)
    })
}
