//! Runs for the tests, which compare what they print: `trial SCENARIO [ARGUMENTS]`, under `mpirun` or alone. Each rank prints
//! one line.

mod perceptron;
mod training;

use anyhow::{Result, bail, ensure};
use perceptron::Perceptron;
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;
use thalweg::cpu::Cpu;
use thalweg::data::{Dataset, digits};
use thalweg::plan::LossScale;
use thalweg::{Accumulation, AdamW, Lamb, Optimizer, Recipe, ScheduleFree, Sgd, SumOrder};
use thalweg_mpi::{DataParallel, Identity, Reduce, Sharded, World, digest, part};

type Program = thalweg::cpu::CpuProgram<f32>;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match run(&args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            said(&error);
            ExitCode::FAILURE
        }
    }
}

/// Prints the error in one write, since ranks print at the same time.
fn said(error: &anyhow::Error) {
    let _ = std::io::stderr().write_all(format!("error: {error}\n").as_bytes());
}

/// The rules of the comparison, each with the global norm clipped. `large-` before a rule asks for [`Task::Large`].
fn recipe(rule: &str, lr: f64, micro_batches: usize) -> Result<Recipe> {
    let recipe = match rule.strip_prefix(LARGE).unwrap_or(rule) {
        "sgd" => Recipe::new(Sgd { lr: 10.0 * lr, momentum: 0.9, ..Default::default() }),
        "adamw" => Recipe::new(AdamW { lr, ..Default::default() }),
        "lamb" => Recipe::new(Lamb { lr, ..Default::default() }),
        // What is evaluated follows from its state.
        "free" => Recipe::new(ScheduleFree { lr, ..Default::default() }),
        "scaled" => Recipe::new(AdamW { lr, ..Default::default() }).loss_scale(LossScale {
            init: 1.0,
            interval: 3,
            ..Default::default()
        }),
        other => bail!("no rule {other}"),
    };
    Ok(recipe.clip_norm(0.5).accumulate(Accumulation { order: SumOrder::Tree { micro_batches }, ..Default::default() }))
}

/// What begins the names of rules on 4 Mi parameters.
const LARGE: &str = "large-";

/// More than 4 Mi parameters, in tensors that are no multiples of anything that ranks, chunks or vectors are.
const TENSORS: [(&str, &[usize]); 3] = [("body", &[1361, 3001]), ("wide", &[109_991]), ("last", &[7])];

/// What is trained.
enum Task {
    /// A perceptron on the digits.
    Digits(Box<(Perceptron, Dataset)>),
    /// The distance of many parameters from targets, which are other ones for each micro-batch.
    Large,
}

impl Task {
    fn new(rule: &str, data: &Dataset, recipe: &Recipe) -> thalweg::Result<(Self, Optimizer<Program>)> {
        let engine = Cpu::<f32>::with_threads(1);
        if rule.starts_with(LARGE) {
            return Ok((Self::Large, Optimizer::new(&engine, recipe.clone(), &TENSORS)?));
        }
        let (model, optimizer) = Perceptron::new(&engine, recipe, (data.width, &[32], data.classes), 16, 1)?;
        Ok((Self::Digits(Box::new((model, data.clone()))), optimizer))
    }

    /// The gradient of a micro-batch.
    fn gradient(&self, optimizer: &mut Optimizer<Program>, number: usize) -> thalweg::Result<()> {
        match self {
            Self::Digits(digits) => digits.0.gradient(optimizer, &digits.1, number),
            Self::Large => TENSORS.iter().try_for_each(|(name, _)| {
                // Targets are spread over −0.5 … 0.5 without a pattern.
                let target =
                    |i: usize| ((i as u32 ^ (number as u32) << 7).wrapping_mul(0x9E37_79B1) >> 8) as f32 / 1.678e7 - 0.5;
                let mut grads = optimizer.params(name)?;
                grads.iter_mut().enumerate().for_each(|(i, x)| *x -= target(i));
                optimizer.set_grads(name, &grads)
            }),
        }
    }
}

/// A digest of the parameters after every step so far.
#[derive(Default)]
struct Trail(blake3::Hasher);

impl Trail {
    fn text(&self) -> String {
        self.0.finalize().to_hex().to_string()
    }
}

fn run(args: &[String]) -> Result<()> {
    let texts: Vec<&str> = args.iter().map(String::as_str).collect();
    match texts[..] {
        ["alone", rule, micro_batches, steps] => alone(rule, micro_batches.parse()?, steps.parse()?),
        ["thalweg", ..] => {
            // `thalweg` itself, on one machine.
            let ended = thalweg_cli::run(&thalweg_cli::Alone, args.iter().map(std::ffi::OsString::from));
            if ended == ExitCode::SUCCESS { Ok(()) } else { bail!("it failed") }
        }
        ["alone-training", rule, epochs] => training::alone(rule, epochs.parse()?),
        ["twice"] => {
            let _world = World::start()?;
            World::start()?;
            Ok(())
        }
        [scenario, rule, micro_batches, steps] => {
            let world = World::start()?.with_patience(Duration::from_secs(4));
            let ended = match scenario {
                "parts" | "parts-sharded" => training::resumed(&world, rule, scenario != "parts", steps.parse()?),
                "training-unbegun" => training::unbegun(&world),
                "retried" => retried(&world, rule, micro_batches.parse()?, steps.parse()?),
                _ if scenario.starts_with("training") => training::ranks(&world, scenario, rule, steps.parse()?),
                _ => ranks(&world, scenario, rule, micro_batches.parse()?, steps.parse()?),
            };
            if let Err(error) = ended {
                // All ranks print their errors before MPI ends: `mpirun` ends all of them with the first.
                said(&error);
                drop(world);
                std::process::exit(1);
            }
            Ok(())
        }
        _ => bail!("a scenario, a rule, micro-batches and steps"),
    }
}

/// A single process that accumulates in a tree.
fn alone(rule: &str, micro_batches: usize, steps: usize) -> Result<()> {
    let data = digits();
    let (task, mut optimizer) = Task::new(rule, &data, &recipe(rule, 0.01, micro_batches)?)?;
    let mut trail = Trail::default();
    for step in 0..steps {
        for number in 0..micro_batches {
            task.gradient(&mut optimizer, step * micro_batches + number)?;
            optimizer.accumulate()?;
        }
        optimizer.step()?;
        trail.0.update(&digest(&mut optimizer)?);
    }
    println!("{}", outcome(&mut optimizer, &trail)?);
    Ok(())
}

fn outcome(optimizer: &mut Optimizer<Program>, trail: &Trail) -> Result<String> {
    let report = optimizer.report()?;
    Ok(format!("{} applied, {} skipped, {} clipped, {}", report.applied, report.skipped, report.clipped, trail.text()))
}

/// A job of ranks. The scenario says what goes wrong on the last rank; with `exact` and `fast` nothing does.
fn ranks(world: &World, scenario: &str, rule: &str, micro_batches: usize, steps: usize) -> Result<()> {
    let amiss = world.rank() + 1 == world.ranks();
    let mut data = digits();
    if amiss && scenario == "other-data" {
        data.features[0] += 1.0;
    }
    let lr = if amiss && scenario == "other-settings" { 0.02 } else { 0.01 };
    let reduce = if scenario == "fast" { Reduce::Fast } else { Reduce::Exact };
    let (task, optimizer) = if amiss && scenario == "no-engine" {
        // As on a rank without an adapter.
        world.agree::<_, &str>("engines", Err("no adapter"))?
    } else {
        let made = recipe(rule, lr, micro_batches).and_then(|recipe| Ok(Task::new(rule, &data, &recipe)?));
        world.agree("engines", made)?
    };
    if scenario == "sharded" {
        return sharded(world, &data, rule, micro_batches, steps);
    }
    let mut identity = Identity::default().with_digest("data", bytemuck::cast_slice(&data.features));
    if amiss && scenario == "one-more" {
        identity = identity.with("batch", "17");
    }
    let mut ranks = DataParallel::new(world, optimizer, micro_batches, reduce, identity)?;
    let mut trail = Trail::default();
    for step in 0..steps {
        if amiss && step == 2 {
            match scenario {
                "killed" => kill(),
                "hangs" => std::thread::sleep(Duration::from_secs(600)),
                "diverges" => ranks.optimizer_mut().set_params("0.bias", &[1.0; 32])?,
                _ => {}
            }
        }
        ranks.step(|optimizer, number| {
            if amiss && scenario == "fails" && step == 2 {
                return Err(thalweg::Error::Empty { what: "the list of samples".into() });
            }
            task.gradient(optimizer, step * micro_batches + number)?;
            // Blocks before this micro-batch are on their way.
            if amiss && number + 1 == micro_batches && step == 0 {
                match scenario {
                    "killed-between" => kill(),
                    "hangs-between" => std::thread::sleep(Duration::from_secs(600)),
                    "fails-between" => return Err(thalweg::Error::Empty { what: "the list of samples".into() }),
                    _ => {}
                }
            }
            if scenario == "bad-gradient" && number + 1 == micro_batches && step == 2 {
                optimizer.set_grads("0.bias", &[f32::NAN; 32])?;
            }
            Ok(())
        })?;
        trail.0.update(&ranks.check()?);
    }
    println!("{}", outcome(ranks.optimizer_mut(), &trail)?);
    Ok(())
}

/// A job whose last rank fails in every step but the first: at its first micro-batch, then at its last one, when blocks before
/// are on their way. The third try ends well.
fn retried(world: &World, rule: &str, micro_batches: usize, steps: usize) -> Result<()> {
    let (data, last) = (digits(), world.rank() + 1 == world.ranks());
    let (task, optimizer) = Task::new(rule, &data, &recipe(rule, 0.01, micro_batches)?)?;
    let mut ranks = DataParallel::new(world, optimizer, micro_batches, Reduce::Exact, Identity::default())?;
    let mut trail = Trail::default();
    for step in 0..steps {
        let own = ranks.micro_batches();
        for failing in [Some(own.start), Some(own.end - 1), None].into_iter().skip(if step == 0 { 2 } else { 0 }) {
            let made = ranks.step(|optimizer, number| {
                if last && failing == Some(number) {
                    return Err(thalweg::Error::Empty { what: "the list of samples".into() });
                }
                task.gradient(optimizer, step * micro_batches + number)
            });
            match (made, failing) {
                (made, None) => made?,
                (made, Some(_)) => ensure!(made.is_err(), "a step with a micro-batch that fails was made"),
            }
        }
        trail.0.update(&ranks.check()?);
    }
    println!("{}", outcome(ranks.optimizer_mut(), &trail)?);
    Ok(())
}

/// A job of ranks, each with a part of the state.
fn sharded(world: &World, data: &Dataset, rule: &str, micro_batches: usize, steps: usize) -> Result<()> {
    let whole = recipe(rule, 0.01, micro_batches)?;
    let part = part(world, Task::new(rule, data, &whole)?.1.arena());
    let made = Task::new(rule, data, &whole.part(part));
    let (task, optimizer) = world.agree("engines", made)?;
    let mut ranks = Sharded::new(world, optimizer, micro_batches, Identity::default())?;
    let mut trail = Trail::default();
    for step in 0..steps {
        ranks.step(|optimizer, number| task.gradient(optimizer, step * micro_batches + number))?;
        trail.0.update(&ranks.check()?);
    }
    println!("{}", outcome(ranks.optimizer_mut(), &trail)?);
    Ok(())
}

/// Kills this process, as the kernel does when memory is short: no more of its code runs.
fn kill() {
    let pid = std::process::id().to_string();
    std::process::Command::new("kill").args(["-KILL", &pid]).status().expect("kill");
    std::thread::sleep(Duration::from_secs(600));
}
