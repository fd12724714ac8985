//! Trains the jobs of a sweep as lanes of a population.

use super::args::{Args, Strategy};
use super::cut::Cut;
use super::progress::Progress;
use super::rungs::Rungs;
use super::said::Said;
use super::space::Base;
use crate::model::{AUGMENT, OfLanes};
use crate::report::note;
use crate::stop;
use anyhow::Result;
use std::cell::RefCell;
use std::ops::ControlFlow;
use thalweg::data::Fold;
use thalweg::plan::Engine;
use thalweg::sweep::{Job, Point, SearchSpace, Train};
use thalweg::train::{Look, Population, Setup};
use thalweg::{Batch, Error, Trainer};

/// What all jobs of a sweep share.
#[derive(Clone, Copy)]
pub struct Jobs<'a> {
    pub args: &'a Args,
    pub base: &'a Base,
    pub space: &'a SearchSpace,
    pub cut: &'a Cut,
    /// The most lanes at a time.
    pub lanes: usize,
}

impl<'a> Jobs<'a> {
    /// The population that trains the jobs of the sweep, as many at a time as fit, reports how far they are, and keeps their
    /// states in the folder.
    pub fn population<E: Engine<Float = f32>>(self, engine: &'a E, progress: &'a RefCell<Progress>) -> impl Train + 'a {
        let (train, test) = &self.cut.lanes;
        let folds: Vec<Fold> = self.cut.folds().cloned().collect();
        let setup = move |job: &Job| self.setup(&job.point, self.rows(job), job.seed.unwrap_or(self.args.seed));
        let mut population = Population::new(engine, train, setup).validation(test).folds(folds);
        population = population.metric(self.args.metric().measured()).at_most(self.lanes);
        population = if self.cut.standardises() { population.standardise() } else { population };
        population = if self.cut.has_indices { population.index_features() } else { population };
        population = if train.is_regression() { population.standardise_targets() } else { population };
        population = if self.args.steps.is_none() { population.in_epochs() } else { population };
        let by_steps = self.args.steps.is_some();
        Rungs::new(population.watch(move |look| watch(look, by_steps, &mut progress.borrow_mut())), progress)
    }

    /// The number of rows on which a job is trained.
    fn rows(&self, job: &Job) -> usize {
        let fold = job.fold.and_then(|fold| self.cut.folds().nth(usize::try_from(fold).ok()?));
        fold.map_or(self.cut.lanes.0.rows(), |fold| fold.train.len())
    }

    /// The setup of a point that is trained on `rows` rows.
    fn setup(&self, point: &Point, rows: usize, seed: u64) -> thalweg::Result<Setup> {
        let settings = self.base.settings(point)?;
        let batch = Batch { rows: settings.batch.min(rows), drop_last: self.base.drop_last };
        let steps = if self.args.steps.is_some() { 1 } else { batch.steps(rows) as u64 };
        let recipe = settings.recipe(self.args.budget().saturating_mul(steps)).map_err(|error| of_library(error, point))?;
        // Lanes with other probabilities and strengths are one program if these are numbers of the lanes.
        let searched = |name: &str| self.space.parameter(name).is_ok();
        let lanes = OfLanes { dropout: searched("dropout"), augment: AUGMENT.into_iter().any(searched) };
        let (_, built) = settings.built(&self.cut.lanes.0, lanes).map_err(|error| of_library(error, point))?;
        let (dropout, strengths) = (settings.model.dropout(), settings.model.augment.strengths());
        let buffers = built.dropouts.into_iter().map(|name| (name, vec![dropout]));
        let buffers = buffers.chain(built.augments.into_iter().map(|name| (name, strengths.clone()))).collect();
        Ok(Setup { batch, seed, buffers, ..Setup::new(built.model, recipe) })
    }

    /// The options with which `train` trains a point for so long. It counts in epochs.
    pub fn arguments(&self, point: &Point, epochs: u64) -> Option<Vec<String>> {
        // The settings of a member have changed on the way.
        let alone = self.args.strategy != Strategy::Population;
        let settings =
            self.base.arguments(point).filter(|_| self.args.steps.is_none() && epochs == self.args.budget() && alone)?;
        let run = [format!("--epochs={epochs}"), format!("--seed={}", self.args.seed)];
        Some(self.args.of_data.iter().cloned().chain(settings).chain(run).collect())
    }

    /// Trains settings on all training rows for so long; what the model says about the test rows. None if a signal ends it, or
    /// the loss is not finite.
    pub fn refit<E: Engine>(&self, engine: &E, point: &Point, until: u64) -> Result<Option<Said>> {
        self.once_more(engine, point, None, until)
    }

    /// Trains settings on the training rows of a fold; what the model says about the others. None as for [`Self::refit`].
    pub fn of_fold<E: Engine>(&self, engine: &E, point: &Point, fold: &Fold, until: u64) -> Result<Option<Said>> {
        self.once_more(engine, point, Some(fold), until)
    }

    fn once_more<E: Engine>(&self, engine: &E, point: &Point, fold: Option<&Fold>, until: u64) -> Result<Option<Said>> {
        let (train, test) = &self.cut.lanes;
        let setup = self.setup(point, fold.map_or(train.rows(), |fold| fold.train.len()), self.args.seed)?;
        let mut trainer = Trainer::builder(&*setup.model, setup.recipe).train(train).batch(setup.batch).seed(setup.seed);
        for (name, values) in &setup.buffers {
            trainer = trainer.buffer(0, name, values);
        }
        if let Some(fold) = fold {
            trainer = trainer.train_rows(0, &fold.train);
        }
        let trainer = if self.cut.standardises() { trainer.standardise() } else { trainer };
        let trainer = if self.cut.has_indices { trainer.index_features() } else { trainer };
        let trainer = if train.is_regression() { trainer.standardise_targets() } else { trainer };
        let mut trainer = trainer.build(engine)?;
        let epochs = if self.args.steps.is_some() { 1 } else { trainer.steps_per_epoch() as u64 };
        let steps = usize::try_from(until.saturating_mul(epochs)).unwrap_or(usize::MAX);
        while trainer.steps() < steps {
            trainer.advance((steps - trainer.steps()).min(LOOK))?;
            if stop::asked().is_some() {
                return Ok(None);
            }
        }
        let features = match fold {
            Some(fold) => train.rows_at(&fold.validation)?.features,
            None => test.features.clone(),
        };
        let outputs: Vec<f64> = trainer.predict(0, &features)?.into_iter().map(thalweg::Real::as_f64).collect();
        if outputs.iter().any(|output| !output.is_finite()) {
            note(&format!("warning: trained once more, {point} does not stay finite"));
            return Ok(None);
        }
        Ok(Some(Said::of(&outputs, train)?))
    }
}

/// Steps between two checks for a signal.
const LOOK: usize = 32;

/// Reports how far jobs are, and breaks off if a signal has come.
fn watch(look: &Look, by_steps: bool, progress: &mut Progress) -> ControlFlow<()> {
    let made = if by_steps { look.made } else { look.made / look.steps_per_epoch } as u64;
    progress.steps(look.model_steps);
    for (job, metrics) in look.jobs {
        progress.trained((job.trial, job.fold, job.seed), made, metrics.loss);
    }
    progress.look();
    if stop::asked().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
}

fn of_library(error: anyhow::Error, point: &Point) -> Error {
    match error.downcast::<Error>() {
        Ok(error) => error,
        Err(error) => Error::setting("the point", point, &format!("one that can be trained: {error:#}")),
    }
}
