//! `thalweg train`: from arguments to a trained perceptron.

use crate::data::{self, Data, DataArgs};
use crate::engine::{EngineArgs, Picked};
use crate::keep::{About, KeepArgs, Keeper, columns_json};
use crate::model::{ModelArgs, Shape};
use crate::numbers::whole;
use crate::out::Out;
use crate::past::{Past, Watch};
use crate::rates::{self, Follower};
use crate::recipe::{DEFAULT, OTHERS, RecipeArgs, recipe};
use crate::record::Record;
use crate::report::{Epoch, Report, Score, Voice, note};
use crate::resume::{Given, Resumed, command};
use crate::settings::{self, Scheduled};
use crate::tensorboard::EventFile;
use crate::{Interrupted, Usage, limits, stop};
use anyhow::{Result, bail};
use clap::FromArgMatches;
use serde_json::{Map, Value, json};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use thalweg::data::Dataset;
use thalweg::nn::Sequential;
use thalweg::plan::Engine;
use thalweg::{AnyRule, Batch, Recipe, Trainer};

/// Passes over the data by default.
pub const EPOCHS: usize = 40;

/// More threads than any machine has cores.
pub const MAX_THREADS: u64 = 1024;

const EXAMPLES: &str = "\
Examples:
  thalweg train
  thalweg train --data iris.csv --target species --rule sgd --lr 0.1 --set momentum=0.9
  thalweg train --data mnist/ --schedule cosine,warmup=100 --epochs 10 --out run --json

  thalweg train --checkpoint run --every 500 --save model.safetensors
  thalweg train --resume run --epochs 80
  thalweg train --resume run --until 730 --watch 0.weight

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

    #[command(flatten)]
    pub recipe: RecipeArgs,

    /// Passes over the training data
    #[arg(long, value_name = "N", default_value_t = EPOCHS, value_parser = whole::<usize>(1..=u32::MAX.into()), allow_negative_numbers = true)]
    pub epochs: usize,

    /// Rows per step
    #[arg(long, aliases = ["batch-size", "batch_size"], value_name = "N", default_value_t = 64, value_parser = whole::<usize>(1..=u64::MAX), allow_negative_numbers = true)]
    batch: usize,

    /// Leave out the rows that do not fill a batch. Otherwise each epoch ends with a smaller batch of them
    #[arg(long)]
    drop_last: bool,

    #[command(flatten)]
    pub model: ModelArgs,

    /// Threads of the CPU engine [default: one per core]
    #[arg(long, value_name = "N", value_parser = whole::<usize>(1..=MAX_THREADS), allow_negative_numbers = true)]
    threads: Option<usize>,

    /// Go on when the loss is no longer finite; the exit code is 1 nevertheless
    #[arg(long)]
    keep_going: bool,

    /// Seed of the split, the start values of weights and the order of rows
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = whole::<u64>(0..=u64::MAX), allow_negative_numbers = true)]
    seed: u64,

    /// A folder for metrics.csv, curve.svg and run.json; made if missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// If --out has files already, use DIR-2, DIR-3, … instead
    #[arg(long, requires = "out")]
    new_dir: bool,

    #[command(flatten)]
    keep: KeepArgs,

    /// Print only warnings and errors on stderr
    #[arg(short, long)]
    quiet: bool,

    /// Print only JSON on stdout: an object for data and run, one for each epoch, and a last one with the result. Seconds are
    /// those of training, without loading and testing
    #[arg(long)]
    json: bool,

    /// Prints nothing, for another command that trains a model.
    #[arg(skip)]
    silent: bool,
}

/// How training ended.
enum End {
    Done,
    Stopped(i32),
    NotFinite,
}

/// Runs the command.
pub fn run(args: Args, given: Given) -> Result<()> {
    let Some(path) = args.keep.resume.clone() else { return train(args, &given, None) };
    // With --watch there has to be at least one step after the checkpoint.
    let latest = args.keep.until.map(|until| until - u64::from(!args.keep.watch.is_empty()));
    let (resumed, args, given) = Resumed::open(&path, latest, &given)?;
    train(args, &given, Some(resumed))
}

/// Trains with these options of the command, and prints only warnings and errors.
pub fn silently(arguments: &[String]) -> Result<()> {
    let matches = command().no_binary_name(true).try_get_matches_from(arguments)?;
    let args = Args { silent: true, quiet: true, ..Args::from_arg_matches(&matches)? };
    train(args, &Given::of(&matches), None)
}

fn train(mut args: Args, given: &Given, resumed: Option<Resumed>) -> Result<()> {
    let rule = args.recipe.rule()?;
    let others = args.recipe.others(&*rule)?;
    let recipe = recipe(&*rule, others.as_deref(), args.recipe.clip_norm, args.recipe.state)?;
    args.engine.check(args.threads)?;
    let named = args.recipe.schedule.take().map(Scheduled::named).transpose();
    args.recipe.schedule = named.map_err(|error| Usage(error.to_string()))?;
    stop::listen()?;
    let (Data { train, test, read }, scaler) = args.data.load(args.seed, args.quiet)?;
    let batch = Batch { rows: args.batch.min(train.rows()), drop_last: args.drop_last };
    let shape = Shape { inputs: train.width, hidden: &args.model.hidden, outputs: train.classes };
    let cells = train.features.len() + test.features.len();
    shape.check_memory(&*rule, batch.rows, cells, args.data.memory())?;
    let steps_per_epoch = batch.steps(train.rows());
    // Less than 2⁶⁴: there are less than 2³² rows, and no more epochs.
    let steps = args.epochs as u64 * steps_per_epoch as u64;
    let goal = args.keep.until.unwrap_or(steps);
    let past = resumed.as_ref().map(|resumed| Past::of(resumed, given, &args, (&train, &test), (goal, steps))).transpose()?;
    let groups: Vec<(&str, &dyn AnyRule)> =
        std::iter::once((DEFAULT, &*rule)).chain(others.as_deref().map(|rule| (OTHERS, rule))).collect();
    let (recipe, mut follower, rates) = rates::scheduled(recipe, &groups, args.recipe.schedule.as_ref(), (steps, args.epochs))?;
    let out = args.out()?;
    let engine = args.engine.pick(args.quiet, args.threads)?;
    let model = args.model.perceptron(train.width, train.classes);
    // It fits into memory.
    let parameters = shape.parameters() as usize;
    let lr = rates::lr(&*rule);
    let run = data::Run { steps_per_epoch, batch: batch.rows, parameters, rule: rule.name(), lr, engine: engine.name() };
    let settings = args.settings(&*rule, others.as_deref(), batch.rows);
    let form = read.form.clone();
    let data = data::Summary { read, run };
    let mut record = Record { settings, data, rates, engine: engine.name(), adapter: engine.adapter(), best: None };
    let epochs = args.keep.until.map_or(args.epochs, |until| until.div_ceil(steps_per_epoch.max(1) as u64) as usize);
    let mut report = Report::new(if args.silent { Voice::Silent } else { Voice::new(args.json, args.quiet) }, epochs, out);
    let about = About::new(given, &train, &test, scaler, form.as_ref().map(columns_json));
    if let Some(past) = &past {
        past.check_engine(engine.name(), args.quiet);
    }
    let start = past.as_ref().map_or(0, Past::steps);
    let mut keeper = Keeper::new(&args.keep, about, start)?;
    let events = args.keep.tensorboard.as_ref().map(|folder| EventFile::create(folder, start)).transpose()?;
    let outputs = Outputs { report: &mut report, keeper: &mut keeper, events };
    let starts = rates::starts(&groups);
    let work = Work { args: &args, model: &model, recipe, starts, batch, train: &train, test: &test, past, goal };
    let mut last = None;
    let ended = match &engine {
        Picked::Gpu(gpu) => work.fit(&**gpu, follower.as_mut(), &mut record, outputs, &mut last),
        Picked::Cpu(cpu) => work.fit(cpu, follower.as_mut(), &mut record, outputs, &mut last),
    };
    report.close();
    let ended = ended.map_err(|error| limits::explain(error, &shape.widths(), batch.rows));
    let finished = finish(ended, &record, &mut report, last);
    // A failure to write checkpoints is reported last, and only if the run itself succeeded.
    let kept = keeper.finish();
    finished.and(kept)
}

/// Prints and writes how a run ended. The result comes before the files.
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
        End::Stopped(signal) => {
            let done = format!("{} whole epochs", last.map_or(0, |last| last.epoch));
            bail!(Interrupted { done, signal })
        }
        End::NotFinite => bail!("{}; --keep-going trains on all the same", not_finite(record, last)),
        End::Done => {}
    }
    printed?;
    written?;
    if last.is_some_and(|last| !last.is_finite()) { bail!("{}", not_finite(record, last)) } else { Ok(()) }
}

/// The error for a loss that is not finite: after which epoch, at which rate, and what to try.
fn not_finite(record: &Record, last: Option<Epoch>) -> String {
    let (epoch, steps) = last.map_or((0, 1), |last| (last.epoch, last.steps));
    let rate = record.rates.at(steps.saturating_sub(1) as u64).map(|rate| format!(" at a rate of {}", data::short(rate)));
    let rate = rate.unwrap_or_default();
    format!("the loss is not finite after epoch {epoch}{rate}: try a smaller --lr, or --clip-norm 1")
}

/// The data, the model and the last step of a run.
struct Work<'a> {
    args: &'a Args,
    model: &'a Sequential,
    recipe: Recipe,
    starts: rates::Starts,
    batch: Batch,
    train: &'a Dataset,
    test: &'a Dataset,
    past: Option<Past>,
    goal: u64,
}

/// The outputs of a run.
struct Outputs<'a> {
    report: &'a mut Report,
    keeper: &'a mut Keeper,
    events: Option<EventFile>,
}

impl Work<'_> {
    /// Trains to the end. `last` is the last whole epoch.
    fn fit<E: Engine<Float = f32>>(
        self,
        engine: &E,
        mut follower: Option<&mut Follower>,
        record: &mut Record,
        mut outputs: Outputs,
        last: &mut Option<Epoch>,
    ) -> Result<End> {
        let Self { args, model, recipe, starts, batch, train, test, past, goal } = self;
        let trainer = Trainer::builder(model, recipe).train(train).validation(test).batch(batch).seed(args.seed);
        let mut trainer = trainer.build(engine)?;
        if let Some(follower) = &follower {
            follower.set(&mut trainer)?;
        }
        outputs.report.data(&record.data.clone(), record)?;
        outputs.report.start(trainer.steps_per_epoch());
        let (mut history, mut spent) = (Vec::new(), Duration::ZERO);
        if let Some(past) = past {
            past.load(&mut trainer)?;
            if past.had_plateau {
                // A new schedule starts from the given rates, not from those that an earlier one had lowered.
                rates::set(&mut trainer, &starts, 1.0)?;
            }
            (history, spent) = (past.history, past.spent);
            history.iter().for_each(|done| {
                record.epoch(*done);
            });
            *last = history.last().copied();
            outputs.report.before(&history, trainer.steps());
            if let Some(follower) = &mut follower {
                follower.replay(history.iter().map(|epoch| epoch.test.loss));
                follower.set(&mut trainer)?;
            }
        }
        let mut watch = Watch::new(&args.keep.watch, &mut trainer)?;
        let ended = loop {
            if trainer.steps() as u64 >= goal {
                break End::Done;
            }
            let (epochs, start) = (trainer.epochs(), Instant::now());
            let (before, mut due) = (epochs * trainer.steps_per_epoch() as u64, false);
            let met = trainer.epoch(|done| {
                outputs.report.step();
                let step = before + done as u64;
                due = outputs.keeper.is_due(step);
                let pause = due || watch.is_some() || step >= goal || stop::asked().is_some();
                if pause { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            spent += start.elapsed();
            if let Some(watch) = &mut watch {
                watch.look(&mut trainer, outputs.report)?;
            }
            if trainer.epochs() > epochs {
                let [train, test] = [met[0], trainer.evaluate()?[0]].map(Score::from);
                let (epoch, seconds) = (trainer.epochs() as usize, spent.as_secs_f64());
                let done = Epoch { epoch, train, test, steps: trainer.steps(), seconds };
                let is_best = record.epoch(done);
                *last = Some(done);
                history.push(done);
                outputs.epoch(done, record)?;
                if let Some(follower) = &mut follower {
                    follower.epoch(&mut trainer, test.loss)?;
                }
                if !done.is_finite() && !args.keep_going {
                    return Ok(End::NotFinite);
                }
                if is_best {
                    outputs.keeper.best(&mut trainer, &history, seconds)?;
                }
            }
            if let Some(signal) = stop::asked() {
                break End::Stopped(signal);
            }
            if due {
                outputs.keeper.checkpoint(&mut trainer, &history, spent.as_secs_f64())?;
            }
        };
        outputs.keeper.end(&mut trainer, &history, spent.as_secs_f64())?;
        Ok(ended)
    }
}

impl Outputs<'_> {
    fn epoch(&mut self, done: Epoch, record: &Record) -> Result<()> {
        if let Some(events) = &mut self.events {
            let Epoch { train, test, steps, .. } = done;
            let rate = record.rates.at(steps.saturating_sub(1) as u64);
            let values = [
                ("train/loss", Some(train.loss)),
                ("train/accuracy", Some(train.accuracy)),
                ("test/loss", Some(test.loss)),
                ("test/accuracy", Some(test.accuracy)),
                ("rate", rate),
            ];
            let values: Vec<(&str, f64)> = values.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
            events.scalars(steps as u64, &values)?;
        }
        self.report.epoch(done, record)
    }
}

impl Args {
    /// The data of the run, not scaled.
    pub fn own_data(&self, quiet: bool) -> Result<Data> {
        self.data.load_unscaled(self.seed, quiet)
    }

    /// The folder of the run, if it has one.
    fn out(&self) -> Result<Option<Out>> {
        let Some(out) = &self.out else { return Ok(None) };
        let directory = if self.new_dir { Out::free(out)? } else { out.clone() };
        if directory != *out {
            note(&format!("{} has files; this run writes into {}", out.display(), directory.display()));
        }
        Out::new(&directory).map(Some)
    }

    /// All options, with defaults filled in.
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
            "clip_norm": self.recipe.clip_norm,
            "state": self.recipe.state.name(),
            "epochs": self.epochs,
            "batch": batch,
            "drop_last": self.drop_last,
            "hidden": self.model.hidden,
            "activation": format!("{:?}", self.model.activation).to_lowercase(),
            "seed": self.seed,
            "threads": self.threads,
        });
        if let Value::Object(object) = object { object } else { Map::new() }
    }
}
