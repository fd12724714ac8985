//! The abilities that a trainer has from its optimizer; and steps in one submission equal single steps.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::numbers::numbers;
use std::ops::ControlFlow;
use thalweg::cpu::Cpu;
use thalweg::data::Dataset;
use thalweg::nn::{Linear, Model, Nonlinearity, Sequential};
use thalweg::plan::{Engine, LossScale, Program};
use thalweg::{Accumulation, Adam, Average, Batch, Error, Metrics, Recipe, Result, Sgd, Trainer};

fn data(rows: usize) -> Dataset {
    let labels = (0..rows as u32).map(|row| row % 3).collect();
    Dataset::new(numbers(5, rows * 2), 2, labels).expect("data")
}

fn perceptron() -> Sequential {
    Sequential::perceptron(2, &[7], 3, Nonlinearity::Tanh)
}

fn of<E: Engine>(
    engine: &E,
    model: &dyn Model,
    recipe: Recipe,
    rows: usize,
    batch: impl Into<Batch>,
) -> Result<Trainer<E::Program>> {
    let data = data(rows);
    Trainer::builder(model, recipe).train(&data).validation(&data).batch(batch).seed(7).build(engine)
}

fn trainer<E: Engine>(engine: &E, recipe: Recipe, rows: usize, batch: impl Into<Batch>) -> Result<Trainer<E::Program>> {
    of(engine, &perceptron(), recipe, rows, batch)
}

/// Loss and accuracy.
fn both(metrics: &Metrics) -> [f64; 2] {
    [metrics.loss, metrics.accuracy.expect("an accuracy")]
}

#[test]
fn steps_in_one_submission_are_those_one_by_one() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let rules = [0.1, 0.02].map(|lr| Adam { lr, ..Default::default() });
        for (rows, batch) in [(83, 2), (40, 4), (9, 50), (11, 10)] {
            let new = || trainer(engine, Recipe::population(rules.clone()).clip_norm(0.5), rows, batch);
            let (mut single, mut whole, mut some) = (new()?, new()?, new()?);
            for _ in 0..2 {
                let expected = single.epoch(|_| ControlFlow::Continue(()))?;
                assert_eq!(whole.whole_epoch()?, expected);
                let mut heard = Vec::new();
                let found = some.epoch_by(5, |step| {
                    heard.push(step);
                    ControlFlow::Continue(())
                })?;
                assert_eq!(found, expected);
                let steps = single.steps_per_epoch();
                let looks: Vec<usize> = (1..=steps).filter(|step| step % 5 == 0 || *step == steps).collect();
                assert_eq!(heard, looks);
            }
            assert_eq!((whole.steps(), some.steps()), (single.steps(), single.steps()));
            for lane in 0..2 {
                let expected = single.params(lane)?;
                assert_same_bits(&engine.describe(), &whole.params(lane)?, &expected);
                assert_same_bits(&engine.describe(), &some.params(lane)?, &expected);
            }
            let stopped = some.epoch_by(3, |_| ControlFlow::Break(()))?;
            assert_eq!(some.steps() - whole.steps(), single.steps_per_epoch().min(3), "{stopped:?}");
        }
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    [engines::cpu(), engines::gpu()].iter().try_for_each(check)
}

#[test]
fn micro_batches_make_the_step_of_their_rows() -> Result<()> {
    let sgd = || Recipe::new(Sgd { lr: 0.3, momentum: 0.5, ..Default::default() });
    for (rows, batch, micro) in [(24, 4, 3), (40, 2, 4), (12, 3, 2)] {
        let engine = Cpu::<f64>::default();
        let (mut whole, mut parts) = (
            trainer(&engine, sgd(), rows, batch * micro)?,
            trainer(&engine, sgd().accumulate(Accumulation::default()), rows, batch)?,
        );
        parts.micro_batches(micro)?;
        assert_eq!(parts.steps_per_epoch(), whole.steps_per_epoch());
        let (expected, found) = (whole.whole_epoch()?, parts.whole_epoch()?);
        // Sums in another order: a few roundings of numbers of about 1.
        assert_close("loss", &both(&found[0]), &both(&expected[0]), |_| 1e-13);
        assert_close("parameters", &parts.params(0)?, &whole.params(0)?, |_| 1e-13);
        assert_eq!(parts.report(0)?.applied, whole.report(0)?.applied);
    }
    // The batches that are left make a last step: 3 batches, then 2.
    let mut trainer = trainer(&Cpu::<f64>::default(), sgd().accumulate(Accumulation::default()), 18, 4)?;
    trainer.micro_batches(3)?;
    assert_eq!(trainer.steps_per_epoch(), 2);
    trainer.whole_epoch()?;
    assert_eq!((trainer.report(0)?.applied, trainer.steps()), (2, 2));
    assert_eq!(
        trainer.micro_batches(0).map_err(|error| error.to_string()),
        Err("micro_batches = 0 is out of range: at least 1".into())
    );
    Ok(())
}

#[test]
fn several_batches_want_a_recipe_that_accumulates() -> Result<()> {
    let mut trainer = trainer(&Cpu::<f32>::default(), Recipe::new(Sgd::default()), 8, 4)?;
    assert!(matches!(trainer.micro_batches(2), Err(Error::Setting { .. })));
    trainer.micro_batches(1)
}

/// The step of SAM by its formula, from two plain steps: the gradient after an ascent along the gradient.
#[test]
fn sharpness_aware_steps_take_both_gradients_of_one_batch() -> Result<()> {
    let (engine, lr, rho) = (Cpu::<f64>::default(), 0.5, 0.1);
    let sgd = || Recipe::new(Sgd { lr, ..Default::default() });
    let model = Linear::new(2, 3);
    let new = |recipe: Recipe| of(&engine, &model, recipe, 9, 9);
    let gradient_at = |point: &[f64]| -> Result<Vec<f64>> {
        let mut plain = new(sgd())?;
        let buffer = plain.optimizer().params_buffer();
        plain.optimizer_mut().program_mut().write(buffer, 0, 0, point)?;
        plain.whole_epoch()?;
        Ok(plain.params(0)?.iter().zip(point).map(|(after, before)| (before - after) / lr).collect())
    };
    let mut sam = new(sgd().sam(rho))?;
    let start = sam.params(0)?;
    let loss = sam.whole_epoch()?[0].loss;
    assert_close("loss", &[loss], &[new(sgd())?.whole_epoch()?[0].loss], |_| 1e-15);
    let gradient = gradient_at(&start)?;
    let norm = gradient.iter().map(|g| g * g).sum::<f64>().sqrt();
    let above: Vec<f64> = start.iter().zip(&gradient).map(|(x, g)| x + rho * g / norm).collect();
    let expected: Vec<f64> = start.iter().zip(gradient_at(&above)?).map(|(x, g)| x - lr * g).collect();
    assert_close("parameters", &sam.params(0)?, &expected, |_| 1e-12);
    let plain: Vec<f64> = start.iter().zip(&gradient).map(|(x, g)| x - lr * g).collect();
    assert!(expected.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 1e-3), "the gradients differ");
    Ok(())
}

/// A power of two changes no bits.
#[test]
fn a_loss_scale_is_taken_out_again() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let rule = || Recipe::new(Adam { lr: 0.1, ..Default::default() });
        let scale = LossScale { init: 1024.0, interval: 4, ..Default::default() };
        let (mut plain, mut scaled) =
            (trainer(&engine, rule().skip_bad(), 20, 3)?, trainer(&engine, rule().loss_scale(scale), 20, 3)?);
        assert_eq!(scaled.whole_epoch()?, plain.whole_epoch()?);
        assert_same_bits(engine.name, &scaled.params(0)?, &plain.params(0)?);
        assert_eq!(scaled.report(0)?.loss_scale, 2048.0, "{}", engine.name);
    }
    Ok(())
}

#[test]
fn samples_carry_the_loss_of_each_step() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let mut trainer = trainer(&engine, Recipe::population([0.1, 0.3].map(|lr| Sgd { lr, ..Default::default() })), 18, 4)?;
        trainer.optimizer_mut().watch_loss();
        trainer.optimizer_mut().telemetry_every(1);
        let metrics = trainer.whole_epoch()?;
        trainer.optimizer_mut().flush()?;
        let samples = trainer.optimizer_mut().poll()?;
        for (lane, metrics) in metrics.iter().enumerate() {
            let losses: Vec<f64> =
                samples.iter().filter(|sample| sample.lane == lane).filter_map(|sample| sample.loss).collect();
            assert_eq!(losses.len(), 5, "{}", engine.name);
            // Four batches of four rows and one of two.
            let mean = (4.0 * losses[..4].iter().sum::<f64>() + 2.0 * losses[4]) / 18.0;
            assert_close(engine.name, &[mean], &[metrics.loss], |_| 1e-6);
        }
    }
    Ok(())
}

#[test]
fn freezing_and_averages_reach_a_trainer() -> Result<()> {
    let recipe = Recipe::new(Sgd { lr: 0.5, ..Default::default() }).average(Average::Ema { decay: 0.5 });
    let mut trainer = trainer(&Cpu::<f64>::default(), recipe, 8, 8)?;
    trainer.optimizer_mut().freeze("default", true)?;
    let start = trainer.params(0)?;
    trainer.whole_epoch()?;
    assert_eq!(trainer.params(0)?, start);
    trainer.optimizer_mut().freeze("default", false)?;
    trainer.whole_epoch()?;
    let first = trainer.optimizer_mut().params("0.weight")?;
    trainer.whole_epoch()?;
    let second = trainer.optimizer_mut().params("0.weight")?;
    let expected: Vec<f64> = first.iter().zip(&second).map(|(a, b)| 0.5 * (a + b)).collect();
    let found = trainer.optimizer_mut().averaged("0.weight")?;
    assert_close("average", &found, &expected, |_| 4.0 * f64::EPSILON);
    Ok(())
}
