//! `thalweg train`: from arguments to a trained perceptron.

use crate::data::{self, Data, DataArgs};
use crate::engine::{EngineArgs, Picked};
use crate::rates::{self, Follower};
use crate::report::{Epoch, Report, Summary, note};
use crate::settings::{self, Pair, Scheduled};
use crate::{Interrupted, Usage, memory};
use anyhow::{Context, Result, bail};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use thalweg::data::Dataset;
use thalweg::nn::Network;
use thalweg::plan::{Activation, Engine};
use thalweg::{AnyRule, Batch, Memory, Recipe, Trainer, range};

/// More is a slip of the finger: two such layers have four thousand million weights.
const MAX_WIDTH: usize = 1 << 16;

/// Set by Ctrl-C.
static STOP: AtomicBool = AtomicBool::new(false);

/// Train a perceptron, by default on the handwritten digits that are part of the program
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    data: DataArgs,

    #[command(flatten)]
    engine: EngineArgs,

    #[arg(long, value_name = "NAME", default_value = "adamw", help = rules())]
    rule: String,

    /// A setting of the rule, such as `beta1=0.8`, for which `thalweg rules NAME` has names and defaults; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<Pair>,

    /// Learning rate, short for --set lr=X [default: the rule's own]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<f64>,

    /// Weight decay, short for --set weight_decay=X [default: the rule's own]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    weight_decay: Option<f64>,

    /// A factor on the learning rate that changes with the step, such as `cosine` or `one_cycle,pct_start=0.2`; `steps` is the
    /// whole run after a warm-up where it is needed and not given. `plateau` goes by the loss on the test data instead.
    /// `thalweg schedules` lists them [default: none]
    #[arg(long, value_name = "NAME[,KEY=VALUE…]")]
    schedule: Option<Scheduled>,

    /// Scale gradients down to this global norm [default: no clipping]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    clip_norm: Option<f64>,

    /// Passes over the training data
    #[arg(long, value_name = "N", default_value_t = 40, value_parser = epochs)]
    epochs: usize,

    /// Rows per step
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = at_least_one)]
    batch: usize,

    /// Leave out the rows that fill no batch. Otherwise they are a last, smaller batch of each epoch
    #[arg(long)]
    drop_last: bool,

    /// Widths of the hidden layers
    #[arg(long, value_name = "N,N,…", default_value = "128,64", value_delimiter = ',', value_parser = width)]
    hidden: Vec<usize>,

    /// Decides the split, the first weights and the order of rows
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Where to put metrics.csv, which grows with each epoch, and curve.svg; made if missing, files in it are replaced
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,

    /// Print nothing but JSON on stdout: an object that says what is trained on what, one per epoch, and a last one with the result.
    /// Seconds are those spent in training, without loading and testing
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<()> {
    let rule = rule(&args)?;
    let recipe = recipe(&*rule, &args)?;
    args.engine.check()?;
    stop_on_ctrl_c()?;
    let Data { train, test, read } = args.data.load(args.seed)?;
    let batch = Batch { rows: args.batch.min(train.rows()), drop_last: args.drop_last };
    let shape = Shape { inputs: train.width, hidden: &args.hidden, outputs: train.classes };
    let cells = train.features.len() + test.features.len();
    shape.check_memory(&*rule, batch.rows, cells, args.data.memory())?;
    let steps_per_epoch = batch.steps(train.rows());
    // Less than 2⁶⁴: there are less than 2³² rows, and no more epochs.
    let steps = args.epochs as u64 * steps_per_epoch as u64;
    let (recipe, mut follower) = rates::scheduled(recipe, &*rule, args.schedule.as_ref(), steps)?;
    let mut report = Report::new(args.json, args.epochs, args.out.as_deref())?;
    let engine = args.engine.pick()?;
    let network = Network::perceptron(train.width, &args.hidden, train.classes, Activation::Relu)?;
    let parameters = network.arena()?.tensors().iter().map(|tensor| tensor.len()).sum();
    let lr = rates::rates(&*rule).first().map(|&(_, lr)| lr);
    let run = data::Run { steps_per_epoch, batch: batch.rows, parameters, rule: rule.name(), lr, engine: engine.name() };
    let summary = data::Summary { read, run };
    let trained = match &engine {
        Picked::Gpu(gpu) => {
            fit(&**gpu, &args, &network, recipe, batch, (&train, &test), follower.as_mut(), &summary, &mut report)
        }
        Picked::Cpu(cpu) => fit(cpu, &args, &network, recipe, batch, (&train, &test), follower.as_mut(), &summary, &mut report),
    };
    let closed = report.close();
    let last = trained?;
    closed?;
    if !last.train.loss.is_finite() {
        note("the training loss is not finite: try a smaller --lr, or --clip-norm 1");
    }
    report.summary(&Summary { last, engine: engine.name(), adapter: engine.adapter() })
}

/// Trains to the end and returns the last epoch.
fn fit<E: Engine>(
    engine: &E,
    args: &Args,
    network: &Network,
    recipe: Recipe,
    batch: Batch,
    (train, test): (&Dataset, &Dataset),
    mut follower: Option<&mut Follower>,
    summary: &data::Summary,
    report: &mut Report,
) -> Result<Epoch> {
    let mut trainer = Trainer::new(engine, network, recipe, train, test, batch, args.seed)?;
    if let Some(follower) = &follower {
        follower.set(&mut trainer)?;
    }
    report.data(summary)?;
    report.start(trainer.steps_per_epoch());
    let mut spent = Duration::ZERO;
    let mut last = None;
    for epoch in 1..=args.epochs {
        let start = Instant::now();
        let train = trainer.epoch(|_| {
            report.step();
            if STOP.load(Ordering::Relaxed) { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?[0];
        spent += start.elapsed();
        if STOP.load(Ordering::Relaxed) {
            bail!(Interrupted { epochs: epoch - 1 });
        }
        let test = trainer.evaluate()?[0];
        let done = Epoch { epoch, train, test, steps: trainer.steps(), seconds: spent.as_secs_f64() };
        report.epoch(done)?;
        last = Some(done);
        if let Some(follower) = &mut follower {
            follower.epoch(&mut trainer, test.loss)?;
        }
    }
    last.context("no epoch was run")
}

/// The widths of a perceptron.
struct Shape<'a> {
    inputs: usize,
    hidden: &'a [usize],
    outputs: usize,
}

impl Shape<'_> {
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
    let pairs: Vec<Pair> = short.into_iter().filter_map(pair).chain(args.settings.iter().cloned()).collect();
    settings::rule(&args.rule, &pairs).map_err(|error| Usage(error.to_string()).into())
}

/// The rule with what goes with it.
fn recipe(rule: &dyn AnyRule, args: &Args) -> Result<Recipe> {
    let recipe = Recipe::new(rule.boxed());
    let Some(norm) = args.clip_norm else { return Ok(recipe) };
    range::positive("clip_norm", norm).map_err(|error| Usage(error.to_string()))?;
    Ok(recipe.clip_norm(norm))
}

/// The first Ctrl-C ends training after the step, the second ends the program.
fn stop_on_ctrl_c() -> Result<()> {
    let handler = || {
        if data::is_loading() {
            note("interrupted while reading the data");
            std::process::exit(130);
        }
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
    };
    ctrlc::set_handler(handler).context("cannot listen for Ctrl-C")
}

fn epochs(text: &str) -> Result<usize, String> {
    let fits = |epochs: &u32| *epochs > 0;
    text.parse()
        .ok()
        .filter(fits)
        .map(|epochs| epochs as usize)
        .ok_or_else(|| format!("not a whole number from 1 to {}", u32::MAX))
}

pub fn at_least_one(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&number| number > 0).ok_or_else(|| "not a whole number from 1".into())
}

fn width(text: &str) -> Result<usize, String> {
    let fits = |width: &usize| (1..=MAX_WIDTH).contains(width);
    text.parse().ok().filter(fits).ok_or_else(|| format!("not a whole number from 1 to {MAX_WIDTH}"))
}
