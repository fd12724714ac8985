//! What trainers are fed with: targets of any scale, weights of rows, indices, streams of batches.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::numbers::numbers;
use crate::common::refusal::assert_error;
use thalweg::cpu::Cpu;
use thalweg::data::{Dataset, Scaler};
use thalweg::nn::{Dropout, Embedding, Flatten, Linear, Nonlinearity, Sequential};
use thalweg::plan::Engine;
use thalweg::train::TrainerBuilder;
use thalweg::{Adam, Real, Recipe, Result, Sgd, Trainer};

fn classes(rows: usize) -> Dataset {
    Dataset::new(numbers(5, rows * 4), 4, (0..rows as u32).map(|row| row * row % 3).collect()).expect("data")
}

/// Two targets of other sizes that follow from four features.
fn line(rows: usize) -> Dataset {
    let features = numbers(6, rows * 4);
    let targets = features.chunks(4).flat_map(|x| [1e3 + 40.0 * x[0] - 80.0 * x[1], 1e-3 * x[2] * x[3]]).collect();
    Dataset::regression(features, 4, targets, 2).expect("data")
}

fn doubles<F: Real>(values: Vec<F>) -> Vec<f64> {
    values.into_iter().map(Real::as_f64).collect()
}

/// Within a share of the larger of what is expected and 0.1. Shares of 1e-4 are some 1,000 roundings of single precision, as
/// sums over a batch in another order and a few steps make them. Targets of about 1,000 with a deviation of 60 are known to a
/// millionth of that in single precision, whether they are standardised before or inside; 42 steps of Adam make more of such a
/// difference, so shares are 1e-3 there.
fn near(what: &str, found: &[f64], expected: &[f64], share: f64) {
    assert_close(what, found, expected, |i| share * expected[i].abs().max(0.1));
}

fn adam() -> Recipe {
    Recipe::new(Adam { lr: 0.01, ..Default::default() })
}

/// The same as learning targets that were standardised before, told in units of the data.
#[test]
fn standardised_targets_are_learned_as_such_and_told_as_they_are() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let (train, held, model) = (line(50), line(31), Sequential::perceptron(4, &[10], 2, Nonlinearity::Tanh));
        let Scaler { shift, divisor } = Scaler::of_targets(&train)?;
        let scaled = |data: &Dataset| {
            let scale = |(i, &t): (usize, &f32)| ((f64::from(t) - shift[i % 2]) / divisor[i % 2]) as f32;
            Dataset { targets: data.targets.iter().enumerate().map(scale).collect(), ..data.clone() }
        };
        let (by_hand, held_by_hand) = (scaled(&train), scaled(&held));
        let mut own =
            Trainer::builder(&model, adam()).train(&train).validation(&held).batch(8).standardise_targets().build(engine)?;
        let mut other = Trainer::builder(&model, adam()).train(&by_hand).validation(&held_by_hand).batch(8).build(engine)?;
        for _ in 0..6 {
            let (own, other) = (own.whole_epoch()?[0], other.whole_epoch()?[0]);
            near("loss", &[own.loss], &[other.loss], 1e-4);
        }
        near("parameters", &doubles(own.params(0)?), &doubles(other.params(0)?), 1e-3);
        let (own_found, other_found) = (own.evaluate()?[0], other.evaluate()?[0]);
        near("R²", &[own_found.r2.unwrap()], &[other_found.r2.unwrap()], 1e-3);
        // What is told follows from what is predicted.
        let predicted = doubles(own.predict(0, &held.features)?);
        let distance = |output: usize| -> Vec<f64> {
            let pairs = predicted.iter().zip(&held.targets).skip(output).step_by(2);
            pairs.map(|(y, &t)| y - f64::from(t)).collect()
        };
        let mean = |of: &dyn Fn(&[f64]) -> f64| (of(&distance(0)) + of(&distance(1))) / 2.0;
        let mae = mean(&|all| all.iter().map(|x| x.abs()).sum::<f64>() / all.len() as f64);
        let rmse = mean(&|all| (all.iter().map(|x| x * x).sum::<f64>() / all.len() as f64).sqrt());
        near("errors", &[own_found.mae.unwrap(), own_found.rmse.unwrap()], &[mae, rmse], 1e-3);
        assert!(mae > 1.0, "in units of the data: {mae}");
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    engines::all().iter().try_for_each(check)
}

/// A weight of 2 is a row twice, a weight of 0 none.
#[test]
fn weights_are_rows_as_often() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        for data in [classes(6), line(6)] {
            let outputs = if data.is_regression() { 2 } else { 3 };
            let model = Sequential::perceptron(4, &[5], outputs, Nonlinearity::Tanh);
            let recipe = || Recipe::new(Sgd { lr: 1e-4, ..Default::default() });
            let often = data.rows_at(&[0, 1, 1, 3, 4, 4, 4, 5])?;
            let weighted = Trainer::builder(&model, recipe()).train(&data).validation(&data).batch(6);
            let mut weighted = weighted.weights(&[1.0, 2.0, 0.0, 1.0, 3.0, 1.0]).build(engine)?;
            let mut repeated = Trainer::builder(&model, recipe()).train(&often).batch(8).build(engine)?;
            for _ in 0..3 {
                let (own, other) = (weighted.whole_epoch()?[0], repeated.whole_epoch()?[0]);
                near("loss", &[own.loss], &[other.loss], 1e-4);
            }
            near("parameters", &doubles(weighted.params(0)?), &doubles(repeated.params(0)?), 1e-4);
            // Validation rows count the same.
            let mut plain = Trainer::builder(&model, recipe()).train(&data).validation(&data).batch(6).build(engine)?;
            let found = |trainer: &mut Trainer<E::Program>| trainer.evaluate().map(|found| found[0].loss);
            let mut fresh = Trainer::builder(&model, recipe()).train(&data).validation(&data).batch(6);
            fresh = fresh.weights(&[9.0, 1.0, 0.0, 1.0, 3.0, 1.0]);
            assert_eq!(found(&mut plain)?, found(&mut fresh.build(engine)?)?);
        }
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    engines::all().iter().try_for_each(check)
}

fn words() -> (Dataset, Sequential) {
    let features = (0..60).flat_map(|i| [(i * 7 % 11) as f32, (i * 5 % 11) as f32, (i % 3) as f32]).collect();
    let labels = (0..60).map(|i| u32::from(i * 7 % 11 > i * 5 % 11)).collect();
    let model = Sequential::new().then(Embedding::new(11, 6)).then(Flatten).then(Dropout { p: 0.1 }).then(Linear::new(18, 2));
    (Dataset::new(features, 3, labels).expect("data"), model)
}

#[test]
fn features_may_be_indices() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let (data, model) = words();
        let recipe = Recipe::new(Adam { lr: 0.05, ..Default::default() });
        let trainer = Trainer::builder(&model, recipe).train(&data).validation(&data).batch(13).evaluation_rows(16);
        let mut trainer = trainer.index_features().build(engine)?;
        for _ in 0..40 {
            trainer.whole_epoch()?;
        }
        let found = trainer.evaluate()?[0];
        assert!(found.accuracy > Some(0.95), "{}: {found:?}", engine.describe());
        let classes = trainer.predict_classes(0, &data.features)?;
        let right = classes.iter().zip(&data.labels).filter(|(a, b)| a == b).count();
        assert_eq!(Some(right as f64 / 60.0), found.accuracy);
        let error = trainer.predict(0, &[1.0, 2.0, 0.5]).map(drop);
        assert_error(
            error,
            "features[row 0, column 2] = 0.5 is out of range: a whole number from 0 to 16777216, as features are indices",
        );
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    engines::all().iter().try_for_each(check)
}

/// The batches of a trainer in memory as a stream: the same bits, whatever the number of places and of calls.
#[test]
fn a_stream_has_the_bits_of_data_in_memory() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let data = classes(24);
        let model = Sequential::new()
            .then(Linear::new(4, 9))
            .then(Nonlinearity::Silu)
            .then(Dropout { p: 0.25 })
            .then(Linear::new(9, 3));
        let mut whole = Trainer::builder(&model, adam()).train(&data).batch(8).seed(3).build(engine)?;
        let order: Vec<usize> = [whole.order(0, 0)?, whole.order(0, 1)?].concat().into_iter().map(|row| row as usize).collect();
        let batches: Vec<Dataset> = order.chunks(8).map(|rows| data.rows_at(rows)).collect::<Result<_>>()?;
        whole.whole_epoch()?;
        let met = whole.whole_epoch()?[0];
        for (places, cut) in [(1, 6), (2, 3), (4, 3), (8, 1)] {
            let mut stream = Trainer::builder(&model, adam()).train(&batches[0]).stream(places).seed(3).build(engine)?;
            let mut last = None;
            for part in batches.chunks(cut) {
                last = Some(stream.stream(part.iter().cloned())?[0]);
            }
            assert_same_bits(&engine.describe(), &doubles(stream.params(0)?), &doubles(whole.params(0)?));
            if cut == 3 {
                assert_eq!(last, Some(met));
            }
            assert_eq!(stream.steps(), 6);
        }
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    engines::all().iter().try_for_each(check)
}

#[test]
fn what_does_not_fit_is_told() -> Result<()> {
    let (data, engine) = (classes(8), Cpu::<f32>::default());
    let model = Sequential::perceptron(4, &[5], 3, Nonlinearity::Tanh);
    let on = || Trainer::builder(&model, adam()).train(&data);
    let refused = |builder: TrainerBuilder, says: &str| assert_error(builder.build(&engine).map(drop), says);
    refused(on().standardise_targets(), "targets to standardise: classes found, numbers expected");
    refused(on().weights(&[1.0; 7]), "weights of the training rows: 7 found, 8 expected");
    refused(on().weights(&[0.0; 8]), "weights = all 0 is out of range: above 0 for some rows");
    refused(on().weights(&[1.0, 1.0, 1.0, -1.0, 1.0, 1.0, 1.0, 1.0]), "weights[3] = -1 is out of range: finite and at least 0");
    refused(on().stream(0), "batches of a stream on the device = 0 is out of range: at least 1");
    let (words, of_words) = words();
    let indices = || Trainer::builder(&of_words, adam()).train(&words).index_features();
    assert!(indices().standardise().build(&engine).is_err());
    let mut fractions = words.clone();
    fractions.features[4] = -1.0;
    let on_fractions = Trainer::builder(&of_words, adam()).train(&fractions).index_features();
    refused(
        on_fractions,
        "features[row 1, column 1] = -1 is out of range: a whole number from 0 to 16777216, as features are indices",
    );
    let mut stream = on().stream(2).build(&engine)?;
    assert_error(stream.stream([classes(7)]).map(drop), "rows of a batch: 7 found, 8 as in the sample expected");
    let wide = Dataset::new(vec![0.0; 24], 3, vec![0; 8])?;
    assert_error(stream.stream([wide]).map(drop), "features of a batch: 3 found, 4 as in the sample expected");
    let other = Dataset::new(vec![0.0; 32], 4, vec![5; 8])?;
    assert_error(stream.stream([other]).map(drop), "label of a batch = 5 is out of range: below 2, as in the sample");
    assert!(stream.whole_epoch().is_err() && on().build(&engine)?.stream([classes(8)]).is_err());
    assert_eq!(stream.steps(), 0);
    Ok(())
}
