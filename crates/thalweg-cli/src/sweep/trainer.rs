//! Trains the jobs of a sweep, one after the other.

use super::args::{Args, Metric};
use super::cut::Cut;
use super::progress::Progress;
use super::space::{Base, Settings};
use crate::recipe::DEFAULT;
use crate::report::note;
use crate::stop;
use anyhow::Result;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::ControlFlow;
use thalweg::data::Dataset;
use thalweg::nn::{Dropout, Linear, Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::sweep::{Job, Point, Train};
use thalweg::train::Probabilities;
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
    /// The length of a whole training, on which schedules go.
    budget: u64,
    /// Whether lengths are steps; else epochs.
    by_steps: bool,
    progress: &'a RefCell<Progress>,
    running: HashMap<Key, Running<E>>,
}

/// A trainer, the point that it was set to, and the epochs or steps that it has made.
struct Running<E: Engine> {
    trainer: Trainer<E::Program>,
    point: Point,
    made: u64,
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
    pub fn new(engine: &'a E, base: &'a Base, cut: &'a Cut, args: &Args, progress: &'a RefCell<Progress>) -> Self {
        let (metric, seed, budget, by_steps) = (args.metric, args.seed, args.budget(), args.steps.is_some());
        Self { engine, base, cut, metric, seed, budget, by_steps, progress, running: HashMap::new() }
    }

    fn start(&self, point: &Point, (train, validation): &(Dataset, Dataset), seed: u64) -> Result<Running<E>> {
        let settings = self.base.settings(point)?;
        let batch = Batch { rows: settings.batch.min(train.rows()), drop_last: self.base.drop_last };
        let steps = if self.by_steps { 1 } else { batch.steps(train.rows()) as u64 };
        let recipe = settings.recipe(self.budget.saturating_mul(steps))?;
        let model = model(&settings, train.width, train.classes);
        let trainer = Trainer::builder(&model, recipe).train(train).validation(validation).batch(batch).seed(seed);
        Ok(Running { trainer: trainer.build(self.engine)?, point: point.clone(), made: 0 })
    }

    /// Trains on until so many epochs or steps are made; the metrics on the validation rows.
    fn go(&self, running: &mut Running<E>, key: Option<Key>, until: u64) -> thalweg::Result<Metrics> {
        while running.made < until {
            let before = running.trainer.steps();
            let loss = if self.by_steps { stretch(running, until)? } else { epoch(running)? };
            if stop::asked().is_some() {
                return Err(interrupted());
            }
            let steps = (running.trainer.steps() - before) as u64;
            self.progress.borrow_mut().trained(key, running.made, loss, steps);
            if !loss.is_finite() {
                return Ok(Metrics { loss, ..Metrics::default() });
            }
        }
        Ok(running.trainer.evaluate()?[0])
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

    /// Trains settings on all training rows for so long; what the model says about the test rows. None if a signal ends it, or the loss is
    /// not finite.
    pub fn refit(&self, point: &Point, until: u64) -> Result<Option<Probabilities>> {
        self.fresh(point, &self.cut.whole, until)
    }

    /// Trains settings on the training rows of a fold; what the model says about the others. None as for [`Self::refit`].
    pub fn of_fold(&self, point: &Point, fold: u64, until: u64) -> Result<Option<Probabilities>> {
        self.fresh(point, self.cut.of(Some(fold)), until)
    }

    fn fresh(&self, point: &Point, data: &(Dataset, Dataset), until: u64) -> Result<Option<Probabilities>> {
        let mut running = self.start(point, data, self.seed)?;
        let metrics = match self.go(&mut running, None, until) {
            Err(_) if stop::asked().is_some() => return Ok(None),
            metrics => metrics?,
        };
        if !metrics.loss.is_finite() {
            note(&format!("warning: trained once more, {point} has a loss that is not finite"));
            return Ok(None);
        }
        let logits = running.trainer.predict(0, &data.1.features)?;
        Ok(Some(Probabilities::of_logits(&logits, data.0.classes)?))
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

/// Steps between two looks for a signal.
const LOOK: usize = 32;

/// One epoch more, or a part of it where a signal ends it; its training loss.
fn epoch<E: Engine>(running: &mut Running<E>) -> thalweg::Result<f64> {
    let watch = |_| if stop::asked().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    let loss = running.trainer.epoch_by(LOOK, watch)?[0].loss;
    running.made += 1;
    Ok(loss)
}

/// Steps up to the end of an epoch or to the wanted number, or fewer where a signal ends them; the training loss of the epoch so far.
fn stretch<E: Engine>(running: &mut Running<E>, until: u64) -> thalweg::Result<f64> {
    let epoch = running.trainer.steps_per_epoch() as u64;
    let end = (running.made / epoch + 1).saturating_mul(epoch).min(until);
    while running.made < end && stop::asked().is_none() {
        let steps = (end - running.made).min(LOOK as u64);
        running.trainer.advance(steps as usize)?;
        running.made += steps;
    }
    Ok(running.trainer.metrics()?[0].loss)
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
