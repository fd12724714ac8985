//! `thalweg train`: from arguments to a trained perceptron.

use crate::data::{self, Data, DataArgs};
use crate::engine::{EngineArgs, Picked};
use crate::numbers::{real, whole};
use crate::out::Out;
use crate::rates::{self, Follower};
use crate::record::Record;
use crate::report::{Epoch, Report, Voice, note};
use crate::settings::{self, Pair, Pairs, Scheduled};
use crate::{Interrupted, Usage, limits, memory, stop};
use anyhow::{Result, bail};
use clap::ValueEnum;
use serde_json::{Map, Value, json};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use thalweg::data::Dataset;
use thalweg::nn::Network;
use thalweg::plan::{Activation, Engine};
use thalweg::{AdamW, AnyRule, Batch, Memory, Recipe, Select, Trainer, range};

/// More is a slip of the finger: two such layers have four thousand million weights.
const MAX_WIDTH: u64 = 1 << 16;

/// More threads than any machine has cores.
const MAX_THREADS: u64 = 1024;

const EXAMPLES: &str = "\
Examples:
  thalweg train
  thalweg train --data iris.csv --target species --rule sgd --lr 0.1 --set momentum=0.9
  thalweg train --data mnist/ --schedule cosine,warmup=100 --epochs 10 --out run --json

--out DIR holds metrics.csv, a line per epoch; curve.svg; and run.json with command, settings and result. Earlier files there are replaced
once the first epoch is done. Ctrl-C, SIGTERM and SIGHUP end the run after a step, with its files written.";

/// Train a perceptron, by default on the handwritten digits that are part of the program
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    engine: EngineArgs,

    #[arg(long, alias = "optimizer", value_name = "NAME", default_value = "adamw", help = rules())]
    rule: String,

    /// Settings of the rule, such as `beta1=0.8,eps=1e-7`, for which `thalweg rules NAME` has names and defaults; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE,…")]
    settings: Vec<Pairs>,

    /// The rule of vectors, which are biases here, and its settings, such as `adamw,weight_decay=0` [default: that of --rule, or AdamW
    /// where that one takes matrices alone]
    #[arg(long, value_name = "NAME[,KEY=VALUE…]")]
    others: Option<Scheduled>,

    /// Learning rate, short for --set lr=X [default: the rule's own]
    #[arg(long, aliases = ["learning-rate", "learning_rate"], value_name = "X", value_parser = real, allow_negative_numbers = true)]
    lr: Option<f64>,

    /// Weight decay, short for --set weight_decay=X [default: the rule's own]
    #[arg(long, aliases = ["weight_decay", "wd"], value_name = "X", value_parser = real, allow_negative_numbers = true)]
    weight_decay: Option<f64>,

    /// A factor on the learning rate that changes with the step, such as `cosine` or `one_cycle,pct_start=0.2`. Lengths that are not
    /// given follow from the run: `steps` is all of it after a warm-up, `decay` of wsd a fifth, `up` of cyclic a quarter. `plateau` goes by the loss on the test data instead.
    /// `thalweg schedules` lists them [default: none]
    #[arg(long, value_name = "NAME[,KEY=VALUE…]")]
    schedule: Option<Scheduled>,

    /// Scale gradients down to this global norm [default: no clipping]
    #[arg(long, value_name = "X", value_parser = real, allow_negative_numbers = true)]
    clip_norm: Option<f64>,

    /// Passes over the training data
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = whole::<usize>(1..=u32::MAX.into()), allow_negative_numbers = true)]
    epochs: usize,

    /// Rows per step
    #[arg(long, aliases = ["batch-size", "batch_size"], value_name = "N", default_value_t = 64, value_parser = whole::<usize>(1..=u64::MAX), allow_negative_numbers = true)]
    batch: usize,

    /// Leave out the rows that fill no batch. Otherwise they are a last, smaller batch of each epoch
    #[arg(long)]
    drop_last: bool,

    /// Widths of the hidden layers
    #[arg(
        long,
        value_name = "N,N,…",
        default_value = "128,64",
        value_delimiter = ',',
        value_parser = whole::<usize>(1..=MAX_WIDTH),
        allow_negative_numbers = true
    )]
    hidden: Vec<usize>,

    /// What follows each hidden layer
    #[arg(long, value_enum, default_value_t, hide_possible_values = true, value_name = "relu|gelu|tanh")]
    activation: Nonlinearity,

    /// Threads of the CPU engine [default: one per core]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MAX_THREADS), allow_negative_numbers = true)]
    threads: Option<usize>,

    /// Train on when the loss is no longer finite; the exit code is 1 all the same
    #[arg(long)]
    keep_going: bool,

    /// Decides the split, the first weights and the order of rows
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>(0..=u64::MAX), allow_negative_numbers = true)]
    seed: u64,

    /// Where to put metrics.csv, curve.svg and run.json; made if missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Where --out has files already, take DIR-2, DIR-3, … instead
    #[arg(long, requires = "out")]
    new_dir: bool,

    /// Say nothing on stderr but what is wrong
    #[arg(short, long)]
    quiet: bool,

    /// Print nothing but JSON on stdout: an object that says what is trained on what, one per epoch, and a last one with the result.
    /// Seconds are those spent in training, without loading and testing
    #[arg(long)]
    json: bool,
}

/// The choices of `--activation`.
#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum Nonlinearity {
    #[default]
    Relu,
    Gelu,
    Tanh,
}

impl Nonlinearity {
    fn activation(self) -> Activation {
        match self {
            Self::Relu => Activation::Relu,
            Self::Gelu => Activation::Gelu,
            Self::Tanh => Activation::Tanh,
        }
    }
}

/// How training ended.
enum End {
    Done,
    Stopped(i32),
    NotFinite,
}

/// Runs the command.
pub fn run(mut args: Args) -> Result<()> {
    let rule = rule(&args)?;
    let others = others(&*rule, &args)?;
    let recipe = recipe(&*rule, others.as_deref(), &args)?;
    args.engine.check(args.threads)?;
    let named = args.schedule.take().map(Scheduled::named).transpose();
    args.schedule = named.map_err(|error| Usage(error.to_string()))?;
    stop::listen()?;
    let Data { train, test, read } = args.data.load(args.seed, args.quiet)?;
    let batch = Batch { rows: args.batch.min(train.rows()), drop_last: args.drop_last };
    let shape = Shape { inputs: train.width, hidden: &args.hidden, outputs: train.classes };
    let cells = train.features.len() + test.features.len();
    shape.check_memory(&*rule, batch.rows, cells, args.data.memory())?;
    let steps_per_epoch = batch.steps(train.rows());
    // Less than 2⁶⁴: there are less than 2³² rows, and no more epochs.
    let steps = args.epochs as u64 * steps_per_epoch as u64;
    let groups: Vec<(&str, &dyn AnyRule)> =
        std::iter::once((DEFAULT, &*rule)).chain(others.as_deref().map(|rule| (OTHERS, rule))).collect();
    let (recipe, mut follower, rates) = rates::scheduled(recipe, &groups, args.schedule.as_ref(), (steps, args.epochs))?;
    let out = args.out()?;
    let engine = args.engine.pick(args.quiet, args.threads)?;
    let network = Network::perceptron(train.width, &args.hidden, train.classes, args.activation.activation())?;
    let parameters = network.arena()?.tensors().iter().map(|tensor| tensor.len()).sum();
    let lr = rates::lr(&*rule);
    let run = data::Run { steps_per_epoch, batch: batch.rows, parameters, rule: rule.name(), lr, engine: engine.name() };
    let settings = args.settings(&*rule, others.as_deref(), batch.rows);
    let data = data::Summary { read, run };
    let mut record = Record { settings, data, rates, engine: engine.name(), adapter: engine.adapter(), best: None };
    let mut report = Report::new(Voice::new(args.json, args.quiet), args.epochs, out);
    let work = Work { args: &args, network: &network, recipe, batch, train: &train, test: &test };
    let mut last = None;
    let ended = match &engine {
        Picked::Gpu(gpu) => work.fit(&**gpu, follower.as_mut(), &mut record, &mut report, &mut last),
        Picked::Cpu(cpu) => work.fit(cpu, follower.as_mut(), &mut record, &mut report, &mut last),
    };
    report.close();
    finish(ended.map_err(|error| limits::explain(error, &shape.widths(), batch.rows)), &record, &mut report, last)
}

/// Says and writes how a run ended. The result comes before the files.
fn finish(ended: Result<End>, record: &Record, report: &mut Report, last: Option<Epoch>) -> Result<()> {
    let printed = match (&ended, &last) {
        (Ok(End::Done), Some(last)) => report.result(record, last),
        _ => Ok(()),
    };
    let state = match &ended {
        Ok(End::Stopped(_)) => "interrupted",
        Ok(_) if last.is_some_and(|last| !last.is_finite()) => "not finite",
        Ok(_) => "finished",
        Err(_) => "failed",
    };
    let written = report.files(record, state, last.as_ref());
    match ended? {
        End::Stopped(signal) => bail!(Interrupted { epochs: last.map_or(0, |last| last.epoch), signal }),
        End::NotFinite => bail!("{}; --keep-going trains on all the same", not_finite(record, last)),
        End::Done => {}
    }
    printed?;
    written?;
    if last.is_some_and(|last| !last.is_finite()) { bail!("{}", not_finite(record, last)) } else { Ok(()) }
}

/// At which epoch and rate a run went astray, and what to try.
fn not_finite(record: &Record, last: Option<Epoch>) -> String {
    let (epoch, steps) = last.map_or((0, 1), |last| (last.epoch, last.steps));
    let rate = record.rates.at(steps.saturating_sub(1) as u64).map(|rate| format!(" at a rate of {}", data::short(rate)));
    let rate = rate.unwrap_or_default();
    format!("the loss is not finite after epoch {epoch}{rate}: try a smaller --lr, or --clip-norm 1")
}

/// What is trained on what.
struct Work<'a> {
    args: &'a Args,
    network: &'a Network,
    recipe: Recipe,
    batch: Batch,
    train: &'a Dataset,
    test: &'a Dataset,
}

impl Work<'_> {
    /// Trains to the end. `last` is the last whole epoch.
    fn fit<E: Engine>(
        self,
        engine: &E,
        mut follower: Option<&mut Follower>,
        record: &mut Record,
        report: &mut Report,
        last: &mut Option<Epoch>,
    ) -> Result<End> {
        let Self { args, network, recipe, batch, train, test } = self;
        let mut trainer = Trainer::new(engine, network, recipe, train, test, batch, args.seed)?;
        if let Some(follower) = &follower {
            follower.set(&mut trainer)?;
        }
        report.data(&record.data.clone(), record)?;
        report.start(trainer.steps_per_epoch());
        let mut spent = Duration::ZERO;
        for epoch in 1..=args.epochs {
            let start = Instant::now();
            let train = trainer.epoch(|_| {
                report.step();
                if stop::asked().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?[0];
            spent += start.elapsed();
            if let Some(signal) = stop::asked() {
                return Ok(End::Stopped(signal));
            }
            let test = trainer.evaluate()?[0];
            let done = Epoch { epoch, train, test, steps: trainer.steps(), seconds: spent.as_secs_f64() };
            record.epoch(done);
            *last = Some(done);
            report.epoch(done, record)?;
            if !done.is_finite() && !args.keep_going {
                return Ok(End::NotFinite);
            }
            if let Some(follower) = &mut follower {
                follower.epoch(&mut trainer, test.loss)?;
            }
        }
        Ok(End::Done)
    }
}

impl Args {
    /// The folder of the run, if it has one.
    fn out(&self) -> Result<Option<Out>> {
        let Some(out) = &self.out else { return Ok(None) };
        let directory = if self.new_dir { Out::free(out)? } else { out.clone() };
        if directory != *out {
            note(&format!("{} has files; this run writes into {}", out.display(), directory.display()));
        }
        Out::new(&directory).map(Some)
    }

    /// Everything that was asked for, with defaults.
    fn settings(&self, rule: &dyn AnyRule, others: Option<&dyn AnyRule>, batch: usize) -> Map<String, Value> {
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
            "clip_norm": self.clip_norm,
            "epochs": self.epochs,
            "batch": batch,
            "drop_last": self.drop_last,
            "hidden": self.hidden,
            "activation": format!("{:?}", self.activation).to_lowercase(),
            "seed": self.seed,
            "threads": self.threads,
        });
        if let Value::Object(object) = object { object } else { Map::new() }
    }
}

/// The widths of a perceptron.
struct Shape<'a> {
    inputs: usize,
    hidden: &'a [usize],
    outputs: usize,
}

impl Shape<'_> {
    fn widths(&self) -> Vec<usize> {
        [self.inputs].iter().chain(self.hidden).chain([&self.outputs]).copied().collect()
    }

    /// Refuses a network that does not fit into memory with its data, before any of it is made.
    fn check_memory(&self, rule: &dyn AnyRule, batch: usize, cells: usize, limit: Option<u64>) -> Result<()> {
        let widths: Vec<u128> =
            [self.inputs].iter().chain(self.hidden).chain([&self.outputs]).map(|&width| width as u128).collect();
        let parameters: u128 = widths.windows(2).map(|pair| (pair[0] + 1) * pair[1]).sum();
        // First weights in f64 and f32, then parameters, gradients and what the rule keeps.
        let per_parameter = 8 + 4 + 4 + 4 + Memory::of(rule).bytes as u128;
        // Outputs before and after each activation and their gradients, of a batch and of an evaluation.
        let between = 4 * widths.iter().sum::<u128>() * 4 * (batch.max(256) as u128 + 256);
        // As they were read, as they are uploaded, as they lie on the device.
        let data = 3 * 4 * cells as u128;
        let needed = parameters * per_parameter + between + data;
        let hidden: Vec<String> = self.hidden.iter().map(usize::to_string).collect();
        let what =
            format!("a network of {parameters} parameters (--hidden {}) with {} and its data", hidden.join(","), rule.name());
        memory::check(&what, needed, limit)
    }
}

/// The help on `--rule`.
fn rules() -> String {
    let names: Vec<&str> = thalweg::rules().iter().map(|rule| rule.name()).collect();
    format!("The update rule: {}", names.join(", "))
}

/// The rule with the given settings. All that can be wrong with them is wrong usage.
fn rule(args: &Args) -> Result<Box<dyn AnyRule>> {
    let short = [("lr", args.lr), ("weight_decay", args.weight_decay)];
    let pair = |(key, value): (&str, Option<f64>)| value.map(|x| Pair { key: key.into(), value: x.to_string() });
    let pairs: Vec<Pair> =
        short.into_iter().filter_map(pair).chain(args.settings.iter().flat_map(|pairs| pairs.0.clone())).collect();
    settings::rule(&args.rule, &pairs).map_err(|error| Usage(error.to_string()).into())
}

/// The groups of a recipe: what --rule is for, and vectors where they have a rule of their own.
const DEFAULT: &str = "default";
const OTHERS: &str = "others";

/// The rule of vectors, where it is not that of matrices.
fn others(rule: &dyn AnyRule, args: &Args) -> Result<Option<Box<dyn AnyRule>>> {
    match &args.others {
        Some(Scheduled { name, settings }) => {
            Ok(Some(settings::rule(name, settings).map_err(|error| Usage(error.to_string()))?))
        }
        None => Ok(rule.orthogonal().map(|_| AdamW::default().into())),
    }
}

/// The rules with what goes with them.
fn recipe(rule: &dyn AnyRule, others: Option<&dyn AnyRule>, args: &Args) -> Result<Recipe> {
    let mut recipe = Recipe::new(rule.boxed());
    if let Some(others) = others {
        recipe = recipe.group_of(OTHERS, Select::Below(2), others.boxed());
    }
    let Some(norm) = args.clip_norm else { return Ok(recipe) };
    range::positive("clip_norm", norm).map_err(|error| Usage(error.to_string()))?;
    Ok(recipe.clip_norm(norm))
}
