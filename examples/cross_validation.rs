//! Stratified 5-fold cross-validation on the breast-cancer data: a logistic regression with five strengths of weight decay,
//! each on five folds with three seeds. The 75 trainings are lanes of two programs, one for each number of training rows, over
//! one copy of the data. Features are standardised on each fold's own training rows, so nothing is learned from the rows that a
//! lane is validated on.
//!
//! `cargo run --release --example cross_validation`. It prints mean and deviation of the accuracy for each decay. Expected: at
//! least 97 % for the best; and its folds have the same losses as lanes and alone, bit for bit.

mod data;

use anyhow::{Context, Result, ensure};
use thalweg::data::{Dataset, KFold};
use thalweg::nn::Linear;
use thalweg::sweep::{Goal, Grid, Job, SearchSpace, Strategy, Study, Sweep, Table, Train};
use thalweg::train::{Metric, Population, Setup};
use thalweg::{AdamW, AnyEngine, Recipe, Trainer};

const FOLDS: u64 = 5;
const EPOCHS: u64 = 30;

fn cancer() -> Result<Dataset> {
    let (features, labels) = data::table(include_bytes!("data/breast_cancer.csv.gz"))?;
    Ok(Dataset::new(features, 30, labels.into_iter().map(|label| label as u32).collect())?)
}

/// How a job of the sweep is trained.
fn setup(data: &Dataset, job: &Job) -> thalweg::Result<Setup> {
    let weight_decay = job.point.get("weight_decay").and_then(|value| value.as_f64()).unwrap_or(0.0);
    let recipe = Recipe::new(AdamW { lr: 0.02, weight_decay, ..Default::default() });
    Ok(Setup { seed: job.seed.unwrap_or(0), ..Setup::new(Linear::new(data.width, data.classes), recipe) })
}

fn main() -> Result<()> {
    let (data, engine) = (cancer()?, AnyEngine::auto());
    let folds = KFold { folds: FOLDS as usize, shuffle: Some(0), ..Default::default() }.stratified(&data.labels)?;
    let of_job = |job: &Job| setup(&data, job);
    let mut population = Population::new(&engine, &data, of_job).folds(folds.clone()).standardise();
    population = population.metric(Metric::Accuracy).in_epochs();

    let space: SearchSpace = "weight_decay=choice:0.0,0.01,0.1,1.0,10.0".parse()?;
    let grid = Grid::new(&space, 1)?;
    let trials = grid.points().len();
    let mut study = Study::new(space.clone(), Goal::Maximize, grid);
    let mut table = Table::new(space, Goal::Maximize);
    let sweep = Sweep { trials, folds: FOLDS, seeds: vec![1, 2, 3], ..Sweep::new(Strategy::Plain { steps: EPOCHS }) };
    sweep.run(&mut study, &mut table, &mut population, |_| Ok(()))?;
    for trial in table.summaries() {
        println!(
            "{}: {:.2} ± {:.2} % on {} folds and seeds",
            trial.point,
            100.0 * trial.mean,
            100.0 * trial.deviation,
            trial.runs
        );
    }
    let best = table.best().context("a trial that did not fail")?;
    println!("best: {}", best.point);
    ensure!(best.mean >= 0.97, "{}", best.mean);

    // The best decay once more: all folds as lanes, and each alone.
    let job = |fold: u64| Job { trial: best.trial, fold: Some(fold), seed: Some(1), point: best.point.clone() };
    let jobs: Vec<Job> = (0..FOLDS).map(job).collect();
    population.train(&jobs, EPOCHS)?;
    for (job, fold) in jobs.iter().zip(&folds) {
        let Setup { model, recipe, batch, seed, .. } = setup(&data, job)?;
        let alone = Trainer::builder(&*model, recipe).train(&data).fold(0, fold).standardise().batch(batch).seed(seed);
        let mut alone = alone.build(&engine)?;
        alone.advance(EPOCHS as usize * alone.steps_per_epoch())?;
        let (alone, lane) = (alone.evaluate()?[0], population.metrics(job).context("the metrics of the job")?);
        ensure!(alone == lane, "{alone:?} and {lane:?}");
    }
    println!("its {FOLDS} folds: as lanes they have the losses that each has alone, bit for bit");
    Ok(())
}
