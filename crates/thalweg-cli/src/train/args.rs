//! The options of `thalweg train`.

use crate::Usage;
use crate::data::{Data, DataArgs};
use crate::engine::EngineArgs;
use crate::keep::KeepArgs;
use crate::model::ModelArgs;
use crate::numbers::{real, whole};
use crate::out::Out;
use crate::recipe::RecipeArgs;
use crate::report::note;
use crate::score::{Aim, Measures};
use crate::settings::Scheduled;
use crate::{rates, settings};
use anyhow::Result;
use serde_json::{Map, Value, json};
use std::path::PathBuf;
use thalweg::data::Scaler;
use thalweg::train::EarlyStopping;
use thalweg::{AnyRule, range};

/// Passes over the data unless said otherwise.
pub const EPOCHS: usize = 40;

/// More threads than any machine has cores.
pub const MAX_THREADS: u64 = 1024;

const EXAMPLES: &str = "\
Examples:
  thalweg train
  thalweg train --data iris.csv --target species --rule sgd --lr 0.1 --set momentum=0.9
  thalweg train --data mnist/ --model cnn --epochs 5 --out run --json
  thalweg train --data houses.csv --target price --val-split 0.2 --patience 20 --epochs 500
  thalweg train --data signals.csv --model lstm --step-columns 3
  thalweg train --model layers.toml

  thalweg train --checkpoint run --every 500 --save model.safetensors
  thalweg train --resume run --epochs 80
  thalweg train --resume run --until 730 --watch 0.weight

A model's file has a table [[layers]] for each layer, in order:
  [[layers]]
  kind = \"conv2d\"
  outputs = 16
  kernel = 3
  padding = \"same\"
  [[layers]]
  kind = \"relu\"
  [[layers]]
  kind = \"flatten\"
  [[layers]]
  kind = \"linear\"
Kinds are linear, conv1d, conv2d, max_pool1d, max_pool2d, avg_pool1d, avg_pool2d, global_avg_pool, global_max_pool, batch_norm, layer_norm,
rms_norm, group_norm, instance_norm, dropout, channel_dropout, relu, leaky_relu, elu, gelu, gelu_tanh, silu, tanh, sigmoid, softplus, flatten,
reshape, residual, rnn, lstm, gru, last_step, mean_of_steps, attention, transformer_block, positions, augment. Settings are those of
PyTorch, whose names are understood; a layer finds its inputs by itself, and the last one its outputs.

--out DIR holds metrics.csv, a line per epoch; curve.svg; confusion.svg, or predictions.svg where numbers are learned, of the test rows in
the end; and run.json with command, settings and result. Earlier files there are replaced once the first epoch is done. Ctrl-C, SIGTERM and
SIGHUP end the run after a step, with its files written.";

/// Train a model, by default a perceptron on the handwritten digits that are part of the program
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    pub data: DataArgs,

    /// The part of the training rows that is kept back to validate on, of each class as much: epochs are compared by it, and
    /// the test rows are looked at once, at the end [default: none, so that the test rows validate; with --patience 0.2]
    #[arg(long, value_name = "X", value_parser = real, allow_negative_numbers = true)]
    pub val_split: Option<f64>,

    /// End when so many epochs in a row had no better accuracy, or R², on the validation rows than the best before, and keep
    /// the best
    #[arg(long, value_name = "N", value_parser = whole::<u64>(1..=u32::MAX.into()), allow_negative_numbers = true)]
    pub patience: Option<u64>,

    /// Regression: learn the numbers as they are. Otherwise they are brought to a mean of 0 and a deviation of 1 on the
    /// training rows; what is told and predicted is in their own units all the same
    #[arg(long)]
    pub raw_targets: bool,

    #[command(flatten)]
    pub engine: EngineArgs,

    #[command(flatten)]
    pub recipe: RecipeArgs,

    /// Passes over the training data
    #[arg(long, value_name = "N", default_value_t = EPOCHS, value_parser = whole::<usize>(1..=u32::MAX.into()), allow_negative_numbers = true)]
    pub epochs: usize,

    /// Rows per step
    #[arg(long, aliases = ["batch-size", "batch_size"], value_name = "N", default_value_t = 64, value_parser = whole::<usize>(1..=u64::MAX), allow_negative_numbers = true)]
    pub batch: usize,

    /// Leave out the rows that fill no batch. Otherwise they are a last, smaller batch of each epoch
    #[arg(long)]
    pub drop_last: bool,

    #[command(flatten)]
    pub model: ModelArgs,

    /// Threads of the CPU engine [default: one per core]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MAX_THREADS), allow_negative_numbers = true)]
    pub threads: Option<usize>,

    /// Train on when the loss is no longer finite; the exit code is 1 all the same
    #[arg(long)]
    pub keep_going: bool,

    /// Decides the split, the first weights and the order of rows
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>(0..=u64::MAX), allow_negative_numbers = true)]
    pub seed: u64,

    /// Where to put tables, pictures and run.json; made if missing
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// Where --out has files already, take DIR-2, DIR-3, … instead
    #[arg(long, requires = "out")]
    pub new_dir: bool,

    #[command(flatten)]
    pub keep: KeepArgs,

    /// Say nothing on stderr but what is wrong
    #[arg(short, long)]
    pub quiet: bool,

    /// Print nothing but JSON on stdout: an object that says what is trained on what, one per epoch, and a last one with the
    /// result. Seconds are those spent in training, without loading and testing
    #[arg(long)]
    pub json: bool,

    /// Nothing is said at all, as where another command trains a model of its own.
    #[arg(skip)]
    pub silent: bool,
}

/// The part that validates where there is patience and nothing else is said.
const VAL_SPLIT: f64 = 0.2;

impl Args {
    /// Whether the options fit each other.
    pub fn check(&self) -> Result<()> {
        self.model.check()?;
        let Some(part) = self.val_split else { return Ok(()) };
        let fits = part > 0.0 && part < 1.0;
        range::require(fits, "val_split", part, "above 0 and below 1").map_err(|error| Usage(error.to_string()).into())
    }

    /// Leaves files and texts to another machine.
    pub fn tell_nothing(&mut self) {
        (self.quiet, self.json, self.silent) = (true, false, true);
        self.out = None;
        let KeepArgs { save, checkpoint, resume, tensorboard, .. } = &mut self.keep;
        [save, checkpoint, resume, tensorboard].into_iter().for_each(|file| *file = None);
    }

    /// The part of the training rows that validates, if any does.
    pub fn val_split(&self) -> Option<f64> {
        self.val_split.or(self.patience.map(|_| VAL_SPLIT))
    }

    /// When training ends early.
    pub fn stopping(&self, aim: Aim) -> Option<EarlyStopping> {
        self.patience.map(|patience| EarlyStopping { metric: aim.metric(), patience, ..Default::default() })
    }

    /// The schedule: the one that was given, or that of the kind of model.
    pub fn schedule(&self) -> Option<Scheduled> {
        self.recipe.schedule.clone().or_else(|| self.model.schedule())
    }

    /// The data of the run, not scaled; features may be indices of a table of so many rows.
    pub fn own_data(&self, indices: Option<u32>, quiet: bool) -> Result<Data> {
        self.data.load(self.seed, indices, quiet)
    }

    /// These data as the run learns from them.
    pub fn scaled(&self, data: Data, indices: Option<u32>) -> Result<(Data, Scaler)> {
        data.scaled(self.seed, self.val_split(), indices)
    }

    /// The folder of the run, if it has one.
    pub fn out(&self, measures: Measures) -> Result<Option<Out>> {
        let Some(out) = &self.out else { return Ok(None) };
        let directory = if self.new_dir { Out::free(out)? } else { out.clone() };
        if directory != *out {
            note(&format!("{} has files; this run writes into {}", out.display(), directory.display()));
        }
        Out::new(&directory, measures).map(Some)
    }

    /// Everything that was asked for, with defaults.
    pub fn settings(&self, rule: &dyn AnyRule, others: Option<&dyn AnyRule>, batch: usize) -> Map<String, Value> {
        let settings = |rule: &dyn AnyRule| {
            let mut rule = rule.boxed();
            let all: Vec<_> = rule.settings().into_iter().map(|(key, mut value)| (key, Some(value.text().write()))).collect();
            settings::object(&all)
        };
        let object = json!({
            "rule": rule.name(),
            "settings": settings(rule),
            "others": others.map(|rule| json!({ "rule": rule.name(), "settings": settings(rule) })),
            "lr": rates::lr(rule),
            "clip_norm": self.recipe.clip_norm,
            "state": self.recipe.state.name(),
            "epochs": self.epochs,
            "batch": batch,
            "drop_last": self.drop_last,
            "model": self.model.model.name(),
            "hidden": self.model.hidden(),
            "activation": self.model.activation().layer(),
            "dropout": self.model.dropout(),
            "augment": self.model.augment.layer(),
            "val_split": self.val_split(),
            "patience": self.patience,
            "raw_targets": self.raw_targets,
            "seed": self.seed,
            "threads": self.threads,
        });
        if let Value::Object(object) = object { object } else { Map::new() }
    }
}
