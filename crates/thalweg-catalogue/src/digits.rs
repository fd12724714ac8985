//! The digits as the command line has them, for rules to be tried on.

use crate::Entry;
use thalweg::data::{Scaler, digits};
use thalweg::nn::{Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::{Batch, Metrics, Result, Trainer};

/// Decides the split, the first weights and the order of rows.
const SEED: u64 = 1;

/// An epoch.
pub struct Epoch {
    /// Steps so far.
    pub steps: usize,
    /// As met during the epoch.
    pub train: Metrics,
    /// After the epoch.
    pub test: Metrics,
}

/// Trains the command line's default network with a rule, as `thalweg train` does.
pub fn train<E: Engine>(engine: &E, entry: &Entry) -> Result<Vec<Epoch>> {
    let (mut train, mut test) = digits().split(0.2, SEED)?;
    let scaler = Scaler::range(&train)?;
    scaler.apply(&mut train)?;
    scaler.apply(&mut test)?;
    let model = Sequential::perceptron(train.width, &[128, 64], train.classes, Nonlinearity::Relu);
    // All batches are of one size, so that steps cost the same.
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
