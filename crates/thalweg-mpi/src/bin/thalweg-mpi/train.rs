//! `thalweg-mpi train`: a perceptron learns the digits.

use crate::options::Options;
use anyhow::{Result, bail};
use std::time::Instant;
use thalweg::cpu::Cpu;
use thalweg::data::{Scaler, digits};
use thalweg::{Accumulation, Recipe, SumOrder, rule_by_name, set};
use thalweg_mpi::{DataParallel, Identity, Perceptron, Reduce, World};

pub const KNOWN: &[&str] =
    &["rule", "set", "clip-norm", "hidden", "epochs", "batch", "micro-batches", "reduce", "seed", "save", "resume"];

pub fn run(world: &World, options: &Options) -> Result<()> {
    let micro_batches = options.count("micro-batches", 8)?;
    let batch = options.count("batch", 256)?;
    if !batch.is_multiple_of(micro_batches) {
        bail!("--batch {batch} is no multiple of --micro-batches {micro_batches}");
    }
    let (epochs, seed, reduce) =
        (options.count("epochs", 20)?, options.get("seed", 0_u32)?, options.get("reduce", Reduce::Exact)?);
    let hidden: Vec<usize> = options.text("hidden").unwrap_or("128,64").split(',').map(str::parse).collect::<Result<_, _>>()?;
    let (mut train, mut test) = digits().split(0.2, seed.into())?;
    let scaling = Scaler::standard(&train)?;
    scaling.apply(&mut train)?;
    scaling.apply(&mut test)?;
    let recipe = recipe(options, micro_batches)?;
    let engine = Cpu::<f32>::with_threads(options.count("threads", 1)?);
    let sizes = (train.width, &*hidden, train.classes);
    let made = Perceptron::new(&engine, &recipe, sizes, batch / micro_batches, seed);
    let (model, mut optimizer) = world.agree("engines", made)?;
    if let Some(file) = options.text("resume") {
        let loaded = optimizer.load_file(file);
        world.agree("the checkpoint", loaded)?;
    }
    let report = optimizer.report()?;
    let mut step = (report.applied + report.skipped) as usize;
    let identity = Identity::default()
        .with("options", options.common())
        .with_digest("data", bytemuck::cast_slice(&train.features))
        .with_digest("labels", bytemuck::cast_slice(&train.labels));
    let mut ranks = DataParallel::new(world, optimizer, micro_batches, reduce, identity)?;
    let say = |text: String| {
        if world.rank() == 0 {
            println!("{text}");
        }
    };
    let per_epoch = train.rows().div_ceil(batch);
    say(format!(
        "{} ranks, {micro_batches} micro-batches of {} rows, {} parameters, {reduce:?}, from step {step} on",
        world.ranks(),
        model.rows,
        ranks.optimizer().arena().tensors().iter().map(|tensor| tensor.len()).sum::<usize>()
    ));
    for epoch in step / per_epoch..epochs {
        let started = Instant::now();
        let mut loss = 0.0;
        let first = step;
        while step < (epoch + 1) * per_epoch {
            ranks.step(|optimizer, number| {
                model.gradient(optimizer, &train, step * micro_batches + number)?;
                loss += model.loss(optimizer)?;
                Ok(())
            })?;
            step += 1;
        }
        let took = started.elapsed().as_secs_f64();
        let losses = world.gather("losses", &[loss])?;
        let loss = losses.iter().sum::<f64>() / ((step - first) * micro_batches) as f64;
        let digest = ranks.check()?;
        let digest: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let rate = ((step - first) * batch) as f64 / took;
        say(format!("epoch {:3}: loss {loss:.5}, {rate:.0} rows/s, parameters {digest}", epoch + 1));
        if let Some(file) = options.text("save") {
            ranks.save(file)?;
        }
        if !loss.is_finite() {
            bail!("the loss is {loss}");
        }
    }
    let hits = model.hits(ranks.optimizer_mut(), &test);
    let hits = world.agree("the test data", hits)?;
    say(format!("test accuracy {:.4}", hits as f64 / test.rows() as f64));
    Ok(())
}

fn recipe(options: &Options, micro_batches: usize) -> Result<Recipe> {
    let mut rule = rule_by_name(options.text("rule").unwrap_or("adamw"))?;
    for pair in options.text("set").iter().flat_map(|text| text.split(',')) {
        let Some((name, value)) = pair.split_once('=') else { bail!("--set {pair}: expected name=value") };
        set(&mut *rule, name, value)?;
    }
    let order = SumOrder::Tree { micro_batches };
    let recipe = Recipe::new(rule).skip_bad().accumulate(Accumulation { order, ..Default::default() });
    Ok(match options.text("clip-norm") {
        Some(_) => recipe.clip_norm(options.get("clip-norm", 1.0)?),
        None => recipe,
    })
}
