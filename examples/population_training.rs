//! Population-based training: sixteen perceptrons learn the digits side by side, from learning rates that are spread over six
//! decades. After every two epochs the best quarter takes the places of the worst, copied on the device with weights and
//! moments, and goes on there with changed rates and weight decays. So settings are searched while training, in the time of
//! one.
//!
//! `cargo run --release --example population_training`. It prints each round, and the rates that led to the best member.
//! Expected: the mean accuracy of the members on the test rows is at least 95 %, and higher than that of the same members
//! without exchange.
//!
//! On the GPU a step takes 20 dispatches, however many members there are; an exchange is one dispatch per buffer.

use anyhow::{Context, Result, ensure};
use thalweg::data::{Dataset, digits};
use thalweg::nn::{Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::sweep::{Goal, Point, PopulationBased, SearchSpace};
use thalweg::{AdamW, AnyEngine, Recipe, Trainer};

const MEMBERS: usize = 16;
const ROUNDS: u64 = 8;
/// Epochs between two exchanges.
const EVERY: usize = 2;

fn space() -> Result<SearchSpace> {
    Ok("lr=log:1e-6:1; weight_decay=log:1e-4:1".parse()?)
}

/// Points along the diagonal of the space, from the smallest values to the largest.
pub fn points(members: usize) -> Result<Vec<Point>> {
    let (space, last) = (space()?, (members.max(2) - 1) as f64);
    let at = |member: usize| space.complete(&Point::new(), |parameter| Ok(parameter.domain.at(member as f64 / last)));
    Ok((0..members).map(at).collect::<thalweg::Result<_>>()?)
}

fn number(point: &Point, name: &str) -> Result<f64> {
    point.get(name).and_then(|value| value.as_f64()).with_context(|| format!("{name} of {point}"))
}

/// A lane for each point, each with a start and an order of rows of its own.
pub fn trainer<E: Engine>(engine: &E, [train, test]: [&Dataset; 2], points: &[Point]) -> Result<Trainer<E::Program>> {
    let rule = |point: &Point| {
        let (lr, weight_decay) = (number(point, "lr")?, number(point, "weight_decay")?);
        Ok(AdamW { lr, weight_decay, ..Default::default() })
    };
    let rules = points.iter().map(rule).collect::<Result<Vec<_>>>()?;
    let seeds: Vec<u64> = (0..points.len() as u64).collect();
    let model = Sequential::perceptron(train.width, &[32], train.classes, Nonlinearity::Relu);
    let trainer = Trainer::builder(&model, Recipe::population(rules)).train(train).validation(test);
    Ok(trainer.standardise().batch(64).seeds(&seeds).copies().build(engine)?)
}

/// Trains all members; with `exchange` the best take the places of the worst. Returns their accuracies, and the rates that each
/// has had.
fn train(engine: &AnyEngine, data: [&Dataset; 2], exchange: bool) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let (space, rule) = (space()?, PopulationBased { seed: 1, ..PopulationBased::exploring(["lr", "weight_decay"]) });
    let mut points = points(MEMBERS)?;
    let mut rates = points.iter().map(|point| Ok(vec![number(point, "lr")?])).collect::<Result<Vec<_>>>()?;
    let mut trainer = trainer(engine, data, &points)?;
    let mut accuracies = Vec::new();
    for round in 0..ROUNDS {
        trainer.advance(EVERY * trainer.steps_per_epoch())?;
        accuracies = trainer.evaluate()?.into_iter().map(|lane| lane.accuracy.unwrap_or(f64::NAN)).collect();
        if !exchange || round == ROUNDS - 1 {
            continue;
        }
        let exploits = rule.exploits(&space, Goal::Maximize, round, &points, &accuracies)?;
        let pairs: Vec<(usize, usize)> = exploits.iter().map(|exploit| (exploit.from, exploit.to)).collect();
        trainer.copy_lanes(&pairs)?;
        println!("round {round}: mean {:.2} %; over others: {pairs:?}", 100.0 * mean(&accuracies));
        for exploit in exploits {
            for name in ["lr", "weight_decay"] {
                trainer.set(exploit.to, "default", name, number(&exploit.point, name)?)?;
            }
            rates[exploit.to] = rates[exploit.from].clone();
            rates[exploit.to].push(number(&exploit.point, "lr")?);
            points[exploit.to] = exploit.point;
        }
    }
    Ok((accuracies, rates))
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

fn main() -> Result<()> {
    let (train_rows, test) = digits().split(0.3, 1)?;
    let (engine, data) = (AnyEngine::auto(), [&train_rows, &test]);
    let (alone, _) = train(&engine, data, false)?;
    let (together, rates) = train(&engine, data, true)?;
    let best = (0..MEMBERS).max_by(|&a, &b| together[a].total_cmp(&together[b])).context("members")?;
    let path: Vec<String> = rates[best].iter().map(|rate| format!("{rate:.1e}")).collect();
    println!("without exchange: mean {:.2} %", 100.0 * mean(&alone));
    println!(
        "with: mean {:.2} %, best {:.2} %, by the rates {}",
        100.0 * mean(&together),
        100.0 * together[best],
        path.join(" → ")
    );
    ensure!(mean(&together) >= 0.95 && mean(&together) > mean(&alone), "{together:?} and {alone:?}");
    Ok(())
}
