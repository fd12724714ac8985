//! Trainers of any model: lanes with seeds and rows of their own, predictions, states.

mod stopping;
mod tasks;

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::counting::Counting;
use crate::common::engines;
use crate::common::numbers::numbers;
use crate::common::refusal::assert_error;
use std::ops::ControlFlow;
use thalweg::cpu::Cpu;
use thalweg::data::{Dataset, Fold, KFold, Scaler};
use thalweg::nn::{
    Augment, BatchNorm1d, BatchNorm2d, ChannelDropout, Conv2d, Dropout, Flatten, GroupNorm, LaneDropout, Linear, MaxPool2d,
    Model, Nonlinearity, Reshape, Sequential, Tape, Value,
};
use thalweg::plan::{Engine, LossScale, Program};
use thalweg::train::{EarlyStopping, Task, TrainerBuilder};
use thalweg::{Adam, Real, Recipe, Result, ScheduleFree, Sgd, State, Trainer};

pub fn classes(rows: usize) -> Dataset {
    let labels = (0..rows as u32).map(|row| row * row % 3).collect();
    Dataset::new(numbers(5, rows * 4), 4, labels).expect("data")
}

/// Two targets that follow from four features.
fn line(rows: usize) -> Dataset {
    let features = numbers(6, rows * 4);
    let targets = features.chunks(4).flat_map(|x| [x[0] - 2.0 * x[1] + 0.5, x[2] * x[3]]).collect();
    Dataset::regression(features, 4, targets, 2).expect("data")
}

/// A model with every layer that needs a lane's key or running statistics.
fn busy(outputs: usize) -> Sequential {
    Sequential::new()
        .then(Linear::new(4, 9))
        .then(BatchNorm1d::new(9))
        .then(Nonlinearity::Silu)
        .then(Dropout { p: 0.25 })
        .then(Linear::new(9, outputs))
}

/// Convolutions over images of 5 × 6, with every layer of images that needs a lane's key or running statistics.
fn convolutions() -> Sequential {
    Sequential::new()
        .then(Reshape(vec![1, 5, 6]))
        .then(Augment { shift: 1.0, ..Default::default() })
        .then(Conv2d::new(1, 6, [3, 3]).padded([1, 1]))
        .then(BatchNorm2d::new(6))
        .then(Nonlinearity::Relu)
        .then(ChannelDropout { p: 0.25 })
        .then(Conv2d { groups: 2, stride: [1, 2], ..Conv2d::new(6, 4, [2, 3]).padded([1, 1]) })
        .then(GroupNorm::new(2, 4))
        .then(Nonlinearity::Silu)
        .then(MaxPool2d::new([2, 2]))
        .then(Flatten)
        .then(Linear::new(12, 3))
}

fn adam(lr: f64) -> Recipe {
    Recipe::new(Adam { lr, ..Default::default() })
}

/// All arrays of a lane but for settings.
fn assert_same_state<F: Real>(what: &str, found: &State<F>, lane: usize, expected: &State<F>) {
    let (found, expected) = (found.lane(lane).expect("a lane"), expected.lane(0).expect("a lane"));
    let names = |state: &State<F>| state.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>();
    assert_eq!(names(&found), names(&expected), "{what}");
    for (name, array) in expected.iter() {
        assert_eq!(found.get(name), Some(array), "{what}: {name}");
    }
}

#[test]
fn a_lane_with_a_seed_is_a_trainer_with_it() -> Result<()> {
    fn check<E: Engine>(engine: &E, model: &Sequential, data: &Dataset) -> Result<()> {
        let of = |lr: &[f64], seeds: &[u64]| {
            let recipe = Recipe::population(lr.iter().map(|&lr| Adam { lr, ..Default::default() }));
            Trainer::builder(model, recipe).train(data).validation(data).batch(7).seeds(seeds).build(engine)
        };
        let (rates, seeds) = ([0.03, 0.01, 0.03], [3, 1 << 40, 3]);
        let mut all = of(&rates, &seeds)?;
        let mut met = Vec::new();
        for _ in 0..2 {
            met = all.whole_epoch()?;
        }
        let (seen, state) = (all.evaluate()?, all.state_dict()?);
        for lane in 0..3 {
            let mut alone = of(&rates[lane..][..1], &seeds[lane..][..1])?;
            alone.whole_epoch()?;
            assert_eq!(alone.whole_epoch()?[0], met[lane], "{}, lane {lane}", engine.describe());
            assert_eq!(alone.evaluate()?[0], seen[lane], "{}, lane {lane}", engine.describe());
            assert_same_state(&engine.describe(), &state, lane, &alone.state_dict()?);
        }
        assert_eq!((met[0], seen[0]), (met[2], seen[2]));
        assert_ne!(met[0], met[1]);
        Ok(())
    }
    let images = Dataset::new(numbers(5, 24 * 30), 30, classes(24).labels)?;
    for (model, data) in [(busy(3), classes(24)), (convolutions(), images)] {
        check(&Cpu::<f64>::default(), &model, &data)?;
        [engines::cpu(), engines::gpu()].iter().try_for_each(|engine| check(engine, &model, &data))?;
    }
    Ok(())
}

#[test]
fn an_order_follows_from_seed_and_epoch() -> Result<()> {
    let (data, model) = (classes(40), Linear::new(4, 3));
    let builder = || Trainer::builder(&model, adam(0.1)).train(&data).seeds(&[1, 2, 1]);
    let trainer = builder().build(&Cpu::<f32>::default())?;
    let sorted = |mut rows: Vec<u32>| {
        rows.sort_unstable();
        rows
    };
    for epoch in 0..4 {
        assert_eq!(sorted(trainer.order(0, epoch)?), (0..40).collect::<Vec<u32>>());
        assert_eq!(trainer.order(0, epoch)?, trainer.order(2, epoch)?);
        assert_ne!(trainer.order(0, epoch)?, trainer.order(1, epoch)?);
        assert_ne!(trainer.order(0, epoch)?, trainer.order(0, epoch + 1)?);
    }
    let some = builder().train_rows(1, &(0..40).map(|i| i / 2).collect::<Vec<_>>()).build(&Cpu::<f32>::default())?;
    assert_eq!(sorted(some.order(1, 0)?), (0..40).map(|i| i / 2).collect::<Vec<u32>>());
    Ok(())
}

/// Folds share one data set on the device; each lane equals a trainer of its rows alone, standardised by them.
#[test]
fn a_lane_with_rows_is_a_trainer_of_these_rows() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let mut folds = (KFold { folds: 3, ..Default::default() }).split(24)?;
        folds[1].validation.truncate(5);
        folds[2].train.rotate_left(7);
        let data = [classes(24), line(24)];
        for data in &data {
            let model = busy(if data.is_regression() { 2 } else { 3 });
            fn builder<'a>(model: &'a Sequential, data: &'a Dataset) -> TrainerBuilder<'a> {
                Trainer::builder(model, adam(0.02)).train(data).batch(6).evaluation_rows(6).standardise()
            }
            let together =
                folds.iter().enumerate().fold(builder(&model, data).seeds(&[4, 4, 5]), |b, (lane, fold)| b.fold(lane, fold));
            let mut together = together.build(engine)?;
            for _ in 0..2 {
                together.whole_epoch()?;
            }
            let (met, seen, state) = (together.metrics()?, together.evaluate()?, together.state_dict()?);
            for (lane, Fold { train, validation }) in folds.iter().enumerate() {
                let (train, validation) = (data.rows_at(train)?, data.rows_at(validation)?);
                let mut alone = builder(&model, &train).validation(&validation).seed([4, 4, 5][lane]).build(engine)?;
                alone.whole_epoch()?;
                alone.whole_epoch()?;
                assert_eq!(alone.metrics()?[0], met[lane], "{}, lane {lane}", engine.describe());
                assert_eq!(alone.evaluate()?[0], seen[lane], "{}, lane {lane}", engine.describe());
                assert_same_state(&engine.describe(), &state, lane, &alone.state_dict()?);
                let found = together.predict(lane, &data.features)?;
                assert_same_bits(&engine.describe(), &found, &alone.predict(0, &data.features)?);
            }
        }
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    [engines::cpu(), engines::gpu()].iter().try_for_each(check)
}

#[test]
fn standardised_features_are_those_of_a_scaler() -> Result<()> {
    let mut data = line(30);
    data.features.iter_mut().skip(1).step_by(4).for_each(|x| *x = 7.0);
    data.features.iter_mut().skip(2).step_by(4).for_each(|x| *x = 100.0 + 3.0 * *x);
    let mut scaled = data.clone();
    Scaler::standard(&data)?.apply(&mut scaled)?;
    let model = Sequential::perceptron(4, &[6], 2, Nonlinearity::Tanh);
    let trained = |data: &Dataset, own: bool| {
        let builder = Trainer::builder(&model, adam(0.05)).train(data).batch(8).seed(3);
        let builder = if own { builder.standardise() } else { builder };
        let mut trainer = builder.build(&Cpu::<f64>::default())?;
        trainer.whole_epoch()?;
        trainer.params(0)
    };
    let (found, expected, plain) = (trained(&data, true)?, trained(&scaled, false)?, trained(&data, false)?);
    // The scaled features are numbers of about 1, rounded to f32 by 6e-8, and four steps of Adam at 0.05 enlarge that. The
    // bound is a thousandth of the change by scaling below.
    assert_close("parameters", &found, &expected, |_| 1e-5);
    assert!(found.iter().zip(&plain).any(|(a, b)| (a - b).abs() > 1e-2), "scaling matters");
    Ok(())
}

/// The outputs of a row have the same bits, whatever the other rows are.
#[test]
fn predictions_of_a_row_do_not_depend_on_its_neighbours() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let (data, model) = (classes(20), busy(3));
        let mut trainer = Trainer::builder(&model, adam(0.1)).train(&data).batch(10).seeds(&[1, 2]).build(&engine)?;
        trainer.whole_epoch()?;
        let features = numbers(9, 300 * 4);
        let whole = trainer.predict(1, &features)?;
        for rows in [1, 2, 3, 7, 8, 31, 64, 65, 127, 255, 256, 257, 299, 300] {
            assert_same_bits(engine.name, &trainer.predict(1, &features[..rows * 4])?, &whole[..rows * 3]);
            let last = trainer.predict(1, &features[(300 - rows) * 4..])?;
            assert_same_bits(engine.name, &last, &whole[(300 - rows) * 3..]);
        }
        assert_same_bits(engine.name, &trainer.predict_all(&features)?[1], &whole);
        assert!(trainer.predict(0, &[])?.is_empty());
        assert_error(trainer.predict(0, &features[..3]), "features to predict from: 3 found, rows of 4 expected");
        assert_error(trainer.predict(2, &features[..4]), "lane = 2 is out of range: below 2");
    }
    Ok(())
}

#[test]
fn steps_across_epochs_are_those_of_epochs() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let (data, model) = (classes(23), busy(3));
        let new = || Trainer::builder(&model, adam(0.03)).train(&data).batch(5).seeds(&[8, 9]).build(&engine);
        let (mut epochs, mut steps, mut broken) = (new()?, new()?, new()?);
        for _ in 0..3 {
            epochs.whole_epoch()?;
        }
        [1, 6, 4, 0, 4].into_iter().try_for_each(|count| steps.advance(count))?;
        for stop in [2, 5, 3, 5, 5] {
            broken.epoch(|step| if step == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })?;
        }
        assert_eq!((steps.steps(), steps.epochs(), broken.steps()), (15, 3, 15));
        assert_eq!(steps.metrics()?, epochs.metrics()?);
        for lane in 0..2 {
            let expected = epochs.state_dict()?.lane(lane)?;
            assert_same_state(engine.name, &steps.state_dict()?, lane, &expected);
            assert_same_state(engine.name, &broken.state_dict()?, lane, &expected);
        }
    }
    Ok(())
}

/// A loaded state goes on with the same bits, in the middle of an epoch and after it.
#[test]
fn a_training_goes_on_where_its_state_was_taken() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        let (data, model) = (classes(23), busy(3));
        let new = |seeds: &[u64]| {
            let recipe = adam(0.03).skip_bad();
            let builder = Trainer::builder(&model, recipe).train(&data).validation(&data).batch(5).seeds(seeds);
            builder.early_stopping(EarlyStopping { patience: 2, ..Default::default() }).build(engine)
        };
        for steps in [0, 2, 5, 8] {
            let mut first = new(&[8, 9])?;
            if steps >= 5 {
                first.fit(1, |_, _| Ok(ControlFlow::Continue(())))?;
            }
            first.advance(steps % 5)?;
            let (state, mut second) = (first.state_dict()?, new(&[1, 2])?);
            second.load_state_dict(&state)?;
            for lane in 0..2 {
                assert_same_state(&engine.describe(), &second.state_dict()?, lane, &state.lane(lane)?);
            }
            for trainer in [&mut first, &mut second] {
                trainer.fit(4, |_, _| Ok(ControlFlow::Continue(())))?;
            }
            assert_eq!(first.metrics()?, second.metrics()?, "{}, {steps} steps", engine.describe());
            let expected = first.state_dict()?;
            for lane in 0..2 {
                assert_same_state(&engine.describe(), &second.state_dict()?, lane, &expected.lane(lane)?);
            }
        }
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    [engines::cpu(), engines::gpu()].iter().try_for_each(check)
}

#[test]
fn a_state_that_does_not_fit_changes_nothing() -> Result<()> {
    let (data, model) = (classes(23), busy(3));
    let builder = || Trainer::builder(&model, adam(0.03)).train(&data).batch(5);
    let (mut apart, mut shared) =
        (builder().seeds(&[1, 2]).build(&Cpu::<f32>::default())?, builder().seeds(&[1, 1]).build(&Cpu::<f32>::default())?);
    apart.advance(2)?;
    let (state, before) = (apart.state_dict()?, shared.state_dict()?);
    let expected = "seeds of the state: several found, one for all lanes, as the trainer was built expected";
    assert_error(shared.load_state_dict(&state), expected);
    let mut without = state.clone();
    without.remove("buffer.1.running_mean");
    assert_error(apart.load_state_dict(&without), "the state's buffer.1.running_mean: none found, an array expected");
    let mut unknown = before.clone();
    unknown.insert("buffer.2.p", before.get("buffer.1.running_mean").expect("an array").clone());
    assert!(shared.load_state_dict(&unknown).unwrap_err().to_string().contains("buffer.2.p"));
    assert_eq!(shared.state_dict()?, before);
    assert!(before.get("buffer.1.running_var").is_some());
    Ok(())
}

/// The parameters to evaluate with are computed for all lanes at once.
#[test]
fn an_evaluation_of_many_lanes_waits_as_often_as_one_of_one() -> Result<()> {
    let (data, model) = (classes(24), busy(3));
    let waits = |lanes: usize| {
        let recipe = Recipe::new(ScheduleFree { lr: 0.1, ..Default::default() }).repeated(lanes);
        let builder = Trainer::builder(&model, recipe).train(&data).validation(&data).batch(8);
        let mut trainer = builder.build(&Counting(Cpu::<f32>::default()))?;
        trainer.advance(2)?;
        let before = trainer.optimizer().program().waits;
        trainer.evaluate()?;
        Ok::<usize, thalweg::Error>(trainer.optimizer().program().waits - before)
    };
    let one = waits(1)?;
    assert!(one > 0);
    assert_eq!(waits(9)?, one);
    Ok(())
}

#[test]
fn a_lane_has_its_own_rate_of_dropout() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let data = classes(24);
        let both = Sequential::new().then(Linear::new(4, 16)).then(LaneDropout { p: 0.5 }).then(Linear::new(16, 3));
        let builder = Trainer::builder(&both, adam(0.05)).train(&data).batch(8).seeds(&[1, 1]);
        let mut both = builder.buffer(1, "1.p", &[0.125]).build(&engine)?;
        both.whole_epoch()?;
        for (lane, p) in [0.5, 0.125].into_iter().enumerate() {
            // 1 − p is exact in single precision, so that both layers divide by the same.
            let model = Sequential::new().then(Linear::new(4, 16)).then(Dropout { p }).then(Linear::new(16, 3));
            let mut alone = Trainer::builder(&model, adam(0.05)).train(&data).batch(8).seed(1).build(&engine)?;
            alone.whole_epoch()?;
            assert_same_bits(engine.name, &both.params(lane)?, &alone.params(0)?);
        }
        assert_ne!(both.params(0)?, both.params(1)?);
    }
    Ok(())
}

/// Powers of two change no bits.
#[test]
fn each_lane_has_its_own_loss_scale() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let (data, model) = (line(20), Sequential::perceptron(4, &[6], 2, Nonlinearity::Tanh));
        let new = |recipe: Recipe| Trainer::builder(&model, recipe.repeated(2)).train(&data).batch(7).build(&engine);
        let scales = [1024.0, 4.0].map(|init| LossScale { init, interval: 1000, ..Default::default() });
        let (mut plain, mut scaled) = (new(adam(0.1).skip_bad())?, new(adam(0.1).repeated(2).loss_scale(scales))?);
        assert_eq!(scaled.whole_epoch()?, plain.whole_epoch()?);
        for lane in 0..2 {
            assert_same_bits(engine.name, &scaled.params(lane)?, &plain.params(lane)?);
        }
        let grads = scaled.optimizer().grads_buffer();
        let [first, second] = [0, 1].map(|lane| scaled.optimizer_mut().program_mut().read(grads, lane));
        let quarter: Vec<f32> = first?.iter().map(|x| x / 256.0).collect();
        assert_same_bits(engine.name, &second?, &quarter);
    }
    Ok(())
}

#[test]
fn settings_that_do_not_fit_are_errors() -> Result<()> {
    let (data, numbers, model) = (classes(20), line(20), Linear::new(4, 3));
    let engine = Cpu::<f32>::default();
    let refused = |builder: TrainerBuilder, expected: &str| assert_error(builder.build(&engine).map(drop), expected);
    let (mut broken, mut infinite) = (line(20), line(20));
    broken.targets[7] = f32::NAN;
    infinite.features[10] = f32::INFINITY;
    let on = |data| Trainer::builder(&model, adam(0.1)).train(data);
    let missing = Trainer::builder(&model, adam(0.1)).build(&engine).map(drop).unwrap_err().to_string();
    assert!(missing.contains(".train(&data)"), "{missing}");
    refused(on(&broken), "targets[row 3, column 1] = NaN is out of range: finite");
    refused(on(&data).validation(&infinite), "features[row 2, column 2] = inf is out of range: finite");
    refused(on(&numbers), "output of the model: [20, 3] found, [20, 2], as the training data have targets expected");
    refused(on(&numbers).task(Task::classification()), "targets of the training data: numbers found, classes expected");
    refused(on(&data).task(Task::regression()), "targets of the training data: classes found, numbers expected");
    refused(on(&data).validation(&numbers), "targets of the validation data: numbers found, classes expected");
    refused(on(&data).batch(0), "batch = 0 is out of range: at least 1");
    refused(on(&data).evaluation_rows(0), "evaluation_rows = 0 is out of range: at least 1");
    refused(on(&data).task(Task::classification().top(0)), "top = 0 is out of range: at least 1");
    let two = || Trainer::builder(&model, adam(0.1).repeated(2)).train(&data);
    refused(two().seeds(&[1, 2, 3]), "seeds: 3 found, 1, or 2, one per lane, expected");
    refused(two().train_rows(2, &[1]), "lane of rows = 2 is out of range: below 2");
    refused(two().train_rows(1, &[20]), "training row of lane 1 = 20 is out of range: below 20, the number of rows");
    refused(two().validation_rows(0, &[]), "the list of validation rows of lane 0 is empty");
    let rows = "training rows of lane 1: 2 found, 20 as in lane 0 (a batch has rows of all lanes) expected";
    refused(two().train_rows(1, &[1, 2]), rows);
    refused(two().buffer(2, "p", &[0.0]), "lane of a buffer = 2 is out of range: below 2");
    let stopping = EarlyStopping { patience: 0, ..Default::default() };
    refused(on(&data).validation(&data).early_stopping(stopping), "patience = 0 is out of range: at least 1");
    let mut trainer = on(&data).build(&engine)?;
    let unseen = trainer.evaluate().unwrap_err().to_string();
    assert!(unseen.contains(".validation(&data)"), "{unseen}");
    let normed = busy(3);
    let builder = Trainer::builder(&normed, adam(0.1)).train(&data).buffer(0, "1.running_men", &[0.0]);
    assert!(builder.build(&engine).map(drop).unwrap_err().to_string().contains("1.running_mean"));
    Ok(())
}

/// Any type that implements the trait is a model.
#[test]
fn a_model_is_any_that_records_itself() -> Result<()> {
    #[derive(Debug)]
    struct Wide;
    impl Model for Wide {
        fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
            let hidden = tape.layer("in", &Linear::new(4, 5), x).tanh();
            tape.layer("out", &Linear::new(5, 3), &hidden)
        }
    }
    let data = classes(30);
    let mut trainer = Trainer::builder(&Wide, adam(0.05)).train(&data).validation(&data).build(&Cpu::<f32>::default())?;
    let first = trainer.evaluate()?[0].loss;
    for _ in 0..30 {
        trainer.whole_epoch()?;
    }
    assert!(trainer.evaluate()?[0].loss < first);
    assert_eq!(trainer.optimizer().arena().tensors()[0].name, "in.weight");
    Ok(())
}
