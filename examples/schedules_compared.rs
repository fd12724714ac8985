//! Six schedules of the learning rate for linear regression on the diabetes data, as one population: lanes are schedules times
//! seeds, each lane with its own weights and its own order of rows. A step takes 16 rows, whose gradient is not exactly that of
//! all rows: with a constant rate the weights keep moving around the minimum, with a falling rate they come to rest.
//!
//! `cargo run --release --example schedules_compared -- [PICTURE.svg]`. Expected: the constant rate ends more than 0.3 % above
//! the error of least squares, and each falling rate less than a third as far above it.
//!
//! On the GPU a step takes 15 dispatches, however many lanes there are.

mod data;

use anyhow::{Result, ensure};
use thalweg::cpu::Cpu;
use thalweg::data::Dataset;
use thalweg::nn;
use thalweg::plan::Engine;
use thalweg::schedule::{Constant, Cosine, Exponential, LinearRamp, MultiStep, OneCycle, Schedule};
use thalweg::{Recipe, Sgd, Trainer};
use thalweg_chart::{Axis, Chart, Line, beside, picture};

const RATE: f64 = 0.05;
const EPOCHS: usize = 200;
const BATCH: usize = 16;
/// The mean squared error of least squares.
const LEAST: f64 = 2859.6963475867506;
const SEEDS: [u64; 5] = [1, 2, 3, 4, 5];

/// The schedules, as factors on the rate over `steps` steps.
pub fn schedules(steps: u64) -> Vec<(&'static str, Schedule)> {
    let gamma = 0.01f64.powf(1.0 / steps as f64);
    vec![
        ("constant", Constant::new(1.0).into()),
        ("linear", LinearRamp { start_factor: 1.0, end_factor: 0.0, ..LinearRamp::new(1.0, steps) }.into()),
        ("exponential", Exponential::new(1.0, gamma).into()),
        ("steps", MultiStep::new(1.0, vec![steps / 2, 3 * steps / 4]).into()),
        ("cosine", Cosine::new(1.0, steps).into()),
        ("one cycle", OneCycle::new(1.0, steps).into()),
    ]
}

pub fn trainer<E: Engine>(engine: &E, data: &Dataset, lanes: Vec<Schedule>, seeds: &[u64]) -> Result<Trainer<E::Program>> {
    let rule = Sgd { lr: RATE, ..Default::default() };
    let recipe = Recipe::population(lanes.iter().map(|_| rule.clone())).scale("lr", lanes);
    let model = nn::Linear::new(data.width, 1);
    let trainer = Trainer::builder(&model, recipe).train(data).validation(data).standardise().batch(BATCH).seeds(seeds);
    Ok(trainer.build(engine)?)
}

fn main() -> Result<()> {
    let (features, targets) = data::table(include_bytes!("data/diabetes.csv.gz"))?;
    let data = Dataset::regression(features, 10, targets, 1)?;
    let steps = (EPOCHS * data.rows().div_ceil(BATCH)) as u64;
    let named = schedules(steps);
    let lanes = named.iter().flat_map(|(_, schedule)| SEEDS.map(|_| schedule.clone())).collect::<Vec<_>>();
    let seeds = named.iter().flat_map(|_| SEEDS).collect::<Vec<_>>();
    let mut trainer = trainer(&Cpu::<f32>::default(), &data, lanes, &seeds)?;
    // For each schedule, the mean over the seeds after each epoch.
    let mut above = vec![Vec::new(); named.len()];
    for _ in 0..EPOCHS {
        trainer.whole_epoch()?;
        for (above, met) in above.iter_mut().zip(trainer.evaluate()?.chunks_exact(SEEDS.len())) {
            let mean = met.iter().map(|lane| lane.loss).sum::<f64>() / SEEDS.len() as f64;
            above.push(100.0 * (mean / LEAST - 1.0));
        }
    }
    let ends: Vec<f64> = above.iter().map(|above| above[EPOCHS - 1]).collect();
    named.iter().zip(&ends).for_each(|((name, _), end)| println!("{name:>11}: {end:.3} % above least squares"));
    ensure!(ends[0] > 0.3 && ends[1..].iter().all(|end| *end < ends[0] / 3.0), "a rate that falls ends lower");
    if let Some(path) = std::env::args().nth(1) {
        std::fs::write(path, draw(&named, &above)?)?;
    }
    Ok(())
}

fn draw(named: &[(&str, Schedule)], above: &[Vec<f64>]) -> Result<String> {
    let steps = 1_000;
    let factor = |(i, (name, schedule)): (usize, &(&str, Schedule))| {
        let points =
            (0..steps).step_by(5).map(|t| (t as f64 / steps as f64 * EPOCHS as f64, RATE * schedule.value(t))).collect();
        Line { points, ..Line::counted(name, i, []) }
    };
    let factors = schedules(steps);
    let chart = |values, x, y, lines| Chart { title: "", steps: "epoch", values, x, y, key: true, lines };
    let rates = chart(
        "learning rate",
        Axis::Linear(0.0, EPOCHS as f64),
        Axis::Linear(0.0, RATE),
        factors.iter().enumerate().map(factor).collect(),
    );
    let curves =
        above.iter().zip(named).enumerate().map(|(i, (above, (name, _)))| Line::counted(name, i, above.iter().copied()));
    let curves = chart("% above least squares", Axis::Count(1), Axis::Log, curves.collect());
    picture((1300, 440), |area| {
        let [left, right] = beside(area);
        rates.draw(&left)?;
        curves.draw(&right)
    })
}
