//! The options of `thalweg sweep`.

use super::metric::Metric;
use crate::Usage;
use crate::data::DataArgs;
use crate::engine::EngineArgs;
use crate::model::ModelArgs;
use crate::numbers::{real, whole};
use crate::recipe::RecipeArgs;
use crate::score::Aim;
use crate::train::MAX_THREADS;
use clap::ValueEnum;
use serde_json::{Value, json};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  thalweg sweep --space lr=log:1e-4:1e-1
  thalweg sweep --space lr=log:1e-4:1e-1 --space rule=choice:adam,sgd --space 'momentum=uniform:0:0.95 if rule=sgd' --sampler tpe
  thalweg sweep --space lr=log:1e-4:1e-1 --space hidden=choice:32,64,128 --strategy hyperband --trials 256 --folds 5 --out run
  thalweg sweep --preset rules --out rules

Domains: uniform:0:0.9, log:1e-4:1e-1, int:1:4, int:32:256:32, logint:8:512, step:0:0.5:0.1, choice:adam,sgd, fixed:0.9.
Names: every setting of a rule (`thalweg rules`), rule, batch, hidden (the width of a layer), layers (how many hidden layers have it),
activation, clip_norm, schedule (such as choice:none,cosine or fixed:cosine:warmup=50), dropout,
shift, crop, flip and noise (how much images are changed while training), others.lr and the like (settings of --others).

A config file has the options by name, and a table of the space:
  strategy = \"hyperband\"
  trials = 256
  [space]
  lr = \"log:1e-4:1e-1\"
  rule = \"choice:adam,rmsprop,sgd\"

--out DIR holds trials.csv and trials.jsonl, with lines for each trial, fold, seed and rung, of which the last one counts; curves.csv, the
training loss by epoch; run.json; and pictures. The column `steps` counts epochs, or steps with --steps. Lines are written as they come:
Ctrl-C, SIGTERM, SIGHUP and a kill lose none of them, and --resume goes on.";

/// Search for the settings of a training run: rule, rates, sizes; on the data and models of `train`
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A TOML file with these options; options on the command line override it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// A parameter to search and its values, such as `lr=log:1e-4:1e-1`, or `momentum=uniform:0:0.9 if rule=sgd`; may be
    /// repeated
    #[arg(long = "space", value_name = "NAME=DOMAIN")]
    pub space: Vec<String>,

    /// A ready-made sweep: `lr-scan` trains with each rate of a grid for a short time; `rules` compares all rules, each at
    /// several rates and from several seeds; `seeds` trains the given settings from many seeds
    #[arg(long, value_enum, value_name = "lr-scan|rules|seeds", hide_possible_values = true)]
    pub preset: Option<Preset>,

    /// lr-scan: vary the rate of one group of tensors after the other (see --others), while the other keeps its own
    #[arg(long)]
    pub groups: bool,

    /// How points are chosen
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "random|grid|latin|sobol|tpe")]
    pub sampler: Sampler,

    /// How many values the grid takes of a parameter whose values cannot be counted
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = whole::<usize>(1..=1 << 20), allow_negative_numbers = true)]
    pub grid_values: usize,

    /// Which trials go on: all (plain); the best of each rung (halving), or of the rungs of several brackets (hyperband); those
    /// that are not worse than the median of others (median), that still improve (patience), or that are not clearly worse over
    /// the folds (folds). With population, losers copy winners and change their settings a little
    #[arg(
        long,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        value_name = "plain|halving|hyperband|median|patience|folds|population"
    )]
    pub strategy: Strategy,

    /// The number of trials
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = whole::<usize>(1..=1 << 20), allow_negative_numbers = true)]
    pub trials: usize,

    /// How many trials are drawn at a time, before the sampler knows their results; halving, hyperband and population draw all
    /// at once
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = whole::<usize>(1..=1 << 20), allow_negative_numbers = true)]
    pub ask: usize,

    /// Settings to try first, such as `lr=0.01,rule=adam`; missing ones are sampled; may be repeated
    #[arg(long, value_name = "NAME=VALUE,…")]
    pub first: Vec<String>,

    /// Cross-validate each trial with N folds of the training data, those of scikit-learn's StratifiedKFold; 0: train on all of
    /// the training data and validate on the test data. Tables are standardised by the training rows of each fold, but
    /// --missing mean fills cells with the mean of all training rows
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<u64>(0..=1 << 20), allow_negative_numbers = true)]
    pub folds: u64,

    /// The most trainings at a time, as lanes of one program; further ones wait, which changes no result [default: 64, or fewer
    /// if memory is short]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=1 << 20), allow_negative_numbers = true)]
    pub lanes: Option<usize>,

    /// With folds: leave out the last run, which trains the best settings on all training data and tests the model
    #[arg(long)]
    pub no_refit: bool,

    /// With folds: train the best settings on each fold once more, and write out_of_fold.csv: for each training row its label
    /// and the probabilities by a model that has not seen it
    #[arg(long, requires = "out")]
    pub out_of_fold: bool,

    /// Train the best settings once more as `train` does, on all training data, and write the model into this file, for
    /// `predict` and `evaluate`
    #[arg(long, value_name = "FILE", conflicts_with = "steps")]
    pub save_best: Option<PathBuf>,

    /// Train the settings of the N best trials on all training data, and test the mean of the models' probabilities; 0: none
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = whole::<usize>(0..=1 << 20), allow_negative_numbers = true)]
    pub ensemble: usize,

    /// Train each trial from N seeds: --seed and the numbers after it
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>(1..=1 << 20), allow_negative_numbers = true)]
    pub seeds: u64,

    /// What is compared on the validation data: the accuracy or the loss of classes; R², the loss, the mean absolute error or
    /// the root mean squared error of numbers [default: accuracy, or r2]
    #[arg(long, value_enum, hide_possible_values = true, value_name = "accuracy|loss|r2|mae|rmse")]
    pub metric: Option<Metric>,

    /// Passes over the training data for a trial that is trained to the end; schedules have this length
    #[arg(long, value_name = "N", default_value_t = 27, value_parser = whole::<u64>(1..=u32::MAX.into()), allow_negative_numbers = true)]
    pub epochs: u64,

    /// Steps of a trial that is trained to the end, instead of --epochs; --min-epochs, --every, --grace and the column `steps`
    /// of the tables then count steps too
    #[arg(long, value_name = "N", conflicts_with = "epochs", value_parser = whole::<u64>(1..=1 << 48), allow_negative_numbers = true)]
    pub steps: Option<u64>,

    /// Halving, hyperband: the fewest epochs of a first rung
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>(1..=u32::MAX.into()), allow_negative_numbers = true)]
    pub min_epochs: u64,

    /// Halving, hyperband: one of N trials goes on to the next rung, which has N times the epochs
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = whole::<u64>(2..=1 << 20), allow_negative_numbers = true)]
    pub eta: u64,

    /// Median, patience, population: epochs between two looks; --epochs has to be a multiple
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>(1..=u32::MAX.into()), allow_negative_numbers = true)]
    pub every: u64,

    /// Patience: how many looks in a row may be no better than the best before them
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = whole::<usize>(0..=u32::MAX.into()), allow_negative_numbers = true)]
    pub patience: usize,

    /// Median: no trial is stopped before this many epochs
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>(0..=u32::MAX.into()), allow_negative_numbers = true)]
    pub grace: u64,

    /// Population: the share of members that lose, and of those that win
    #[arg(long, value_name = "X", default_value_t = 0.25, value_parser = real, allow_negative_numbers = true)]
    pub quantile: f64,

    #[command(flatten)]
    pub recipe: RecipeArgs,

    #[command(flatten)]
    pub model: ModelArgs,

    /// Rows per step
    #[arg(long, aliases = ["batch-size", "batch_size"], value_name = "N", default_value_t = 64, value_parser = whole::<usize>(1..=u64::MAX), allow_negative_numbers = true)]
    pub batch: usize,

    /// Leave out the rows that do not fill a batch. Otherwise each epoch ends with a smaller batch of them
    #[arg(long)]
    pub drop_last: bool,

    #[command(flatten)]
    pub data: DataArgs,

    #[command(flatten)]
    pub engine: EngineArgs,

    /// Threads of the CPU engine [default: one per core]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MAX_THREADS), allow_negative_numbers = true)]
    pub threads: Option<usize>,

    /// Seed of the points, the split, the folds, the start values of weights and the order of rows
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>(0..=u32::MAX.into()), allow_negative_numbers = true)]
    pub seed: u64,

    /// A folder for the tables, run.json and the pictures; made if missing
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,

    /// If --out has files already, use DIR-2, DIR-3, … instead
    #[arg(long, requires = "out", conflicts_with = "resume")]
    pub new_dir: bool,

    /// Resume the sweep in --out from its table
    #[arg(long, requires = "out")]
    pub resume: bool,

    /// Print only warnings and errors on stderr
    #[arg(short, long)]
    pub quiet: bool,

    /// Print only JSON on stdout: an object with the settings and data, the lines of trials.jsonl as they come, and a last
    /// object with the result
    #[arg(long)]
    pub json: bool,

    /// The options of the data, as they were given.
    #[arg(skip)]
    pub of_data: Vec<String>,

    /// The options of the engine, as they were given.
    #[arg(skip)]
    pub of_engine: Vec<String>,
}

/// The choices of `--preset`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    LrScan,
    Rules,
    Seeds,
}

/// The choices of `--sampler`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Sampler {
    #[default]
    Random,
    Grid,
    Latin,
    Sobol,
    Tpe,
}

/// The choices of `--strategy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum Strategy {
    #[default]
    Plain,
    Halving,
    Hyperband,
    Median,
    Patience,
    Folds,
    Population,
}

/// The name of a choice on the command line.
pub fn chosen(choice: &impl ValueEnum) -> String {
    choice.to_possible_value().map_or(String::new(), |value| value.get_name().into())
}

impl Args {
    /// Epochs or steps of a trial that is trained to the end.
    pub fn budget(&self) -> u64 {
        self.steps.unwrap_or(self.epochs)
    }

    /// What is compared. It is known once the data are, and until then only whether much of it is good.
    pub fn metric(&self) -> Metric {
        self.metric.unwrap_or(Metric::Accuracy)
    }

    /// Settles what is compared on data with such a task.
    pub fn settle_metric(&mut self, aim: Aim) -> Result<(), Usage> {
        let metric = self.metric.unwrap_or(Metric::of(aim));
        if !metric.fits(aim) {
            let text = format!("--metric {}: the task is {}, which does not measure it", metric.name(), aim.task());
            return Err(Usage(text));
        }
        self.metric = Some(metric);
        Ok(())
    }

    /// What a trial's length is counted in.
    pub fn unit(&self) -> &'static str {
        if self.steps.is_some() { "steps" } else { "epochs" }
    }

    /// Everything that the results depend on, by name, for run.json. A resumed sweep must have the same.
    pub fn settings(&self) -> Value {
        let pairs: Vec<String> = self.recipe.pairs().iter().map(|pair| format!("{}={}", pair.key, pair.value)).collect();
        json!({
            "preset": self.preset.as_ref().map(chosen),
            "sampler": chosen(&self.sampler),
            "grid_values": self.grid_values,
            "strategy": chosen(&self.strategy),
            "trials": self.trials,
            "ask": self.ask,
            "first": self.first,
            "folds": self.folds,
            "seeds": self.seeds,
            "metric": self.metric().name(),
            "epochs": if self.steps.is_some() { None } else { Some(self.epochs) },
            "steps": self.steps,
            "min_epochs": self.min_epochs,
            "eta": self.eta,
            "every": self.every,
            "patience": self.patience,
            "grace": self.grace,
            "quantile": self.quantile,
            "rule": self.recipe.rule,
            "set": pairs,
            "others": self.recipe.others.as_ref().map(ToString::to_string),
            "schedule": self.recipe.schedule.as_ref().map(ToString::to_string),
            "clip_norm": self.recipe.clip_norm,
            "state": self.recipe.state.name(),
            "model": self.model.model.name(),
            "hidden": self.model.hidden(),
            "activation": self.model.activation().layer(),
            "dropout": self.model.dropout(),
            "augment": self.model.augment.layer(),
            "batch": self.batch,
            "drop_last": self.drop_last,
            "seed": self.seed,
        })
    }
}
