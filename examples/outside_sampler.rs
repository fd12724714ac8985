//! A sampler of somebody else: the crate `optimizer` says which settings to try, by its tree-structured Parzen estimator, and
//! is told what they came to. Thalweg trains sixteen of its trials at a time as lanes of one program. Any sampler that can be
//! asked for several points before it knows their results is used like that.
//!
//! `cargo run --release --example outside_sampler`. It prints each batch of trials. Expected: the best trial has at least 96 %
//! on the validation rows, and the last half of the trials is better in the mean than the first batch, which is drawn at
//! random.
//!
//! On the GPU a step takes 20 dispatches, however many trials there are at a time.

use anyhow::{Context, Result, ensure};
use optimizer::parameter::{FloatParam, Parameter};
use optimizer::sampler::TpeSampler;
use optimizer::{Direction, Study};
use thalweg::data::{Dataset, digits};
use thalweg::nn::{Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::{AnyEngine, Recipe, Sgd, Trainer};

const BATCHES: usize = 6;
const AT_A_TIME: usize = 16;
const EPOCHS: usize = 6;

/// A lane for each rule.
pub fn trainer<E: Engine>(engine: &E, [train, validation]: [&Dataset; 2], rules: Vec<Sgd>) -> Result<Trainer<E::Program>> {
    let model = Sequential::perceptron(train.width, &[32], train.classes, Nonlinearity::Relu);
    let trainer = Trainer::builder(&model, Recipe::population(rules)).train(train).validation(validation);
    Ok(trainer.standardise().batch(64).seed(1).build(engine)?)
}

fn main() -> Result<()> {
    let (train, validation) = digits().split(0.3, 1)?;
    let engine = AnyEngine::auto();
    let sampler = TpeSampler::builder().n_startup_trials(AT_A_TIME).seed(1).build()?;
    // Errors are told, not accuracies: its estimator takes small values for good ones whatever the direction.
    let study: Study<f64> = Study::with_sampler(Direction::Minimize, sampler);
    let lr = FloatParam::new(1e-5, 10.0).log_scale().name("lr");
    // Without momentum a rule has another kernel, so lanes have at least a little.
    let momentum = FloatParam::new(0.01, 0.99).name("momentum");

    let mut means = Vec::new();
    for batch in 0..BATCHES {
        let mut trials: Vec<_> = (0..AT_A_TIME).map(|_| study.ask()).collect();
        let mut rules = Vec::new();
        for trial in &mut trials {
            rules.push(Sgd { lr: lr.suggest(trial)?, momentum: momentum.suggest(trial)?, ..Default::default() });
        }
        let mut trainer = trainer(&engine, [&train, &validation], rules)?;
        trainer.advance(EPOCHS * trainer.steps_per_epoch())?;
        let mut accuracies = Vec::new();
        for (trial, metrics) in trials.into_iter().zip(trainer.evaluate()?) {
            let accuracy = metrics.accuracy.context("an accuracy")?;
            study.tell(trial, if metrics.loss.is_finite() { Ok(1.0 - accuracy) } else { Err("the loss is not finite") });
            accuracies.push(accuracy);
        }
        let mean = accuracies.iter().sum::<f64>() / AT_A_TIME as f64;
        println!("trials {} to {}: mean {:.2} %", batch * AT_A_TIME, (batch + 1) * AT_A_TIME - 1, 100.0 * mean);
        means.push(mean);
    }
    let best = study.best_trial()?;
    let (rate, m) = (best.get(&lr).context("a rate")?, best.get(&momentum).context("a momentum")?);
    println!("best: {:.2} % with lr = {rate:.3e}, momentum = {m:.3}", 100.0 * (1.0 - best.value));
    let last = means[BATCHES / 2..].iter().sum::<f64>() / (BATCHES - BATCHES / 2) as f64;
    ensure!(best.value <= 0.04, "{}", best.value);
    ensure!(last > means[0], "{means:?}: nothing is learned from results");
    Ok(())
}
