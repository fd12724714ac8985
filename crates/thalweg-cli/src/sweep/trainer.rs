//! Trains the jobs of a sweep, one after the other.

use super::args::Metric;
use super::cut::Cut;
use super::progress::Progress;
use super::space::{Base, Settings};
use crate::recipe::DEFAULT;
use crate::stop;
use anyhow::Result;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use thalweg::data::Dataset;
use thalweg::nn::{Dropout, Linear, Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::sweep::{Job, Point, Train};
use thalweg::{Batch, Error, Metrics, Trainer};

/// Trial, fold and seed.
type Key = (u64, Option<u64>, Option<u64>);

/// Trains one job after the other; a job that may go on keeps its trainer.
pub struct OneByOne<'a, E: Engine> {
    engine: &'a E,
    base: &'a Base,
    cut: &'a Cut,
    metric: Metric,
    seed: u64,
    /// Epochs of a whole training, on which schedules go.
    epochs: u64,
    progress: &'a RefCell<Progress>,
    running: HashMap<Key, Running<E>>,
}

/// A trainer, the point that it was set to, and the epochs that it has made.
struct Running<E: Engine> {
    trainer: Trainer<E::Program>,
    point: Point,
    epochs: u64,
}

impl<E: Engine> Running<E> {
    /// Sets the numbers of the rule that a population has changed.
    fn set(&mut self, point: &Point) -> thalweg::Result<()> {
        for (name, value) in point.iter().filter(|(name, value)| self.point.get(name) != Some(*value)) {
            let number =
                value.as_f64().ok_or_else(|| Error::setting(name, value, "a number, as it is changed while training"))?;
            self.trainer.set(0, DEFAULT, name, number)?;
        }
        self.point = point.clone();
        Ok(())
    }
}

impl<'a, E: Engine> OneByOne<'a, E> {
    pub fn new(
        engine: &'a E,
        base: &'a Base,
        cut: &'a Cut,
        metric: Metric,
        seed: u64,
        epochs: u64,
        progress: &'a RefCell<Progress>,
    ) -> Self {
        Self { engine, base, cut, metric, seed, epochs, progress, running: HashMap::new() }
    }

    fn start(&self, point: &Point, (train, validation): &(Dataset, Dataset), seed: u64) -> Result<Running<E>> {
        let settings = self.base.settings(point)?;
        let batch = Batch { rows: settings.batch.min(train.rows()), drop_last: self.base.drop_last };
        let recipe = settings.recipe(self.epochs.saturating_mul(batch.steps(train.rows()) as u64))?;
        let model = model(&settings, train.width, train.classes);
        let trainer = Trainer::builder(&model, recipe).train(train).validation(validation).batch(batch).seed(seed);
        Ok(Running { trainer: trainer.build(self.engine)?, point: point.clone(), epochs: 0 })
    }

    /// Trains on until so many epochs are made; the metrics on the validation rows.
    fn go(&self, running: &mut Running<E>, key: Option<Key>, epochs: u64) -> thalweg::Result<Metrics> {
        let mut last = None;
        while running.epochs < epochs {
            let before = running.trainer.steps();
            let watch = |_| if stop::asked().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let loss = running.trainer.epoch_by(32, watch)?[0].loss;
            if stop::asked().is_some() {
                return Err(interrupted());
            }
            running.epochs += 1;
            let steps = (running.trainer.steps() - before) as u64;
            self.progress.borrow_mut().epoch(key, running.epochs, loss, steps);
            if !loss.is_finite() {
                last = Some(Metrics { loss, ..Metrics::default() });
                break;
            }
        }
        last.map_or_else(|| running.trainer.evaluate().map(|metrics| metrics[0]), Ok)
    }

    fn job(&mut self, job: &Job, epochs: u64) -> thalweg::Result<f64> {
        let key = (job.trial, job.fold, job.seed);
        let mut running = match self.running.remove(&key) {
            Some(running) => running,
            None => {
                let made = self.start(&job.point, self.cut.of(job.fold), job.seed.unwrap_or(self.seed));
                made.map_err(|error| of_library(error, &job.point))?
            }
        };
        running.set(&job.point)?;
        let metrics = self.go(&mut running, Some(key), epochs)?;
        self.running.insert(key, running);
        Ok(self.metric.of(metrics))
    }

    /// Trains settings on all training rows for so many epochs; the metrics on the test rows. None if a signal ends it.
    pub fn refit(&mut self, point: &Point, epochs: u64) -> Result<Option<Metrics>> {
        let mut running = self.start(point, &self.cut.whole, self.seed)?;
        match self.go(&mut running, None, epochs) {
            Err(_) if stop::asked().is_some() => Ok(None),
            metrics => Ok(Some(metrics?)),
        }
    }
}

impl<E: Engine> Train for OneByOne<'_, E> {
    fn train(&mut self, jobs: &[Job], epochs: u64) -> thalweg::Result<Vec<f64>> {
        jobs.iter().map(|job| self.job(job, epochs)).collect()
    }

    /// One at a time, so that its row is written when it is done.
    fn capacity(&self) -> usize {
        1
    }

    fn copy(&mut self, from: u64, to: u64) -> thalweg::Result<()> {
        let keys: Vec<Key> = self.running.keys().filter(|(trial, ..)| *trial == to).copied().collect();
        for key in keys {
            let Some(winner) = self.running.get_mut(&(from, key.1, key.2)) else { continue };
            let (state, point) = (winner.trainer.optimizer_mut().state_dict()?, winner.point.clone());
            if let Some(loser) = self.running.get_mut(&key) {
                loser.trainer.optimizer_mut().load_state_dict(&state)?;
                loser.point = point;
            }
        }
        Ok(())
    }

    fn forget(&mut self, trials: &[u64]) {
        self.running.retain(|(trial, ..), _| !trials.contains(trial));
    }
}

/// Linear layers with an activation, and where asked dropout, between each two.
fn model(settings: &Settings, inputs: usize, outputs: usize) -> Sequential {
    let function = match settings.activation {
        crate::model::Nonlinearity::Relu => Nonlinearity::Relu,
        crate::model::Nonlinearity::Gelu => Nonlinearity::Gelu,
        crate::model::Nonlinearity::Tanh => Nonlinearity::Tanh,
    };
    let (mut model, mut width) = (Sequential::new(), inputs);
    for &next in &settings.hidden {
        model = model.then(Linear::new(width, next)).then(function);
        if settings.dropout > 0.0 {
            model = model.then(Dropout { p: settings.dropout });
        }
        width = next;
    }
    model.then(Linear::new(width, outputs))
}

/// What ends a sweep after a signal; who asked for it is told elsewhere.
fn interrupted() -> Error {
    Error::Order { call: "training".into(), rule: "a signal asked for an end".into() }
}

fn of_library(error: anyhow::Error, point: &Point) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::setting("the point", point, &format!("one that can be trained: {error:#}")),
    }
}
