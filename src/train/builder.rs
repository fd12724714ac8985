//! From a model, a recipe and data to a trainer: what can be set, and its checks.

use super::Trainer;
use super::batch::Batch;
use super::fitting::{check_indices, check_weights, scalers_of};
use super::lanes::{Lane, Rows};
use super::record::record;
use super::stopping::EarlyStopping;
use super::task::Task;
use crate::data::{Dataset, Fold, Scaler};
use crate::error::{Error, Result, range};
use crate::nn::Model;
use crate::optimizer::Recipe;
use crate::plan::Engine;

/// Rows of a step unless set, as in Keras.
const BATCH: usize = 32;
/// Rows that are evaluated together unless set.
const BLOCK: usize = 256;

/// Settings of a [`Trainer`]: begin with [`Trainer::builder`] and end with [`TrainerBuilder::build`]. All but
/// [`TrainerBuilder::train`] have defaults.
#[derive(Debug, Clone)]
pub struct TrainerBuilder<'a> {
    pub(super) model: &'a dyn Model,
    pub(super) recipe: Recipe,
    train: Option<&'a Dataset>,
    validation: Option<&'a Dataset>,
    task: Option<Task>,
    batch: Batch,
    seeds: Vec<u64>,
    /// Lanes, with the rows to train on and to validate on.
    train_rows: Vec<(usize, Vec<usize>)>,
    validation_rows: Vec<(usize, Vec<usize>)>,
    standardise: bool,
    standardise_targets: bool,
    /// How much each training row counts.
    weights: Option<Vec<f32>>,
    indices: bool,
    /// Batches of a stream that the device holds.
    ahead: Option<usize>,
    block: usize,
    stopping: Option<EarlyStopping>,
    copies: bool,
    on_ranks: bool,
    /// Start values of untrained buffers: lane, name, values.
    buffers: Vec<(usize, String, Vec<f64>)>,
}

/// Settings that have been checked.
pub(super) struct Settled<'a> {
    pub model: &'a dyn Model,
    pub recipe: Recipe,
    pub train: &'a Dataset,
    pub validation: Option<&'a Dataset>,
    pub task: Task,
    pub batch: Batch,
    pub lanes: Vec<Lane>,
    /// The scaling of each lane's features, and of its targets, or one for all; nothing where there is none.
    pub scalers: Vec<Scaler>,
    pub target_scalers: Vec<Scaler>,
    /// How much each training row counts, where they do not count the same.
    pub weights: Option<Vec<f32>>,
    /// Whether features are numbers of rows of a table.
    pub indices: bool,
    /// Whether batches come from a stream.
    pub streams: bool,
    /// Rows that are evaluated together.
    pub block: usize,
    pub stopping: Option<EarlyStopping>,
    /// Whether lanes may take over others.
    pub copies: bool,
    /// Whether several machines share the micro-batches of a step.
    pub on_ranks: bool,
    /// Start values of untrained buffers: lane, name, values.
    pub buffers: Vec<(usize, String, Vec<f64>)>,
}

impl Settled<'_> {
    /// Whether all lanes take the same training rows in the same order.
    pub fn shares_training(&self) -> bool {
        self.lanes.iter().all(|lane| lane.seed == self.lanes[0].seed && lane.train == self.lanes[0].train)
    }

    /// Whether all lanes are validated on the same rows.
    pub fn shares_validation(&self) -> bool {
        self.lanes.iter().all(|lane| lane.validation == self.lanes[0].validation)
    }
}

impl Trainer<()> {
    /// Begins to describe a trainer of a model by a recipe. The recipe says how many lanes there are, unless
    /// [`TrainerBuilder::seeds`] does.
    pub fn builder<'a>(model: &'a dyn Model, recipe: Recipe) -> TrainerBuilder<'a> {
        TrainerBuilder {
            model,
            recipe,
            train: None,
            validation: None,
            task: None,
            batch: BATCH.into(),
            seeds: vec![0],
            train_rows: Vec::new(),
            validation_rows: Vec::new(),
            standardise: false,
            standardise_targets: false,
            weights: None,
            indices: false,
            ahead: None,
            block: BLOCK,
            stopping: None,
            copies: false,
            on_ranks: false,
            buffers: Vec::new(),
        }
    }
}

impl<'a> TrainerBuilder<'a> {
    /// The data to train on. Required.
    pub fn train(mut self, data: &'a Dataset) -> Self {
        self.train = Some(data);
        self
    }

    /// The data that [`Trainer::evaluate`] looks at. If they are the data to train on, the device holds them once. Default:
    /// none.
    pub fn validation(mut self, data: &'a Dataset) -> Self {
        self.validation = Some(data);
        self
    }

    /// What is learned. Default: [`Task::classification`] where the data have classes, [`Task::regression`] where they have
    /// numbers.
    pub fn task(mut self, task: Task) -> Self {
        self.task = Some(task);
        self
    }

    /// Rows of a step; a batch larger than the data is all of them. Default 32, the last, smaller batch of an epoch among them.
    pub fn batch(mut self, batch: impl Into<Batch>) -> Self {
        self.batch = batch.into();
        self
    }

    /// One seed for all lanes: it decides the start values of weights, the order of rows in each epoch, and the random numbers
    /// of steps. Default 0.
    pub fn seed(self, seed: u64) -> Self {
        self.seeds(&[seed])
    }

    /// A seed for each lane. A lane has the bits of a trainer of one lane with its seed. Where the recipe has one lane and
    /// there are several seeds, each gets a lane with the recipe's settings.
    ///
    /// Lanes with one seed and the same rows share the picking of batches, which is faster.
    pub fn seeds(mut self, seeds: &[u64]) -> Self {
        self.seeds = seeds.to_vec();
        self
    }

    /// The rows that a lane is trained on. A row may appear more than once, as in a bootstrap. All lanes need the same number
    /// of rows. Default: all rows.
    pub fn train_rows(mut self, lane: usize, rows: &[usize]) -> Self {
        self.train_rows.push((lane, rows.to_vec()));
        self
    }

    /// The rows of the validation data that a lane is evaluated on. Default: all.
    pub fn validation_rows(mut self, lane: usize, rows: &[usize]) -> Self {
        self.validation_rows.push((lane, rows.to_vec()));
        self
    }

    /// The training rows and the validation rows of a lane. Both are rows of [`TrainerBuilder::train`]'s data, unless other
    /// validation data are set.
    pub fn fold(self, lane: usize, fold: &Fold) -> Self {
        self.train_rows(lane, &fold.train).validation_rows(lane, &fold.validation)
    }

    /// Brings each feature to a mean of 0 and a standard deviation of 1 on the lane's own training rows, on the device, before
    /// the model. Features that are constant there are only centred. Validation rows and [`Trainer::predict`] use the same
    /// numbers.
    pub fn standardise(mut self) -> Self {
        self.standardise = true;
        self
    }

    /// Regression: brings each number that is to be predicted to a mean of 0 and a standard deviation of 1 on the lane's own
    /// training rows, on the device, before the loss. The loss is then that of these numbers, while R², mean absolute error,
    /// root mean squared error and [`Trainer::predict`] are in the units of the data. [`Scaler::of_targets`] gives the numbers.
    /// Default: the targets are taken as they are.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::nn::Linear;
    /// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// let x: Vec<f32> = (0..50).map(|i| i as f32).collect();
    /// let data = Dataset::regression(x.clone(), 1, x.iter().map(|x| 1e4 + 30.0 * x).collect(), 1)?;
    /// let model = Linear::new(1, 1);
    /// let trainer = Trainer::builder(&model, Recipe::new(Adam { lr: 0.1, ..Default::default() })).train(&data).validation(&data);
    /// let mut trainer = trainer.standardise().standardise_targets().batch(50).build(&Cpu::<f32>::default())?;
    /// trainer.advance(300)?;
    /// assert!(trainer.evaluate()?[0].mae < Some(1.0));
    /// assert!((trainer.predict(0, &[100.0])?[0] - 13e3).abs() < 10.0);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn standardise_targets(mut self) -> Self {
        self.standardise_targets = true;
        self
    }

    /// How much each training row counts, at least 0 and not all 0: a step follows Σ w·l / Σ w over its batch, and so does the
    /// loss that is told of training. Accuracies and errors count rows, and validation rows count the same. Default: all count
    /// the same.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::nn::Linear;
    /// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// // The last row is an outlier, and counts for nothing.
    /// let data = Dataset::regression(vec![0.0, 1.0, 2.0, 3.0], 1, vec![1.0, 3.0, 5.0, 99.0], 1)?;
    /// let model = Linear::new(1, 1);
    /// let trainer = Trainer::builder(&model, Recipe::new(Adam { lr: 0.1, ..Default::default() })).train(&data);
    /// let mut trainer = trainer.weights(&[1.0, 1.0, 1.0, 0.0]).batch(4).build(&Cpu::<f32>::default())?;
    /// trainer.advance(400)?;
    /// assert!((trainer.predict(0, &[3.0])?[0] - 7.0).abs() < 0.01);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn weights(mut self, weights: &[f32]) -> Self {
        self.weights = Some(weights.to_vec());
        self
    }

    /// Lets features be whole numbers from 0 to 2²⁴, which the model is given as an input of indices, such as words for an
    /// [`Embedding`](crate::nn::Embedding). [`Trainer::predict`] takes them as such numbers too. Default: features are floats.
    ///
    /// # Examples
    ///
    /// ```
    /// use thalweg::nn::{Embedding, Flatten, Linear, Sequential};
    /// use thalweg::{Adam, Recipe, Trainer, cpu::Cpu, data::Dataset};
    ///
    /// // Rows of two words each; the class is whether they are the same.
    /// let words: Vec<f32> = (0..16).flat_map(|i| [(i / 4) as f32, (i % 4) as f32]).collect();
    /// let data = Dataset::new(words, 2, (0..16).map(|i| u32::from(i / 4 == i % 4)).collect())?;
    /// let model = Sequential::new().then(Embedding::new(4, 8)).then(Flatten).then(Linear::new(16, 2));
    /// let trainer = Trainer::builder(&model, Recipe::new(Adam { lr: 0.05, ..Default::default() })).train(&data);
    /// let mut trainer = trainer.index_features().batch(16).build(&Cpu::<f32>::default())?;
    /// trainer.advance(200)?;
    /// assert_eq!(trainer.predict_classes(0, &[1.0, 2.0])?, [0]);
    /// # Ok::<(), thalweg::Error>(())
    /// ```
    pub fn index_features(mut self) -> Self {
        self.indices = true;
        self
    }

    /// Lets batches come from a stream: [`Trainer::stream`] takes them. The data to train on are a sample batch then: they say
    /// how many rows a batch has, how wide rows are and what classes there are, and standardisation is learned on them. The
    /// device holds so many batches, at least 1, and makes their steps without a wait while the host makes the next ones.
    /// Default: the data are all there is.
    pub fn stream(mut self, batches: usize) -> Self {
        self.ahead = Some(batches);
        self
    }

    /// Rows that are evaluated together, at least 1: the bits of a row do not depend on the others. Default 256.
    pub fn evaluation_rows(mut self, rows: usize) -> Self {
        self.block = rows;
        self
    }

    /// Lets [`Trainer::fit`] stop early. Needs validation data. Default: it does not.
    pub fn early_stopping(mut self, stopping: EarlyStopping) -> Self {
        self.stopping = Some(stopping);
        self
    }

    /// Lets lanes take over others: [`Trainer::copy_lanes`]. Default: they cannot.
    pub fn copies(mut self) -> Self {
        self.copies = true;
        self
    }

    /// Lets several machines share the micro-batches of a step: [`Trainer::micro_batch`]. The recipe has to accumulate
    /// ([`Recipe::accumulate`]). Running statistics then change in a plan of their own, after that of the gradient; bits are
    /// the same on the CPU engine. Default: one machine has all of them.
    pub fn on_ranks(mut self) -> Self {
        self.on_ranks = true;
        self
    }

    /// The start values of an untrained buffer of the model in a lane, such as `2.p` of a
    /// [`LaneDropout`](crate::nn::LaneDropout) that is the third layer. Default: as the layer declares it.
    pub fn buffer(mut self, lane: usize, name: &str, values: &[f64]) -> Self {
        self.buffers.push((lane, name.into(), values.to_vec()));
        self
    }

    /// Records and loads everything: data, model, and the recipe's step. A last, smaller batch has a recording of its own over
    /// the same buffers.
    ///
    /// # Errors
    /// No data to train on; data that do not fit the model, the task or each other, or are not finite (with row and column);
    /// mistakes in the model's shapes, after the layer's name; a batch of 0; seeds or rows for other lanes than there are;
    /// lanes with different numbers of training rows; targets to be standardised where rows have classes; settings out of their
    /// range; or what the engine refuses.
    pub fn build<E: Engine>(self, engine: &E) -> Result<Trainer<E::Program>> {
        let Some(ahead) = self.ahead else { return record(engine, &self.settled()?) };
        range::require(ahead >= 1, "batches of a stream on the device", ahead, "at least 1")?;
        if self.weights.is_some() || !self.train_rows.is_empty() {
            return Err(Error::conflict("stream", "weights or rows", "rows of a stream are not known before"));
        }
        let sample = self.train.ok_or_else(|| Error::missing("a trainer", "data", ".train(&data)"))?;
        let rows: Vec<usize> = (0..ahead).flat_map(|_| 0..sample.rows()).collect();
        let ring = sample.rows_at(&rows)?;
        let batch = Batch::from(sample.rows());
        record(engine, &TrainerBuilder { train: Some(&ring), batch, ..self }.settled()?)
    }

    pub(super) fn settled(self) -> Result<Settled<'a>> {
        let missing = || Error::missing("a trainer", "data", ".train(&data)");
        let train = self.train.ok_or_else(missing)?;
        train.check()?;
        let folds = !self.validation_rows.is_empty();
        let validation = self.validation.or(folds.then_some(train));
        validation.map_or(Ok(()), Dataset::check)?;
        if let Some(validation) = validation.filter(|validation| validation.width != train.width) {
            return Err(Error::shape("features of the validation data", train.width, validation.width));
        }
        range::require(self.batch.rows > 0, "batch", self.batch.rows, "at least 1")?;
        range::require(self.block > 0, "evaluation_rows", self.block, "at least 1")?;
        if let Some(stopping) = &self.stopping {
            stopping.check()?;
            validation.ok_or_else(|| Error::missing("early stopping", "validation data", ".validation(&data)"))?;
        }
        let recipe = self.recipe.clone();
        let recipe = if recipe.lanes() == 1 { recipe.repeated(self.seeds.len()) } else { recipe };
        let lanes = self.lanes(recipe.lanes(), train, validation)?;
        let rows = lanes[0].train.len();
        if let Some((lane, other)) = lanes.iter().enumerate().find(|(_, lane)| lane.train.len() != rows) {
            return Err(Error::shape(
                format!("training rows of lane {lane}"),
                format!("{rows} as in lane 0 (a batch has rows of all lanes)"),
                other.train.len(),
            ));
        }
        let batch = Batch { rows: self.batch.rows.min(rows), ..self.batch };
        self.weights.as_deref().map_or(Ok(()), |weights| check_weights(weights, train))?;
        if self.indices {
            check_indices(train)?;
            validation.map_or(Ok(()), check_indices)?;
            if self.standardise {
                return Err(Error::conflict("standardise", "index_features", "numbers of rows have no scale"));
            }
        }
        let (weights, indices, streams) = (self.weights.clone(), self.indices, self.ahead.is_some());
        let scalers = if self.standardise { scalers_of(train, &lanes, Scaler::standard)? } else { Vec::new() };
        let target_scalers = match self.standardise_targets {
            true if !train.is_regression() => return Err(Error::shape("targets to standardise", "numbers", "classes")),
            true => scalers_of(train, &lanes, Scaler::of_targets)?,
            false => Vec::new(),
        };
        let task = self.task.clone().unwrap_or_else(|| Task::fitting(train));
        let (model, block, stopping, buffers) = (self.model, self.block, self.stopping, self.buffers);
        let (copies, on_ranks) = (self.copies, self.on_ranks);
        if on_ranks && streams {
            return Err(Error::conflict("on_ranks", "stream", "the rows of an epoch are shared by their numbers"));
        }
        if let Some((lane, ..)) = buffers.iter().find(|(lane, ..)| *lane >= lanes.len()) {
            return Err(Error::setting("lane of a buffer", lane, &format!("below {}", lanes.len())));
        }
        Ok(Settled {
            model,
            recipe,
            train,
            validation,
            task,
            batch,
            lanes,
            scalers,
            target_scalers,
            weights,
            indices,
            streams,
            block,
            stopping,
            copies,
            on_ranks,
            buffers,
        })
    }

    /// The lanes with their seeds and rows.
    fn lanes(&self, lanes: usize, train: &Dataset, validation: Option<&Dataset>) -> Result<Vec<Lane>> {
        if lanes == 0 {
            return Err(Error::Empty { what: "the list of lanes".into() });
        }
        if self.seeds.len() != 1 && self.seeds.len() != lanes {
            return Err(Error::shape("seeds", format!("1, or {lanes}, one per lane,"), self.seeds.len()));
        }
        let all = Rows::All(validation.map_or(0, Dataset::rows));
        let seed = |lane: usize| self.seeds.get(lane).copied().unwrap_or(self.seeds[0]);
        let mut made: Vec<Lane> =
            (0..lanes).map(|lane| Lane { seed: seed(lane), train: Rows::All(train.rows()), validation: all.clone() }).collect();
        let known = |lane: usize| range::require(lane < lanes, "lane of rows", lane, &format!("below {lanes}"));
        for (lane, rows) in &self.train_rows {
            known(*lane)?;
            made[*lane].train = Rows::of("training", *lane, rows, train)?;
        }
        for (lane, rows) in &self.validation_rows {
            known(*lane)?;
            made[*lane].validation = Rows::of("validation", *lane, rows, validation.unwrap_or(train))?;
        }
        Ok(made)
    }
}
