//! Learning-rate range tests: each rate is a training of its own, and what is read from a curve.

use crate::common::engines;
use thalweg::cpu::Cpu;
use thalweg::data::{Dataset, digits};
use thalweg::nn::{Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::schedule::Cosine;
use thalweg::train::{RateCurve, RateTest, TrainerBuilder};
use thalweg::{Adam, Error, Recipe, Result, Sgd, Trainer};

const TEST: RateTest = RateTest { from: 1e-3, to: 10.0, rates: 5, epochs: 3 };

fn data() -> Dataset {
    digits().rows_at(&(0..60).collect::<Vec<_>>()).expect("rows")
}

fn model() -> Sequential {
    Sequential::perceptron(64, &[8], 10, Nonlinearity::Tanh)
}

/// A recipe with these rates of weights and of biases.
fn recipe(weights: f64, biases: f64) -> Recipe {
    let rule = |lr| Sgd { lr, momentum: 0.9, ..Default::default() };
    Recipe::new(rule(weights)).group("biases", |tensor| tensor.shape.len() < 2, rule(biases)).scale("lr", Cosine::new(1.0, 20))
}

fn trainer<'a>(model: &'a Sequential, data: &'a Dataset, recipe: Recipe) -> TrainerBuilder<'a> {
    Trainer::builder(model, recipe).train(data).standardise().batch(16).seed(4)
}

/// The loss of the last epoch with these rates alone.
fn alone<E: Engine>(engine: &E, weights: f64, biases: f64) -> Result<f64> {
    let (model, data) = (model(), data());
    let mut trainer = trainer(&model, &data, recipe(weights, biases)).build(engine)?;
    trainer.advance(TEST.epochs * trainer.steps_per_epoch())?;
    Ok(trainer.metrics()?[0].loss)
}

#[test]
fn each_rate_is_a_training_of_its_own() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let (model, data) = (model(), data());
        let all = TEST.run(engine, trainer(&model, &data, recipe(0.1, 0.2)))?;
        assert_eq!(all.group, None);
        let mut spread = Vec::new();
        for &(rate, loss) in &all.points {
            assert_eq!(alone(engine, rate, rate)?.to_bits(), loss.to_bits(), "{}, rate {rate}", engine.describe());
            spread.push(rate.log10().round());
        }
        assert_eq!(spread, [-3.0, -2.0, -1.0, 0.0, 1.0]);
        assert!(all.points[0].1 > all.points[2].1, "{all:?}");
        let of_groups = TEST.run_groups(engine, trainer(&model, &data, recipe(0.1, 0.2)), &["biases", "default"])?;
        let [biases, weights] = &of_groups[..] else { panic!("{of_groups:?}") };
        assert_eq!((biases.group.as_deref(), weights.group.as_deref()), (Some("biases"), Some("default")));
        for (&(rate, of_biases), &(_, of_weights)) in biases.points.iter().zip(&weights.points) {
            assert_eq!(alone(engine, 0.1, rate)?.to_bits(), of_biases.to_bits(), "{}, rate {rate}", engine.describe());
            assert_eq!(alone(engine, rate, 0.2)?.to_bits(), of_weights.to_bits(), "{}, rate {rate}", engine.describe());
        }
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    [engines::cpu(), engines::gpu()].iter().try_for_each(check)
}

#[test]
fn a_curve_tells_the_best_rate_and_those_that_are_nearly_as_good() -> Result<()> {
    let (model, data) = (model(), data());
    let mut curve = TEST.run(&Cpu::<f32>::default(), trainer(&model, &data, recipe(0.1, 0.2)))?;
    let mut told = |losses: [f64; 6]| {
        curve.points = (1..=6).map(f64::from).zip(losses).collect();
        (curve.best(), curve.near_best(1.5))
    };
    assert_eq!(told([9.0, 3.0, 2.0, 2.5, 9.0, 2.0]), (Some(3.0), Some((2.0, 4.0))));
    assert_eq!(told([1.0, 1.2, 1.6, 1.2, f64::NAN, f64::INFINITY]), (Some(1.0), Some((1.0, 2.0))));
    assert_eq!(told([f64::NAN, 5.0, f64::NAN, 4.0, 4.0, 3.0]), (Some(6.0), Some((4.0, 6.0))));
    assert_eq!(told([f64::NAN; 6]), (None, None));
    let mut empty: RateCurve = curve.clone();
    empty.points.clear();
    assert_eq!((empty.best(), empty.near_best(2.0)), (None, None));
    Ok(())
}

#[test]
fn wrong_tests_are_told_before_anything_is_trained() {
    let (model, data, engine) = (model(), data(), Cpu::<f32>::default());
    let told = |test: RateTest, recipe: Recipe| {
        let error = test.run(&engine, trainer(&model, &data, recipe)).expect_err("a mistake");
        error.to_string()
    };
    let own = || recipe(0.1, 0.1);
    for (test, says) in [
        (RateTest { from: 0.0, ..TEST }, "from = 0 is out of range: finite and above 0"),
        (RateTest { to: 1e-3, ..TEST }, "to = 0.001 is out of range: finite and above from = 0.001"),
        (RateTest { rates: 1, ..TEST }, "rates = 1 is out of range: at least 2"),
        (RateTest { epochs: 0, ..TEST }, "epochs = 0 is out of range: at least 1"),
    ] {
        assert_eq!(told(test, own()), says);
    }
    let lanes = told(TEST, Recipe::population([Adam::default(), Adam::default()]));
    assert!(lanes.starts_with("lanes of a recipe that is joined: 2 found"), "{lanes}");
    let set = told(TEST, Recipe::new(Adam::default()).schedule("lr", Cosine::new(0.1, 20)));
    assert!(set.ends_with("the schedule sets it in every step"), "{set}");
    let groups = |names: &[&str]| TEST.run_groups(&engine, trainer(&model, &data, own()), names).expect_err("a mistake");
    assert!(matches!(groups(&[]), Error::Empty { .. }));
    assert!(matches!(groups(&["bias"]), Error::Unknown { name, .. } if name == "bias"));
}
