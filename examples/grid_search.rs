//! A grid search: every combination of six learning rates and four weight decays trains a perceptron on the handwritten digits.
//! All 24 are lanes of one program, with the same start and the same batches, so that nothing but the settings differs.
//!
//! `cargo run --release --example grid_search`. It prints the accuracies on the validation rows as a table. Expected: the best
//! combination has at least 96 % there, and its rate is neither the lowest nor the highest of the grid.
//!
//! On the GPU a step takes 20 dispatches, however many combinations there are.

use anyhow::{Context, Result, ensure};
use thalweg::data::{Dataset, digits};
use thalweg::nn::{Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::sweep::{Goal, Grid, Point, SearchSpace, Study};
use thalweg::{AdamW, AnyEngine, Recipe, Trainer};

const RATES: usize = 6;
const EPOCHS: usize = 12;

pub fn space() -> Result<SearchSpace> {
    Ok("lr=log:1e-4:10; weight_decay=choice:0.0,0.01,0.1,1.0".parse()?)
}

fn number(point: &Point, name: &str) -> Result<f64> {
    point.get(name).and_then(|value| value.as_f64()).with_context(|| format!("{name} of {point}"))
}

/// A lane for each point.
pub fn trainer<E: Engine>(engine: &E, [train, validation]: [&Dataset; 2], points: &[Point]) -> Result<Trainer<E::Program>> {
    let rule = |point: &Point| {
        let (lr, weight_decay) = (number(point, "lr")?, number(point, "weight_decay")?);
        Ok(AdamW { lr, weight_decay, ..Default::default() })
    };
    let rules = points.iter().map(rule).collect::<Result<Vec<_>>>()?;
    let model = Sequential::perceptron(train.width, &[32], train.classes, Nonlinearity::Relu);
    let trainer = Trainer::builder(&model, Recipe::population(rules)).train(train).validation(validation);
    Ok(trainer.standardise().batch(64).seed(1).build(engine)?)
}

fn main() -> Result<()> {
    let (train, validation) = digits().split(0.3, 1)?;
    let space = space()?;
    let grid = Grid::new(&space, RATES)?;
    let points = grid.points().len();
    let mut study = Study::new(space, Goal::Maximize, grid);
    let trials = study.ask(points)?;
    let points: Vec<Point> = trials.iter().map(|trial| trial.point.clone()).collect();
    let mut trainer = trainer(&AnyEngine::auto(), [&train, &validation], &points)?;
    trainer.advance(EPOCHS * trainer.steps_per_epoch())?;
    let accuracies: Vec<f64> = trainer.evaluate()?.into_iter().map(|lane| lane.accuracy.unwrap_or(f64::NAN)).collect();
    trials.iter().zip(&accuracies).try_for_each(|(trial, accuracy)| study.tell(trial.id, *accuracy))?;

    // The first parameter of the space varies slowest.
    let decays = points.len() / RATES;
    for (points, accuracies) in points.chunks(decays).zip(accuracies.chunks(decays)) {
        print!("lr {:<8.1e}", number(&points[0], "lr")?);
        for (point, accuracy) in points.iter().zip(accuracies) {
            print!("  decay {:<4}: {:5.2} %", number(point, "weight_decay")?, 100.0 * accuracy);
        }
        println!();
    }
    let best = study.best().context("no combination stays finite")?;
    let (rate, accuracy) = (number(&best.point, "lr")?, accuracies[best.id as usize]);
    println!("best of {}: {}, {:.2} % of {} rows", points.len(), best.point, 100.0 * accuracy, validation.rows());
    ensure!(accuracy >= 0.96, "{accuracy}");
    ensure!(rate > 1.1e-4 && rate < 9.0, "the best rate is at an end of the grid: {rate}");
    Ok(())
}
