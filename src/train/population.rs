//! Populations: the jobs of a sweep as lanes.

use super::Trainer;
use super::batch::Batch;
use super::metrics::{Metric, Metrics};
use super::task::Task;
use crate::data::{Dataset, Fold};
use crate::error::{Error, Result, range};
use crate::nn::{Model, Tape};
use crate::optimizer::{Recipe, State};
use crate::plan::{Arena, Engine, Layout};
use crate::rule::Real;
use crate::sweep::{Job, Train};
use std::collections::HashMap;
use std::fmt;
use std::ops::ControlFlow;

/// A job, and what it has come to; nothing where it went wrong.
type Trained<F> = (usize, Option<Kept<F>>);

/// How a job of a sweep is trained.
#[derive(Debug)]
pub struct Setup {
    /// The model. Models with the same debug output count as the same model.
    pub model: Box<dyn Model>,
    /// Rule and modifiers, for one lane.
    pub recipe: Recipe,
    /// Rows of a step.
    pub batch: Batch,
    /// Decides start values, the order of rows, and the random numbers of steps.
    pub seed: u64,
    /// Untrained buffers of the model by name, and their start values, such as the `p` of a
    /// [`LaneDropout`](crate::nn::LaneDropout). They are set anew if the job's point changes.
    pub buffers: Vec<(String, Vec<f64>)>,
}

impl Setup {
    /// With batches of 32 rows and the seed 0.
    pub fn new(model: impl Model + 'static, recipe: Recipe) -> Self {
        Self { model: Box::new(model), recipe, batch: 32.into(), seed: 0, buffers: Vec::new() }
    }
}

/// Trial, fold and seed.
pub(super) type Key = (u64, Option<u64>, Option<u64>);

/// How far the jobs of a program are.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Look<'a> {
    /// The jobs, and the training loss and scores of each in the epoch so far. Empty within an epoch, where nothing is read
    /// from the device.
    pub jobs: &'a [(&'a Job, Metrics)],
    /// Steps that each job has made.
    pub made: usize,
    /// Steps of an epoch.
    pub steps_per_epoch: usize,
    /// Steps of all jobs together since the look before.
    pub model_steps: u64,
}

/// What is called while jobs are trained.
type Watch<'a> = Box<dyn FnMut(&Look<'_>) -> ControlFlow<()> + 'a>;

/// Steps between two looks within an epoch.
const LOOK: usize = 32;

/// The results of a job.
#[derive(Debug, Clone)]
pub(super) struct Kept<F> {
    /// Of one lane.
    pub state: State<F>,
    pub seed: u64,
    pub steps: usize,
    /// None where the state came from a file.
    pub metrics: Option<Metrics>,
}

/// Trains the jobs of a [`Sweep`](crate::sweep::Sweep) as lanes: jobs with the same model, batch, number of training rows and
/// number of steps made, whose recipes differ in numbers alone, share one program. A job has the bits that it has in a trainer
/// of its own.
///
/// Between two calls the host keeps the states of the jobs, so lanes that are stopped take no time. The device keeps the lanes
/// of the last program: if all of them go on, and their recipes have changed in numbers of rules alone, the next call makes no
/// new one, and copies between them are copies on the device ([`Trainer::copy_lanes`]). A job whose loss is not finite has NaN
/// as its metric, and so has one that goes wrong by itself ([`Recipe::max_bad_steps`]).
///
/// # Examples
///
/// ```
/// use thalweg::data::{KFold, digits};
/// use thalweg::nn::{Nonlinearity, Sequential};
/// use thalweg::sweep::{Goal, Halving, Job, Random, SearchSpace, Strategy, Study, Sweep, Table};
/// use thalweg::train::{Metric, Population, Setup};
/// use thalweg::{Adam, Recipe, cpu::Cpu};
///
/// let data = digits().rows_at(&(0..300).collect::<Vec<_>>())?;
/// let folds = KFold { folds: 3, ..Default::default() }.split(data.rows())?;
/// let setup = |job: &Job| {
///     let lr = job.point.get("lr").and_then(|lr| lr.as_f64()).unwrap_or(1e-3);
///     let model = Sequential::perceptron(64, &[16], 10, Nonlinearity::Relu);
///     Ok(Setup { seed: 1, ..Setup::new(model, Recipe::new(Adam { lr, ..Default::default() })) })
/// };
/// let engine = Cpu::<f32>::default();
/// let mut population = Population::new(&engine, &data, setup).folds(folds).standardise();
/// population = population.metric(Metric::Accuracy).in_epochs();
///
/// let space: SearchSpace = "lr=log:1e-3:1e-1".parse()?;
/// let mut study = Study::new(space.clone(), Goal::Maximize, Random { seed: 1 });
/// let mut table = Table::new(space, Goal::Maximize);
/// let halving = Strategy::Halving(Halving { min_steps: 2, max_steps: 6, eta: 3 });
/// Sweep { trials: 3, folds: 3, ..Sweep::new(halving) }.run(&mut study, &mut table, &mut population, |_| Ok(()))?;
/// assert!(table.best().unwrap().mean > 0.5);
/// # Ok::<(), thalweg::Error>(())
/// ```
#[derive(Debug)]
pub struct Population<'a, E: Engine, S> {
    engine: &'a E,
    train: &'a Dataset,
    validation: Option<&'a Dataset>,
    folds: Vec<Fold>,
    task: Option<Task>,
    metric: Metric,
    standardise: bool,
    standardise_targets: bool,
    indices: bool,
    epochs: bool,
    most: usize,
    setup: S,
    pub(super) kept: HashMap<Key, Kept<E::Float>>,
    resident: Resident<E::Program>,
    /// Whether jobs were copied before, so that programs need the plan for it.
    copies: bool,
    model_steps: u64,
    watch: Watched<'a>,
}

/// The program of the last call, whose lanes may go on.
struct Resident<P>(Option<Lanes<P>>);

/// Lanes on the device, as the host's states of their jobs are.
struct Lanes<P> {
    trainer: Trainer<P>,
    keys: Vec<Key>,
    model: String,
    setups: Vec<(Batch, Recipe)>,
}

impl<P> fmt::Debug for Resident<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().flat_map(|lanes| &lanes.keys)).finish()
    }
}

/// A watch; closures have no debug output, so it has its own.
struct Watched<'a>(Option<Watch<'a>>);

impl fmt::Debug for Watched<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a watch" } else { "none" })
    }
}

impl<'a, E: Engine, S: FnMut(&Job) -> Result<Setup>> Population<'a, E, S> {
    /// A population that is trained on these data; `setup` gives model, recipe, batch and seed of each job.
    pub fn new(engine: &'a E, train: &'a Dataset, setup: S) -> Self {
        Self {
            engine,
            train,
            validation: None,
            folds: Vec::new(),
            task: None,
            metric: Metric::Loss,
            standardise: false,
            standardise_targets: false,
            indices: false,
            epochs: false,
            most: usize::MAX,
            setup,
            kept: HashMap::new(),
            resident: Resident(None),
            copies: false,
            model_steps: 0,
            watch: Watched(None),
        }
    }

    /// Data to validate on, for jobs without a fold.
    pub fn validation(mut self, data: &'a Dataset) -> Self {
        self.validation = Some(data);
        self
    }

    /// The rows of the data on which jobs of a fold are trained and validated; the device holds the data once.
    pub fn folds(mut self, folds: Vec<Fold>) -> Self {
        self.folds = folds;
        self
    }

    /// What is learned. Default: as for [`TrainerBuilder::task`](super::TrainerBuilder::task).
    pub fn task(mut self, task: Task) -> Self {
        self.task = Some(task);
        self
    }

    /// The metric on the validation rows by which the sweep compares trials. Default: the loss.
    pub fn metric(mut self, metric: Metric) -> Self {
        self.metric = metric;
        self
    }

    /// Standardises features on each job's own training rows:
    /// [`TrainerBuilder::standardise`](super::TrainerBuilder::standardise).
    pub fn standardise(mut self) -> Self {
        self.standardise = true;
        self
    }

    /// Standardises targets on each job's own training rows:
    /// [`TrainerBuilder::standardise_targets`](super::TrainerBuilder::standardise_targets).
    pub fn standardise_targets(mut self) -> Self {
        self.standardise_targets = true;
        self
    }

    /// Lets features be numbers of rows: [`TrainerBuilder::index_features`](super::TrainerBuilder::index_features).
    pub fn index_features(mut self) -> Self {
        self.indices = true;
        self
    }

    /// Lets the steps of the sweep be epochs.
    pub fn in_epochs(mut self) -> Self {
        self.epochs = true;
        self
    }

    /// The most jobs that are trained at a time, at least 1; if there are more, the sweep trains them in waves. Default: no
    /// bound.
    pub fn at_most(mut self, jobs: usize) -> Self {
        self.most = jobs;
        self
    }

    /// Calls `watch` after every 32 steps, at the ends of epochs and at the end of a call. If it breaks, the call ends with
    /// [`Error::Order`], and its jobs are as they were before the call. A watch does not change bits.
    pub fn watch(mut self, watch: impl FnMut(&Look<'_>) -> ControlFlow<()> + 'a) -> Self {
        self.watch = Watched(Some(Box::new(watch)));
        self
    }

    /// Whether no job has a state to go on from.
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Steps made so far, summed over all lanes.
    pub fn model_steps(&self) -> u64 {
        self.model_steps
    }

    /// All metrics of a job after the last call that trained it.
    pub fn metrics(&self, job: &Job) -> Option<Metrics> {
        self.kept.get(&key(job)).and_then(|kept| kept.metrics)
    }

    /// The trainer's state of a job after the last call that trained it, of one lane: [`Trainer::state_dict`].
    pub fn state(&self, job: &Job) -> Option<&State<E::Float>> {
        self.kept.get(&key(job)).map(|kept| &kept.state)
    }

    /// The rows on which a job is trained and validated.
    fn fold(&self, job: &Job) -> Result<Option<&Fold>> {
        let Some(fold) = job.fold else { return Ok(None) };
        let found = usize::try_from(fold).ok().and_then(|fold| self.folds.get(fold));
        let unknown = || Error::setting("fold", fold, &format!("below {}, the folds of the population", self.folds.len()));
        found.map(Some).ok_or_else(unknown)
    }

    /// Groups of jobs that share a program. A job that is beyond what is asked for begins anew: the table of a sweep that was
    /// ended may lack rows whose states a file has.
    fn groups(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<Group>> {
        let mut groups: Vec<Group> = Vec::new();
        for (index, job) in jobs.iter().enumerate() {
            if self.fold(job)?.is_none() && self.validation.is_none() {
                return Err(Error::missing("a population", "data to validate on", ".validation(&data) or .folds(..)"));
            }
            let setup = (self.setup)(job)?;
            let rows = self.fold(job)?.map_or(self.train.rows(), |fold| fold.train.len());
            let asked = steps.saturating_mul(if self.epochs { setup.batch.steps(rows) as u64 } else { 1 });
            if self.kept.get(&key(job)).is_some_and(|kept| kept.steps as u64 > asked) {
                self.kept.remove(&key(job));
            }
            let made = self.kept.get(&key(job)).map_or(0, |kept| kept.steps);
            let model = format!("{:?}", setup.model);
            let alike = |group: &&mut Group| {
                let same = group.model == model && (group.rows, group.made) == (rows, made);
                same && group.setups[0].batch == setup.batch && group.setups[0].recipe.goes_with(&setup.recipe, &group.arena)
            };
            match groups.iter_mut().find(alike) {
                Some(group) => group.add(index, setup),
                None => {
                    let arena = arena(&*setup.model, self.train.width, self.indices)?;
                    groups.push(Group { model, arena, rows, made, jobs: vec![index], setups: vec![setup] });
                }
            }
        }
        Ok(groups)
    }

    /// Trains a group up to a number of steps; returns the results of each job.
    fn train_group(&mut self, jobs: &[&Job], group: &Group, steps: u64) -> Result<Vec<Kept<E::Float>>> {
        let seeds: Vec<u64> = jobs.iter().zip(&group.setups).map(|(job, setup)| self.seed(job, setup)).collect();
        let mut trainer = match self.going_on(jobs, group)? {
            Some(trainer) => trainer,
            None => self.begun(jobs, group, &seeds)?,
        };
        let all = if self.epochs { steps.saturating_mul(trainer.steps_per_epoch() as u64) } else { steps };
        let all = usize::try_from(all).map_err(|_| Error::setting("steps", all, "fewer"))?;
        let more = all.saturating_sub(group.made);
        self.advance(&mut trainer, jobs, more)?;
        let (metrics, state) = (trainer.evaluate()?, trainer.state_dict()?);
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
    fn begun(&self, jobs: &[&Job], group: &Group, seeds: &[u64]) -> Result<Trainer<E::Program>> {
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
            let new = trainer.state_dict()?;
            let kept = jobs.iter().enumerate().filter_map(|(lane, job)| Some((lane, self.kept.get(&key(job))?)));
            let lane = |(lane, kept): (usize, &Kept<E::Float>)| {
                let names: Vec<&str> = setup(lane).buffers.iter().map(|(name, _)| name.as_str()).collect();
                Ok(taken_over(kept.state.clone(), &new.lane(lane)?, &names))
            };
            let lanes = kept.map(lane).collect::<Result<Vec<_>>>()?;
            trainer.load_state_dict(&State::join(lanes)?)?;
        }
        Ok(trainer)
    }

    /// Makes `more` steps, in stretches between which the watch is called.
    fn advance(&mut self, trainer: &mut Trainer<E::Program>, jobs: &[&Job], more: usize) -> Result<()> {
        let mut left = more;
        while left > 0 {
            let epoch = trainer.steps_per_epoch();
            let stretch = match &self.watch.0 {
                Some(_) => left.min(LOOK).min(epoch - trainer.steps() % epoch),
                None => left,
            };
            trainer.advance(stretch)?;
            left -= stretch;
            let model_steps = (stretch * jobs.len()) as u64;
            self.model_steps += model_steps;
            let Some(watch) = &mut self.watch.0 else { continue };
            let ends = left == 0 || trainer.steps().is_multiple_of(epoch);
            let metrics = if ends { trainer.metrics()? } else { Vec::new() };
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
    fn copy_on_device(&mut self, from: u64, copied: impl Iterator<Item = Key>) {
        let Some(Lanes { trainer, keys, .. }) = &mut self.resident.0 else { return };
        let lane = |key: Key| keys.iter().position(|known| *known == key);
        let pairs: Option<Vec<(usize, usize)>> = copied.map(|to| Some((lane((from, to.1, to.2))?, lane(to)?))).collect();
        if pairs.is_none_or(|pairs| trainer.copy_lanes(&pairs).is_err()) {
            self.resident = Resident(None);
        }
    }

    /// A job that was trained before keeps the seed of its state.
    fn seed(&self, job: &Job, setup: &Setup) -> u64 {
        self.kept.get(&key(job)).map_or(setup.seed, |kept| kept.seed)
    }

    /// Trains the jobs of a group together, or one by one where one of them goes wrong by itself: the results of each, or
    /// `None` for one that went wrong.
    fn train_all(&mut self, all: &[Job], group: Group, steps: u64) -> Result<Vec<Trained<E::Float>>> {
        let jobs: Vec<&Job> = group.jobs.iter().map(|&job| &all[job]).collect();
        match self.train_group(&jobs, &group, steps) {
            Ok(kept) => Ok(group.jobs.into_iter().zip(kept.into_iter().map(Some)).collect()),
            Err(error) if !goes_wrong(&error) => Err(error),
            Err(_) if group.jobs.len() == 1 => Ok(vec![(group.jobs[0], None)]),
            Err(_) => {
                let mut trained = Vec::new();
                for one in group.apart() {
                    trained.extend(self.train_all(all, one, steps)?);
                }
                Ok(trained)
            }
        }
    }

    /// The metric of a job for the sweep; NaN if its loss is not finite.
    fn told(&self, metrics: &Metrics) -> Result<f64> {
        let metric = self.metric.of(metrics)?;
        Ok(if metrics.loss.is_finite() { metric } else { f64::NAN })
    }
}

impl<E: Engine, S: FnMut(&Job) -> Result<Setup>> Train for Population<'_, E, S> {
    fn train(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>> {
        range::require(self.most >= 1, "at_most", self.most, "at least 1")?;
        let (mut metrics, mut trained) = (vec![f64::NAN; jobs.len()], Vec::new());
        for group in self.groups(jobs, steps)? {
            for (job, kept) in self.train_all(jobs, group, steps)? {
                let Some(kept) = kept else { continue };
                metrics[job] = kept.metrics.map_or(Ok(f64::NAN), |metrics| self.told(&metrics))?;
                trained.push((key(&jobs[job]), kept));
            }
        }
        // All of it, or nothing: a call that was broken off leaves every job where it was.
        self.kept.extend(trained);
        Ok(metrics)
    }

    fn capacity(&self) -> usize {
        self.most
    }

    fn copy(&mut self, from: u64, to: u64) -> Result<()> {
        let copies: Vec<(Key, Kept<E::Float>)> = self
            .kept
            .iter()
            .filter(|((trial, ..), _)| *trial == from)
            .map(|(key, kept)| ((to, key.1, key.2), kept.clone()))
            .collect();
        if copies.is_empty() {
            return Err(Error::setting("trial", from, "one that was trained"));
        }
        self.copy_on_device(from, copies.iter().map(|(key, _)| *key));
        self.copies = true;
        self.kept.extend(copies);
        Ok(())
    }

    fn forget(&mut self, trials: &[u64]) {
        self.kept.retain(|(trial, ..), _| !trials.contains(trial));
    }
}

/// Jobs that are lanes of one program.
struct Group {
    model: String,
    arena: Arena,
    /// The number of rows on which each is trained.
    rows: usize,
    /// Steps that each job has made.
    made: usize,
    jobs: Vec<usize>,
    setups: Vec<Setup>,
}

impl Group {
    fn add(&mut self, job: usize, setup: Setup) {
        self.jobs.push(job);
        self.setups.push(setup);
    }

    /// Its jobs, each alone.
    fn apart(self) -> Vec<Self> {
        let Self { model, arena, rows, made, jobs, setups } = self;
        let alone = |(job, setup)| Self {
            model: model.clone(),
            arena: arena.clone(),
            rows,
            made,
            jobs: vec![job],
            setups: vec![setup],
        };
        jobs.into_iter().zip(setups).map(alone).collect()
    }
}

fn key(job: &Job) -> Key {
    (job.trial, job.fold, job.seed)
}

/// Whether an error is that of a lane whose gradients are not finite.
fn goes_wrong(error: &Error) -> bool {
    match error {
        Error::BadSteps { .. } => true,
        Error::Partly { reason, .. } => goes_wrong(reason),
        _ => false,
    }
}

/// The parameters of a model for rows of so many features.
fn arena(model: &dyn Model, width: usize, indices: bool) -> Result<Arena> {
    let mut tape = Tape::evaluation();
    let x = if indices {
        let mut apart = Layout::new(1);
        let id = apart.shared_indices("features", width);
        tape.indices(apart.whole(id), &[1, width])
    } else {
        tape.constant(&[1, width], 0.0)
    };
    model.forward(&mut tape, &x);
    tape.arena()
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
