//! What is learned: losses, and what is measured of predictions.

use super::*;
use thalweg::nn::{Criterion, CrossEntropy, Huber, SquaredError, Terms};
use thalweg::train::{Confusion, Metric};

/// R², absolute and squared errors of predictions, by their formulas.
fn scores(data: &Dataset, predictions: &[f64]) -> [f64; 3] {
    let (rows, width) = (data.rows(), data.target_width);
    let target = |row: usize, output: usize| f64::from(data.targets[row * width + output]);
    let mut sums = [0.0; 3];
    for output in 0..width {
        let mean = (0..rows).map(|row| target(row, output)).sum::<f64>() / rows as f64;
        let around: f64 = (0..rows).map(|row| (target(row, output) - mean).powi(2)).sum();
        let errors: Vec<f64> = (0..rows).map(|row| predictions[row * width + output] - target(row, output)).collect();
        let squares: f64 = errors.iter().map(|error| error * error).sum();
        sums[0] += 1.0 - squares / around;
        sums[1] += errors.iter().map(|error| error.abs()).sum::<f64>() / rows as f64;
        sums[2] += (squares / rows as f64).sqrt();
    }
    sums.map(|sum| sum / width as f64)
}

#[test]
fn regression_measures_what_its_predictions_give() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let model = Sequential::perceptron(4, &[12], 2, Nonlinearity::Tanh);
        let data = [line(40), line(301)];
        let builder = Trainer::builder(&model, adam(0.03)).train(&data[0]).validation(&data[1]).batch(6).seeds(&[1, 2]);
        let mut trainer = builder.task(Task::regression().criterion(Huber { delta: 0.7 })).build(engine)?;
        for _ in 0..20 {
            trainer.whole_epoch()?;
        }
        let found = trainer.evaluate()?;
        for (lane, found) in found.iter().enumerate() {
            let predictions: Vec<f64> = trainer.predict(lane, &data[1].features)?.iter().map(|x| x.as_f64()).collect();
            let huber = |(x, &t): (&f64, &f32)| {
                let distance = (x - f64::from(t)).abs();
                if distance <= 0.7 { 0.5 * distance * distance } else { 0.7 * (distance - 0.35) }
            };
            let loss = predictions.iter().zip(&data[1].targets).map(huber).sum::<f64>() / predictions.len() as f64;
            let [r2, mae, rmse] = scores(&data[1], &predictions);
            let of = |metric: Metric| metric.of(found);
            let all = [of(Metric::Loss)?, of(Metric::R2)?, of(Metric::Mae)?, of(Metric::Rmse)?];
            // Sums of 301 numbers of about 1 in single precision, one after the other: up to 301 · 6e-8 of the sum.
            assert_close(&engine.describe(), &all, &[loss, r2, mae, rmse], |_| 2e-5);
            assert!(r2 > 0.5, "{r2}");
            assert!(Metric::Accuracy.of(found).is_err());
        }
        // Training metrics are measured while parameters move; if these do not move, the metrics are those of an evaluation.
        let mut still = Trainer::builder(&model, Recipe::new(Sgd { lr: 0.0, ..Default::default() })).train(&data[0]);
        still = still.validation(&data[0]).batch(6);
        let mut still = still.build(engine)?;
        let (met, seen) = (still.whole_epoch()?[0], still.evaluate()?[0]);
        let all = |m: &thalweg::Metrics| [m.loss, m.r2.unwrap_or(9.0), m.mae.unwrap_or(9.0), m.rmse.unwrap_or(9.0)];
        // Sums of 40 numbers of about 1 in another order: up to 40 · 6e-8 of the sum, twice.
        assert_close(&engine.describe(), &all(&met), &all(&seen), |_| 1e-5);
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    [engines::cpu(), engines::gpu()].iter().try_for_each(check)
}

#[test]
fn classification_measures_what_its_logits_give() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let (data, held) = (classes(40), classes(290));
        let model = Sequential::perceptron(4, &[8], 3, Nonlinearity::Relu);
        let weights = [1.0, 0.25, 3.0];
        let criterion = CrossEntropy { class_weights: Some(weights.to_vec()), ..Default::default() };
        let task = Task::classification().criterion(criterion).top(2);
        let builder = Trainer::builder(&model, adam(0.02)).train(&data).validation(&held).batch(9).seeds(&[5, 6]);
        let mut trainer = builder.task(task).build(engine)?;
        trainer.optimizer_mut().watch_loss();
        trainer.optimizer_mut().telemetry_every(1);
        let met = trainer.whole_epoch()?;
        let found = trainer.evaluate()?;
        for (lane, found) in found.iter().enumerate() {
            let logits: Vec<f64> = trainer.predict(lane, &held.features)?.iter().map(|x| x.as_f64()).collect();
            let [mut loss, mut weight, mut hits, mut top] = [0.0; 4];
            for (logits, &label) in logits.chunks(3).zip(&held.labels) {
                let own = weights[label as usize];
                let sum: f64 = logits.iter().map(|logit| logit.exp()).sum();
                loss += own * (sum.ln() - logits[label as usize]);
                weight += own;
                let larger = logits.iter().filter(|logit| **logit > logits[label as usize]).count();
                (hits, top) = (hits + f64::from(u8::from(larger == 0)), top + f64::from(u8::from(larger < 2)));
            }
            let rows = held.rows() as f64;
            let all = [found.loss, found.accuracy.unwrap_or(9.0), found.top.unwrap_or(9.0)];
            // Sums of some hundred numbers of about 1 in single precision.
            assert_close(&engine.describe(), &all, &[loss / weight, hits / rows, top / rows], |_| 2e-5);
            assert!(top > hits);
            let predicted = trainer.predict_classes(lane, &held.features)?;
            let confusion = Confusion::of(&held.labels, &predicted, 3)?;
            assert_eq!(Some(confusion.accuracy()), found.accuracy.map(|accuracy| (accuracy * rows).round() / rows));
        }
        // Samples carry the loss that a step follows: with weights Σ w·l / Σ w over its batch.
        trainer.optimizer_mut().flush()?;
        let samples = trainer.optimizer_mut().poll()?;
        for (lane, met) in met.iter().enumerate() {
            let order = trainer.order(lane, 0)?;
            let of_batch = |rows: &[u32]| rows.iter().map(|&row| weights[data.labels[row as usize] as usize]).sum::<f64>();
            let batches: Vec<f64> = order.chunks(9).map(of_batch).collect();
            let losses: Vec<f64> = samples.iter().filter(|s| s.lane == lane).filter_map(|sample| sample.loss).collect();
            let sum: f64 = batches.iter().zip(&losses).map(|(weight, loss)| weight * loss).sum();
            // Sums of some dozen numbers of about 1 in single precision, twice: by batch, and over all rows.
            assert_close(&engine.describe(), &[sum / batches.iter().sum::<f64>()], &[met.loss], |_| 1e-5);
        }
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    [engines::cpu(), engines::gpu()].iter().try_for_each(check)
}

/// (x − t)⁴, a loss from outside the crate.
#[derive(Debug)]
struct Fourth;

impl Criterion for Fourth {
    fn terms(&self, tape: &mut Tape, prediction: &Value, target: &Value) -> Terms {
        let losses = tape.map(&[prediction, target], |of| (of[0].clone() - of[1].clone()).square().square());
        Terms { losses, weights: None }
    }
}

/// A loss of one number per batch, rather than one per row.
#[derive(Debug)]
struct Scalar;

impl Criterion for Scalar {
    fn terms(&self, tape: &mut Tape, prediction: &Value, target: &Value) -> Terms {
        Terms { losses: SquaredError.mean(tape, prediction, target), weights: None }
    }
}

#[test]
fn a_loss_of_ones_own_is_trained() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let (data, model) = (line(30), Linear::new(4, 2));
        let builder = || Trainer::builder(&model, adam(0.05)).train(&data).validation(&data).batch(10);
        let mut trainer = builder().task(Task::of(Fourth)).build(&engine)?;
        let first = trainer.whole_epoch()?[0];
        for _ in 0..40 {
            trainer.whole_epoch()?;
        }
        let end = trainer.evaluate()?[0];
        let predictions = trainer.predict(0, &data.features)?;
        let fourth = predictions.iter().zip(&data.targets).map(|(x, t)| f64::from(x - t).powi(4)).sum::<f64>() / 60.0;
        // A sum of 60 numbers below 1 in single precision, each the fourth power of a number that is rounded by 1e-7.
        assert_close(engine.name, &[end.loss], &[fourth], |_| 1e-5);
        assert!(end.loss < 0.3 * first.loss && end.r2.is_none(), "{end:?} after {first:?}");
        let refused = builder().task(Task::of(Scalar)).build(&engine).map(drop);
        assert_error(refused, "terms of the loss: [] found, [10, …] expected");
    }
    Ok(())
}

#[test]
fn a_confusion_counts_pairs() -> Result<()> {
    let confusion = Confusion::of(&[0, 0, 0, 1, 1, 2], &[0, 0, 1, 1, 2, 0], 4)?;
    assert_eq!(confusion.counts, [[2, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 0], [0; 4]]);
    let of = |f: fn(&Confusion, usize) -> f64| (0..4).map(|class| f(&confusion, class)).collect::<Vec<_>>();
    assert_eq!(of(Confusion::precision), [2.0 / 3.0, 0.5, 0.0, 0.0]);
    assert_eq!(of(Confusion::recall), [2.0 / 3.0, 0.5, 0.0, 0.0]);
    assert_eq!(of(Confusion::f1), [2.0 / 3.0, 0.5, 0.0, 0.0]);
    assert_eq!((confusion.accuracy(), confusion.macro_f1()), (0.5, (2.0 / 3.0 + 0.5) / 4.0));
    assert_error(Confusion::of(&[0], &[], 1), "predictions: 0 found, 1 expected");
    assert_error(Confusion::of(&[0], &[3], 3), "class = 3 is out of range: below 3");
    Ok(())
}

/// Rows keep their targets, however they are selected.
#[test]
fn regression_data_are_split_and_selected() -> Result<()> {
    let data = line(20);
    let (train, test) = data.split(0.25, 3)?;
    assert_eq!((train.rows(), test.rows(), train.target_width), (15, 5, 2));
    let part = data.rows_at(&[3, 3, 1])?;
    assert_eq!(part.targets, [&data.targets[6..8], &data.targets[6..8], &data.targets[2..4]].concat());
    assert_eq!(part.target(2), data.target(1));
    assert_error(Dataset::regression(vec![1.0; 4], 2, vec![0.0; 3], 2), "targets: 3 found, rows of 2 expected");
    assert_error(Dataset::regression(vec![1.0; 4], 1, vec![0.0; 4], 2), "features: 4 found, 2 rows × 1 expected");
    let both = Dataset { labels: vec![0; 20], ..line(20) };
    assert!(both.check().unwrap_err().to_string().contains("labels"));
    Ok(())
}
