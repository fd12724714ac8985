//! Trains the jobs of a population, group by group.

use super::group::Group;
use super::host::Host;
use super::{Kept, Key, LOOK, Lanes, Look, Population, Resident, Setup, Trained, key};
use crate::error::{Error, Result, range};
use crate::optimizer::{Recipe, State};
use crate::plan::Engine;
use crate::rule::Real;
use crate::sweep::Job;
use crate::train::batch::Batch;
use crate::train::{Metrics, Trainer};

impl<E: Engine, S: FnMut(&Job) -> Result<Setup>> Population<'_, E, S> {
    /// Trains jobs up to a number of steps, and returns the metric of each.
    pub(super) async fn train_jobs<H: Host<E::Program>>(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>> {
        range::require(self.most >= 1, "at_most", self.most, "at least 1")?;
        let (mut metrics, mut trained) = (vec![f64::NAN; jobs.len()], Vec::new());
        for group in self.groups(jobs, steps)? {
            for (job, kept) in self.train_all::<H>(jobs, group, steps).await? {
                let Some(kept) = kept else { continue };
                metrics[job] = kept.metrics.map_or(Ok(f64::NAN), |metrics| self.told(&metrics))?;
                trained.push((key(&jobs[job]), kept));
            }
        }
        // All of it, or nothing: a call that was broken off leaves every job where it was.
        self.kept.extend(trained);
        Ok(metrics)
    }

    /// The jobs of trial `to` take over what those of trial `from` are.
    pub(super) async fn copy_jobs<H: Host<E::Program>>(&mut self, from: u64, to: u64) -> Result<()> {
        let of = self.kept.iter().filter(|((trial, ..), _)| *trial == from);
        let copies: Vec<(Key, Kept<E::Float>)> = of.map(|(key, kept)| ((to, key.1, key.2), kept.clone())).collect();
        if copies.is_empty() {
            return Err(Error::setting("trial", from, "one that was trained"));
        }
        self.copy_on_device::<H>(from, copies.iter().map(|(key, _)| *key)).await;
        self.copies = true;
        self.kept.extend(copies);
        Ok(())
    }

    /// Drops the states of these trials.
    pub(super) fn drop_jobs(&mut self, trials: &[u64]) {
        self.kept.retain(|(trial, ..), _| !trials.contains(trial));
    }

    /// Trains the jobs of a group together, or one by one where one of them goes wrong by itself: the results of each, or
    /// `None` for one that went wrong.
    async fn train_all<H: Host<E::Program>>(
        &mut self,
        all: &[Job],
        group: Group,
        steps: u64,
    ) -> Result<Vec<Trained<E::Float>>> {
        let together = self.trained::<H>(all, &group, steps).await?;
        if together.is_some() || group.jobs.len() == 1 {
            return Ok(together.unwrap_or_else(|| vec![(group.jobs[0], None)]));
        }
        let mut trained = Vec::new();
        for one in group.apart() {
            let alone = self.trained::<H>(all, &one, steps).await?;
            trained.extend(alone.unwrap_or_else(|| vec![(one.jobs[0], None)]));
        }
        Ok(trained)
    }

    /// The results of a group; `None` if a job goes wrong by itself.
    async fn trained<H: Host<E::Program>>(
        &mut self,
        all: &[Job],
        group: &Group,
        steps: u64,
    ) -> Result<Option<Vec<Trained<E::Float>>>> {
        let jobs: Vec<&Job> = group.jobs.iter().map(|&job| &all[job]).collect();
        match self.train_group::<H>(&jobs, group, steps).await {
            Ok(kept) => Ok(Some(group.jobs.iter().copied().zip(kept.into_iter().map(Some)).collect())),
            Err(error) if goes_wrong(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Trains a group up to a number of steps; returns the results of each job.
    async fn train_group<H: Host<E::Program>>(
        &mut self,
        jobs: &[&Job],
        group: &Group,
        steps: u64,
    ) -> Result<Vec<Kept<E::Float>>> {
        let seeds: Vec<u64> = jobs.iter().zip(&group.setups).map(|(job, setup)| self.seed(job, setup)).collect();
        let mut trainer = match self.going_on(jobs, group)? {
            Some(trainer) => trainer,
            None => self.begun::<H>(jobs, group, &seeds).await?,
        };
        let all = if self.epochs { steps.saturating_mul(trainer.steps_per_epoch() as u64) } else { steps };
        let all = usize::try_from(all).map_err(|_| Error::setting("steps", all, "fewer"))?;
        let more = all.saturating_sub(group.made);
        self.advance::<H>(&mut trainer, jobs, more).await?;
        let (metrics, state) = (H::evaluate(&mut trainer).await?, H::state_dict(&mut trainer).await?);
        let kept = |lane: usize| {
            Ok(Kept { state: state.lane(lane)?, seed: seeds[lane], steps: group.made + more, metrics: Some(metrics[lane]) })
        };
        let kept = (0..jobs.len()).map(kept).collect::<Result<Vec<_>>>()?;
        let (keys, model) = (jobs.iter().map(|job| key(job)).collect(), group.model.clone());
        let setups = group.setups.iter().map(|setup| (setup.batch, setup.recipe.clone())).collect();
        self.resident = Resident(Some(Lanes { trainer, keys, model, setups }));
        Ok(kept)
    }

    /// The trainer of the last call with the settings of now, if its lanes are the jobs of the group and where these are, and
    /// if no more than numbers of rules and buffers have changed since.
    fn going_on(&mut self, jobs: &[&Job], group: &Group) -> Result<Option<Trainer<E::Program>>> {
        let Some(Lanes { mut trainer, keys, model, setups }) = self.resident.0.take() else { return Ok(None) };
        let same = keys.iter().copied().eq(jobs.iter().map(|job| key(job))) && model == group.model;
        let same = same && group.made > 0 && trainer.steps() == group.made;
        let alike =
            |(now, (batch, recipe)): (&Setup, &(Batch, Recipe))| now.batch == *batch && now.recipe.is_but_for_rules(recipe);
        if !same || !group.setups.iter().zip(&setups).all(alike) {
            return Ok(None);
        }
        for (lane, setup) in group.setups.iter().enumerate() {
            // Rules of another kernel are refused; the lanes then begin in a program of their own.
            if trainer.optimizer_mut().set_rules(lane, &setup.recipe).is_err() {
                return Ok(None);
            }
            for (name, values) in &setup.buffers {
                let values: Vec<E::Float> = values.iter().map(|&value| E::Float::of(value)).collect();
                trainer.set_buffer(lane, name, &values)?;
            }
        }
        Ok(Some(trainer))
    }

    /// A new trainer of a group, whose jobs are where they were.
    async fn begun<H: Host<E::Program>>(&self, jobs: &[&Job], group: &Group, seeds: &[u64]) -> Result<Trainer<E::Program>> {
        let setup = |lane: usize| &group.setups[lane];
        let recipe = Recipe::join(group.setups.iter().map(|setup| setup.recipe.clone()))?;
        let mut trainer = Trainer::builder(&*setup(0).model, recipe).train(self.train).batch(setup(0).batch).seeds(seeds);
        for (lane, job) in jobs.iter().enumerate() {
            if let Some(fold) = self.fold(job)? {
                trainer = trainer.fold(lane, fold);
            }
            for (name, values) in &setup(lane).buffers {
                trainer = trainer.buffer(lane, name, values);
            }
        }
        if let Some(validation) = self.validation.filter(|_| jobs.iter().all(|job| job.fold.is_none())) {
            trainer = trainer.validation(validation);
        }
        if let Some(task) = &self.task {
            trainer = trainer.task(task.clone());
        }
        if self.standardise {
            trainer = trainer.standardise();
        }
        if self.indices {
            trainer = trainer.index_features();
        }
        if self.standardise_targets {
            trainer = trainer.standardise_targets();
        }
        if self.copies {
            trainer = trainer.copies();
        }
        let mut trainer = trainer.build(self.engine)?;
        if group.made > 0 {
            let new = H::state_dict(&mut trainer).await?;
            let kept = jobs.iter().enumerate().filter_map(|(lane, job)| Some((lane, self.kept.get(&key(job))?)));
            let lane = |(lane, kept): (usize, &Kept<E::Float>)| {
                let names: Vec<&str> = setup(lane).buffers.iter().map(|(name, _)| name.as_str()).collect();
                Ok(taken_over(kept.state.clone(), &new.lane(lane)?, &names))
            };
            let lanes = kept.map(lane).collect::<Result<Vec<_>>>()?;
            H::load_state_dict(&mut trainer, &State::join(lanes)?).await?;
        }
        Ok(trainer)
    }

    /// Makes `more` steps, in stretches between which the watch is called.
    async fn advance<H: Host<E::Program>>(
        &mut self,
        trainer: &mut Trainer<E::Program>,
        jobs: &[&Job],
        more: usize,
    ) -> Result<()> {
        let mut left = more;
        while left > 0 {
            let epoch = trainer.steps_per_epoch();
            let stretch = match &self.watch.0 {
                Some(_) => left.min(LOOK).min(epoch - trainer.steps() % epoch),
                None => left,
            };
            H::advance(trainer, stretch).await?;
            left -= stretch;
            let model_steps = (stretch * jobs.len()) as u64;
            self.model_steps += model_steps;
            let Some(watch) = &mut self.watch.0 else { continue };
            let ends = left == 0 || trainer.steps().is_multiple_of(epoch);
            let metrics = if ends { H::metrics(trainer).await? } else { Vec::new() };
            let jobs: Vec<(&Job, Metrics)> = jobs.iter().copied().zip(metrics).collect();
            let look = Look { jobs: &jobs, made: trainer.steps(), steps_per_epoch: epoch, model_steps };
            if watch(&look).is_break() {
                return Err(Error::order("training", "its watch broke it off"));
            }
        }
        Ok(())
    }

    /// Copies lanes of a trial over those of others, if all of them are on the device. Otherwise the next program begins from
    /// the host's states.
    async fn copy_on_device<H: Host<E::Program>>(&mut self, from: u64, copied: impl Iterator<Item = Key>) {
        let Some(Lanes { trainer, keys, .. }) = &mut self.resident.0 else { return };
        let lane = |key: Key| keys.iter().position(|known| *known == key);
        let pairs: Option<Vec<(usize, usize)>> = copied.map(|to| Some((lane((from, to.1, to.2))?, lane(to)?))).collect();
        let copied = match pairs {
            Some(pairs) => H::copy_lanes(trainer, &pairs).await.is_ok(),
            None => false,
        };
        if !copied {
            self.resident = Resident(None);
        }
    }

    /// A job that was trained before keeps the seed of its state.
    fn seed(&self, job: &Job, setup: &Setup) -> u64 {
        self.kept.get(&key(job)).map_or(setup.seed, |kept| kept.seed)
    }

    /// The metric of a job for the sweep; NaN if its loss is not finite.
    fn told(&self, metrics: &Metrics) -> Result<f64> {
        let metric = self.metric.of(metrics)?;
        Ok(if metrics.loss.is_finite() { metric } else { f64::NAN })
    }
}

/// Whether an error is that of a lane whose gradients are not finite.
fn goes_wrong(error: &Error) -> bool {
    match error {
        Error::BadSteps { .. } => true,
        Error::Partly { reason, .. } => goes_wrong(reason),
        _ => false,
    }
}

/// A state with the settings of another, and with its buffers of these names: a job's point may have changed since.
fn taken_over<F: Clone>(mut state: State<F>, new: &State<F>, buffers: &[&str]) -> State<F> {
    for (name, array) in new.iter() {
        let set = name.starts_with("setting.") || name.strip_prefix("buffer.").is_some_and(|name| buffers.contains(&name));
        if set {
            state.insert(name, array.clone());
        }
    }
    state
}
