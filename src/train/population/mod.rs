//! Populations: the jobs of a sweep as lanes.

mod group;
mod host;
mod jobs;
#[cfg(feature = "checkpoint")]
mod rungs;

use super::Trainer;
use super::batch::Batch;
use super::metrics::{Metric, Metrics};
use super::task::Task;
use crate::data::{Dataset, Fold};
use crate::error::Result;
#[cfg(feature = "gpu")]
use crate::gpu::Gpu;
use crate::nn::Model;
use crate::now::now;
use crate::optimizer::{Recipe, State};
use crate::plan::Engine;
#[cfg(feature = "gpu")]
use crate::sweep::TrainAsync;
use crate::sweep::{Job, Train};
#[cfg(feature = "gpu")]
use host::Awaits;
use host::Waits;
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
type Key = (u64, Option<u64>, Option<u64>);

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
struct Kept<F> {
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
    kept: HashMap<Key, Kept<E::Float>>,
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
    /// [`Error::Order`](crate::Error::Order), and its jobs are as they were before the call. A watch does not change bits.
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
}

impl<E: Engine, S: FnMut(&Job) -> Result<Setup>> Train for Population<'_, E, S> {
    fn train(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>> {
        now(self.train_jobs::<Waits>(jobs, steps))
    }

    fn capacity(&self) -> usize {
        self.most
    }

    fn copy(&mut self, from: u64, to: u64) -> Result<()> {
        now(self.copy_jobs::<Waits>(from, to))
    }

    fn forget(&mut self, trials: &[u64]) {
        self.drop_jobs(trials);
    }
}

/// Nothing in it waits for the device.
#[cfg(feature = "gpu")]
impl<S: FnMut(&Job) -> Result<Setup>> TrainAsync for Population<'_, Gpu, S> {
    async fn train_async(&mut self, jobs: &[Job], steps: u64) -> Result<Vec<f64>> {
        self.train_jobs::<Awaits>(jobs, steps).await
    }

    fn capacity(&self) -> usize {
        self.most
    }

    async fn copy_async(&mut self, from: u64, to: u64) -> Result<()> {
        self.copy_jobs::<Awaits>(from, to).await
    }

    fn forget(&mut self, trials: &[u64]) {
        self.drop_jobs(trials);
    }
}

fn key(job: &Job) -> Key {
    (job.trial, job.fold, job.seed)
}
