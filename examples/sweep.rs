//! A search for the settings of SGD by Hyperband, cross-validated: the jobs of each call are lanes of one population.
//!
//! `cargo run --example sweep -- [cpu|gpu]`. The table of all trials goes to standard output as CSV, the result to standard
//! error. Expected: a best mean cross-entropy below 0.3.

use anyhow::Result;
use thalweg::data::{Fold, KFold};
use thalweg::sweep::{Goal, Halving, Hyperband, Job, Random, SearchSpace, Strategy, Study, Sweep, Table, importance};
use thalweg::{AnyEngine, Optimizer, Recipe, Sgd};

const FEATURES: usize = 4;
const ROWS: usize = 120;

/// A row: a 1 and then the features; and its class, which says on which side of a plane the row lies, with some noise.
type Row = ([f32; FEATURES + 1], f32);

fn rows() -> Vec<Row> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut row = || {
        let mut x = [1.0; FEATURES + 1];
        x[1..].fill_with(|| random.f32() * 2.0 - 1.0);
        let side = 0.3 + 2.0 * x[1] - x[2] + 0.5 * x[3] + 0.4 * (random.f32() - 0.5);
        (x, if side > 0.0 { 1.0 } else { 0.0 })
    };
    (0..ROWS).map(|_| row()).collect()
}

fn probability(weights: &[f32], x: &[f32]) -> f32 {
    1.0 / (1.0 + (-weights.iter().zip(x).map(|(w, x)| w * x).sum::<f32>()).exp())
}

/// The gradient of the mean cross-entropy over some rows.
fn gradient(weights: &[f32], rows: &[Row], which: &[usize]) -> Vec<f32> {
    let mut sum = vec![0.0; weights.len()];
    for (x, class) in which.iter().map(|&i| &rows[i]) {
        let error = (probability(weights, x) - class) / which.len() as f32;
        sum.iter_mut().zip(x).for_each(|(sum, x)| *sum += error * x);
    }
    sum
}

/// Trains logistic regressions with the settings of the jobs, each as a lane, from the beginning; returns the cross-entropies
/// on the validation rows.
fn train(engine: &AnyEngine, rows: &[Row], folds: &[Fold], jobs: &[Job], steps: u64) -> thalweg::Result<Vec<f64>> {
    let number = |job: &Job, name: &str| job.point.get(name).and_then(|value| value.as_f64()).unwrap_or(0.0);
    let rule = |job: &Job| Sgd { lr: number(job, "lr"), momentum: number(job, "momentum"), ..Default::default() };
    let recipe = Recipe::population(jobs.iter().map(rule));
    let mut optimizer = Optimizer::new(engine, recipe, &[("weights", &[FEATURES + 1])])?;
    let fold = |job: &Job| &folds[job.fold.unwrap_or(0) as usize];
    for _ in 0..steps {
        for (lane, job) in jobs.iter().enumerate() {
            let weights = optimizer.lane(lane)?.params("weights")?;
            optimizer.lane(lane)?.set_grads("weights", &gradient(&weights, rows, &fold(job).train))?;
        }
        optimizer.step()?;
    }
    let mut losses = Vec::new();
    for (lane, job) in jobs.iter().enumerate() {
        let (weights, left_out) = (optimizer.lane(lane)?.params("weights")?, &fold(job).validation);
        let loss = |&i: &usize| {
            let (x, class) = rows[i];
            f64::from((1.0 - class - probability(&weights, &x)).abs()).max(1e-12).ln()
        };
        losses.push(-left_out.iter().map(loss).sum::<f64>() / left_out.len() as f64);
    }
    Ok(losses)
}

fn main() -> Result<()> {
    let engine = AnyEngine::by_name(&std::env::args().nth(1).unwrap_or("cpu".into()))?;
    let rows = rows();
    let classes: Vec<bool> = rows.iter().map(|(_, class)| *class > 0.5).collect();
    let folds = KFold { folds: 4, shuffle: Some(0), ..Default::default() }.stratified(&classes)?;

    let space: SearchSpace = "lr=log:1e-3:30; momentum=uniform:0:0.95".parse()?;
    let mut study = Study::new(space.clone(), Goal::Minimize, Random { seed: 1 });
    let mut table = Table::new(space, Goal::Minimize);
    let hyperband = Hyperband(Halving { min_steps: 5, max_steps: 45, eta: 3 });
    let sweep = Sweep { trials: 18, folds: 4, ..Sweep::new(Strategy::Hyperband(hyperband)) };
    let mut trainer = |jobs: &[Job], steps: u64| train(&engine, &rows, &folds, jobs, steps);
    sweep.run(&mut study, &mut table, &mut trainer, |_| Ok(()))?;

    print!("{}", table.csv());
    let best = table.best().ok_or_else(|| anyhow::anyhow!("no trial came to its end"))?;
    eprintln!(
        "best of {} trials: {}: {:.3} ± {:.3} on {} folds",
        study.trials().len(),
        best.point,
        best.mean,
        best.deviation,
        best.runs
    );
    for (parameter, share) in study.space().parameters().iter().zip(importance(study.space(), study.goal(), study.trials(), 0)?)
    {
        eprintln!("{}: {:.0} % of the variance among trials that were trained to the end", parameter.name, 100.0 * share);
    }
    anyhow::ensure!(best.mean < 0.3, "a loss of {}", best.mean);
    Ok(())
}
