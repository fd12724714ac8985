//! The digits as the command line uses them, on which rules are tried.

use crate::Entry;
use thalweg::data::{Scaler, digits};
use thalweg::nn::{Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::{Batch, Metrics, Result, Trainer};

/// The seed of the split, the start values of weights and the order of rows.
const SEED: u64 = 1;

/// An epoch.
pub struct Epoch {
    /// Steps so far.
    pub steps: usize,
    /// Measured during the epoch.
    pub train: Metrics,
    /// Measured after the epoch.
    pub test: Metrics,
}

/// Trains the command line's default network with a rule, as `thalweg train` does.
pub fn train<E: Engine>(engine: &E, entry: &Entry) -> Result<Vec<Epoch>> {
    let (mut train, mut test) = digits().split(0.2, SEED)?;
    let scaler = Scaler::range(&train)?;
    scaler.apply(&mut train)?;
    scaler.apply(&mut test)?;
    let model = Sequential::perceptron(train.width, &[128, 64], train.classes, Nonlinearity::Relu);
    // All batches have one size, so that all steps cost the same.
    let (run, batch) = (&entry.digits, Batch { rows: entry.batch, drop_last: true });
    let recipe = run.recipe(entry.rule, run.length * batch.steps(train.rows()))?;
    let trainer = Trainer::builder(&model, recipe).train(&train).validation(&test).batch(batch).seed(SEED);
    let mut trainer = trainer.build(engine)?;
    let mut epoch = || {
        let train = trainer.whole_epoch()?[0];
        Ok(Epoch { steps: trainer.steps(), train, test: trainer.evaluate()?[0] })
    };
    (0..run.length).map(|_| epoch()).collect()
}
