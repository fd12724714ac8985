//! Trainers that are resumed from a file have the same bits from any step on, for every model and recipe; and models with
//! weights of PyTorch.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines::{self, AnyEngine, AnyProgram};
use crate::common::modules::largest;
use std::ops::ControlFlow;
use std::path::Path;
use thalweg::checkpoint::{Folder, Loaded, Renames, Saver, Tensors, read_foreign};
use thalweg::cpu::Cpu;
use thalweg::data::Dataset;
use thalweg::nn::{
    BatchNorm1d, BatchNorm2d, Cell, Conv2d, Dropout, Flatten, GroupNorm, Linear, MaxPool2d, Model, Nonlinearity, Recurrent,
    Reshape, Sequential, Tape, Value,
};
use thalweg::schedule::{Cosine, ReduceLrOnPlateau};
use thalweg::train::{EarlyStopping, TrainerBuilder};
use thalweg::{Accumulation, Adam, AdamW, Average, Error, Recipe, Result, ScheduleFree, Select, Sgd, Trainer};

/// 23 rows of three classes: with batches of 5 the last one is smaller.
fn data() -> Dataset {
    let features = (0..23 * 3).map(|i| (i * 37 % 23) as f32 / 11.0 - 1.0).collect();
    Dataset::new(features, 3, (0..23).map(|i| i * 5 % 3).collect()).expect("data")
}

fn model() -> Sequential {
    let hidden = Sequential::new().then(Linear::new(3, 8)).then(BatchNorm1d::new(8)).then(Nonlinearity::Tanh);
    hidden.then(Dropout { p: 0.3 }).then(Linear::new(8, 3))
}

fn recipes() -> Vec<(&'static str, Recipe, usize)> {
    let adam = || Adam { lr: 0.02, ..Default::default() };
    let frozen = Recipe::new(adam()).group_of("biases", Select::Below(2), Sgd { lr: 0.1, momentum: 0.9, ..Default::default() });
    vec![
        ("clipped, on a schedule", Recipe::new(adam()).clip_norm(0.5).scale("lr", Cosine::new(1.0, 40)), 1),
        ("averaged", Recipe::new(adam()).average(Average::Ema { decay: 0.9 }), 1),
        ("schedule-free", Recipe::new(ScheduleFree { lr: 0.02, ..Default::default() }), 1),
        ("in micro-batches", Recipe::new(adam()).accumulate(Accumulation::default()), 2),
        ("with a frozen group", frozen, 1),
    ]
}

type Checked = Trainer<AnyProgram>;

fn builder<'a>(model: &'a Sequential, recipe: &Recipe, data: &'a Dataset, seeds: &[u64]) -> TrainerBuilder<'a> {
    Trainer::builder(model, recipe.clone()).train(data).validation(data).batch(5).seeds(seeds)
}

fn new(engine: &AnyEngine, recipe: &Recipe, data: &Dataset, micro: usize) -> Result<Checked> {
    let model = model();
    let mut trainer = builder(&model, recipe, data, &[3, 4]).build(engine)?;
    trainer.micro_batches(micro)?;
    Ok(trainer)
}

fn same(what: &str, one: &mut Checked, other: &mut Checked) -> Result<()> {
    for lane in 0..one.lanes() {
        assert_same_bits(what, &one.params(lane)?, &other.params(lane)?);
    }
    assert_eq!(one.metrics()?, other.metrics()?, "{what}: what was met in the epoch");
    assert_eq!(one.evaluate()?, other.evaluate()?, "{what}");
    let (one, other) = (one.tensors()?, other.tensors()?);
    assert!(one == other, "{what}: all that is kept");
    Ok(())
}

/// Saved at the start, in the middle of an epoch, before its last, smaller batch, and at its end; then 7 more steps.
#[test]
fn a_trainer_goes_on_with_the_same_bits_from_any_step() -> Result<()> {
    let data = data();
    for engine in [engines::cpu(), engines::gpu()] {
        for (with, recipe, micro) in recipes() {
            for at in [0, 2, 4, 5, 8] {
                let what = format!("{with}, at step {at}, {}", engine.name);
                let (mut whole, mut other) = (new(&engine, &recipe, &data, micro)?, new(&engine, &recipe, &data, micro)?);
                if with == "with a frozen group" {
                    whole.optimizer_mut().lane(0)?.freeze("biases", true)?;
                }
                whole.advance(at)?;
                // The other trainer has made other steps.
                other.advance(3)?;
                assert!(other.load_tensors(&whole.tensors()?)?.is_complete(), "{what}");
                same(&what, &mut whole, &mut other)?;
                for trainer in [&mut whole, &mut other] {
                    trainer.advance(7)?;
                }
                same(&what, &mut whole, &mut other)?;
                let epochs = [whole.whole_epoch()?, other.whole_epoch()?];
                assert_eq!(epochs[0], epochs[1], "{what}: the rest of the epoch");
            }
        }
    }
    Ok(())
}

/// A rate that follows the loss is a setting like others.
#[test]
fn a_rate_that_fell_on_a_plateau_is_kept() -> Result<()> {
    let (data, recipe) = (data(), Recipe::new(Adam { lr: 0.02, ..Default::default() }));
    let engine = engines::cpu();
    let run = |trainer: &mut Checked, plateau: &mut thalweg::schedule::Plateau, epochs: usize| -> Result<()> {
        for _ in 0..epochs {
            trainer.whole_epoch()?;
            let factor = plateau.step(trainer.evaluate()?[0].loss);
            (0..2).try_for_each(|lane| trainer.set(lane, "default", "lr", 0.02 * factor))?;
        }
        Ok(())
    };
    let start = || {
        ReduceLrOnPlateau { patience: 0, threshold: thalweg::schedule::Threshold::Relative(0.2), ..ReduceLrOnPlateau::new(1.0) }
            .start()
    };
    let (mut whole, mut other) = (new(&engine, &recipe, &data, 1)?, new(&engine, &recipe, &data, 1)?);
    let mut plateau = start()?;
    run(&mut whole, &mut plateau, 6)?;
    assert!(plateau.value() < 1.0, "it fell");
    other.load_tensors(&whole.tensors()?)?;
    let mut twin = plateau.clone();
    run(&mut whole, &mut plateau, 3)?;
    run(&mut other, &mut twin, 3)?;
    same("plateau", &mut whole, &mut other)
}

#[test]
fn a_trainer_of_another_run_is_refused() -> Result<()> {
    let (data, recipe, engine) = (data(), Recipe::new(AdamW::default()), engines::cpu());
    let mut saved = new(&engine, &recipe, &data, 1)?;
    saved.advance(7)?;
    let file = saved.tensors()?;
    let model = model();
    let refused = |trainer: &mut Checked, file: &Tensors, expected: &str| -> Result<()> {
        let before = trainer.tensors()?;
        let error = trainer.load_tensors(file).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(trainer.tensors()? == before, "{expected}: nothing is changed");
        Ok(())
    };
    let mut other = builder(&model, &recipe, &data, &[5, 5]).build(&engine)?;
    refused(&mut other, &file, "seeds of the state: several found, one for all lanes")?;
    let mut other = builder(&model, &recipe, &data, &[3, 4]).batch(6).build(&engine)?;
    refused(&mut other, &file, "\"batch\":5")?;
    let less = data.rows_at(&(0..20).collect::<Vec<_>>())?;
    let mut other = builder(&model, &recipe, &less, &[3, 4]).build(&engine)?;
    refused(&mut other, &file, "\"rows\":23")?;
    let mut other = builder(&model, &recipe, &data, &[3]).build(&engine)?;
    refused(&mut other, &file, "lanes of the file: 2 found, 1 expected")?;
    let mut other = builder(&model, &Recipe::new(Sgd::default()), &data, &[3, 4]).build(&engine)?;
    refused(&mut other, &file, "the rules of the file")?;
    let wider = Sequential::new().then(Linear::new(3, 9)).then(BatchNorm1d::new(9)).then(Linear::new(9, 3));
    let mut other = builder(&wider, &recipe, &data, &[3, 4]).build(&engine)?;
    refused(&mut other, &file, "shape [2, 8] found, shape [2, 9] expected")?;
    let mut same = new(&engine, &recipe, &data, 1)?;
    for name in ["buffer.1.running_mean", "trainer.seed", "trainer.step", "trainer.tally", "param.0.weight"] {
        let mut less = file.clone();
        less.remove(name);
        refused(&mut same, &less, name)?;
    }
    let mut more = file.clone();
    more.put("buffer.9.running_mean", &[2, 8], &[0.0f32; 16])?;
    refused(&mut same, &more, "buffer.9.running_mean")?;
    let mut beyond = file.clone();
    beyond.put("trainer.step", &[2], &[5u64, 5])?;
    refused(&mut same, &beyond, "below 5, the steps of an epoch")?;
    beyond.put("trainer.step", &[2], &[1u64, 2])?;
    refused(&mut same, &beyond, "the same in all lanes")?;
    // One lane of the file, by a trainer of one lane: its seed is in the file.
    let mut one = builder(&model, &recipe, &data, &[9]).build(&engine)?;
    one.load_tensors(&file.lane(1)?)?;
    saved.advance(4)?;
    one.advance(4)?;
    assert_same_bits("lane 1", &one.params(0)?, &saved.params(1)?);
    Ok(())
}

#[test]
fn a_folder_is_filled_while_training_goes_on() -> Result<()> {
    let (data, recipe, engine) = (data(), Recipe::new(AdamW::default()), engines::cpu());
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().join("run");
    let mut trainer = new(&engine, &recipe, &data, 1)?;
    let mut saver = Saver::over(Folder::open(&at)?.keep(2))?;
    for _ in 0..4 {
        trainer.advance(3)?;
        saver.save_step(trainer.steps() as u64, trainer.tensors()?)?;
    }
    saver.save_best(trainer.tensors()?)?;
    assert!(Folder::open(&at).is_err(), "it is locked until the saver ends");
    saver.finish()?;
    assert_eq!(Folder::steps(&at)?, [9, 12]);
    let mut other = new(&engine, &recipe, &data, 1)?;
    other.load_tensors(&Folder::newest(&at)?.1)?;
    assert_eq!(other.steps(), 12);
    same("from the folder", &mut other, &mut trainer)?;
    assert!(Folder::best(&at)? == trainer.tensors()?);
    // Without a folder, a step cannot be saved.
    let mut saver = Saver::start()?;
    saver.save_step(1, Tensors::default())?;
    assert!(matches!(saver.finish(), Err(Error::Order { .. })));
    Ok(())
}

/// What a perceptron of PyTorch with batch normalisation predicts, by tests/golden/checkpoint/perceptron.py.
#[test]
fn a_perceptron_of_pytorch_predicts_the_same_here() -> Result<()> {
    let file = read_foreign(Path::new("golden/checkpoint/perceptron.safetensors"))?;
    let (x, expected): (Vec<f32>, Vec<f64>) = (file.get("x")?, file.get("y")?);
    let hidden = Sequential::new().then(Linear::new(5, 16)).then(BatchNorm1d::new(16)).then(Nonlinearity::Gelu);
    let model = hidden.then(Linear::new(16, 8)).then(BatchNorm1d::new(8)).then(Nonlinearity::Relu).then(Linear::new(8, 3));
    let mut weights = file.clone();
    for name in ["x", "y"] {
        weights.remove(name);
    }
    let weights = Renames::default().prefix("net.", "").apply(&weights)?;
    let data = Dataset::new(vec![0.0; 10], 5, vec![0, 2])?;
    for engine in engines::all() {
        let mut trainer = Trainer::builder(&model, Recipe::new(AdamW::default())).train(&data).build(&engine)?;
        let loaded = trainer.load_weights(&weights)?;
        assert_eq!(loaded.unused, ["1.num_batches_tracked", "4.num_batches_tracked"]);
        let found = trainer.predict(0, &x)?;
        let largest = largest(&expected);
        assert!(largest > 0.5, "there is something to compare: {largest}");
        // The bound that the documentation promises: 1e-5.
        assert_close(engine.name, &found, &expected, |_| 1e-5);
        // And back: the same tensors, except for PyTorch's counts of batches.
        let back = trainer.weights(0)?;
        assert!(back.iter().all(|(name, tensor)| weights.find(name) == Some(tensor)) && back.len() + 2 == weights.len());
        let mut less = weights.clone();
        less.remove("1.running_var");
        let before = trainer.weights(0)?;
        assert!(matches!(trainer.load_weights(&less), Err(Error::NoTensor { .. })));
        less.put("6.bias", &[2], &[9.0f32; 2])?;
        less.put("0.bias", &[16], &[9.0f32; 16])?;
        assert!(matches!(trainer.load_weights(&less), Err(Error::NoTensor { .. } | Error::Shape { .. })));
        assert!(trainer.weights(0)? == before, "nothing is changed");
        let loaded = trainer.load_weights_lenient(&less)?;
        let kept: Vec<&str> = loaded.kept.iter().map(|(name, _)| &**name).collect();
        assert_eq!(kept, ["6.bias", "1.running_var"]);
        let after = trainer.weights(0)?;
        assert_eq!(after.get::<f32>("0.bias")?, [9.0; 16]);
        assert!(after.find("1.running_var") == before.find("1.running_var") && after.find("6.bias") == before.find("6.bias"));
    }
    Ok(())
}

/// The last step of a sequence.
#[derive(Debug)]
struct Last;

impl Model for Last {
    fn forward(&self, tape: &mut Tape, x: &Value) -> Value {
        let [samples, steps, values] = *x.shape() else { return tape.fail(Error::shape("x", "a sequence", x.len())) };
        x.slice(1, steps - 1..steps).reshape(&[samples, values])
    }
}

/// What networks of PyTorch predict, by tests/golden/checkpoint/networks.py, whose layers have the same names and settings
/// here.
#[test]
fn convolutions_and_an_lstm_of_pytorch_predict_the_same_here() -> Result<()> {
    let conv1 = Conv2d { bias: false, ..Conv2d::new(2, 6, [3, 3]).padded([1, 1]) };
    let conv2 = Conv2d { stride: [1, 2], dilation: [1, 2], groups: 2, ..Conv2d::new(6, 8, [3, 2]) };
    let images = Sequential::new().then(Reshape(vec![2, 8, 8])).named("conv1", conv1).named("norm1", BatchNorm2d::new(6));
    let images = images.then(Nonlinearity::Relu).then(MaxPool2d::new([2, 2])).named("conv2", conv2);
    let images = images.named("norm2", GroupNorm::new(2, 8)).then(Nonlinearity::Silu).then(Flatten);
    let lstm = Recurrent { layers: 2, both_directions: true, ..Recurrent::new(Cell::Lstm, 3, 7) };
    let sequences = Sequential::new().then(Reshape(vec![6, 3])).named("lstm", lstm).then(Last);
    let networks = [
        ("convolutions", images.named("out", Linear::new(16, 3)), &["norm1.num_batches_tracked"][..]),
        ("lstm", sequences.named("out", Linear::new(14, 3)), &[]),
    ];
    for (name, model, unused) in networks {
        let mut weights = read_foreign(Path::new(&format!("golden/checkpoint/{name}.safetensors")))?;
        let (x, expected): (Vec<f32>, Vec<f64>) = (weights.get("x")?, weights.get("y")?);
        for name in ["x", "y"] {
            weights.remove(name);
        }
        let width = x.len() / (expected.len() / 3);
        let data = Dataset::new(vec![0.0; 2 * width], width, vec![0, 2])?;
        for engine in engines::all() {
            let mut trainer = Trainer::builder(&model, Recipe::new(AdamW::default())).train(&data).build(&engine)?;
            assert_eq!(trainer.load_weights(&weights)?.unused, unused, "{name}");
            let found = trainer.predict(0, &x)?;
            assert!(largest(&expected) > 0.5, "there is something to compare");
            // The bound that the documentation promises: 1e-5.
            assert_close(&format!("{name}, {}", engine.name), &found, &expected, |_| 1e-5);
            // And back: the same tensors, except for PyTorch's counts of batches.
            let back = trainer.weights(0)?;
            assert_eq!(back.len() + unused.len(), weights.len(), "{name}");
            assert!(back.iter().all(|(name, tensor)| weights.find(name) == Some(tensor)), "{name}");
        }
    }
    Ok(())
}

/// A model is loaded for predictions without the data that it was trained on.
#[test]
fn a_model_predicts_without_its_data() -> Result<()> {
    let (data, model) = (data(), model());
    let engine = Cpu::<f32>::default();
    for (with, recipe, micro) in recipes() {
        let mut trained = Trainer::builder(&model, recipe.clone()).train(&data).batch(5).build(&engine)?;
        trained.micro_batches(micro)?;
        trained.advance(12)?;
        let file = trained.tensors()?;
        let few = data.rows_at(&[0, 1, 2])?;
        let mut other = Trainer::builder(&model, recipe).train(&few).seed(9).build(&engine)?;
        assert!(other.load_tensors(&file).is_err(), "it is no run of this trainer");
        other.load_model(&file)?;
        assert_same_bits(with, &other.predict(0, &data.features)?, &trained.predict(0, &data.features)?);
    }
    Ok(())
}

/// To predict, only the model's own tensors count: neither the rule nor what a program has put beside them.
#[test]
fn a_model_of_another_rule_and_with_a_programs_own_tensors_predicts() -> Result<()> {
    let (data, model) = (data(), model());
    for engine in engines::all() {
        let build = |recipe: Recipe| builder(&model, &recipe, &data, &[3, 4]).build(&engine);
        let mut trained = build(Recipe::new(AdamW { lr: 0.02, ..Default::default() }))?;
        trained.advance(7)?;
        let mut file = trained.tensors()?;
        file.put("run.epochs", &[2, 7], &[1.0f64; 14])?;
        file.put("scaler.shift", &[3], &[0.5f64; 3])?;
        for recipe in [Recipe::new(Sgd::default()), Recipe::new(AdamW::default())] {
            let mut other = build(recipe)?;
            other.advance(3)?;
            let loaded = other.load_model(&file)?;
            assert!(loaded.unused.iter().any(|name| name == "scaler.shift"), "what is left is said");
            for lane in [0, 1] {
                let found = other.predict(lane, &data.features)?;
                assert_same_bits(engine.name, &found, &trained.predict(lane, &data.features)?);
            }
            assert!(other.weights(1)? == trained.weights(1)?);
        }
        let mut other = build(Recipe::new(Sgd::default()))?;
        let before = other.weights(1)?;
        let changed = |change: &dyn Fn(&mut Tensors) -> Result<()>| {
            let mut changed = file.clone();
            change(&mut changed).map(|()| changed)
        };
        let missing = |name: &'static str| {
            changed(&move |file| {
                file.remove(name);
                Ok(())
            })
        };
        let extra = |name: &'static str, shape: &'static [usize]| {
            changed(&move |file| file.put(name, shape, &vec![0.0f32; shape.iter().product()]))
        };
        let wrong = [
            ("the file has no tensor 'param.0.bias'", missing("param.0.bias")?),
            ("the file has no tensor 'buffer.1.running_var'", missing("buffer.1.running_var")?),
            ("'param.9.bias'", extra("param.9.bias", &[2, 8])?),
            ("'buffer.9.mean'", extra("buffer.9.mean", &[2, 8])?),
            ("tensor 'param.0.bias' of the file: shape [2, 9] found", extra("param.0.bias", &[2, 9])?),
            ("tensor 'param.0.bias' of the file: shape [8] found", extra("param.0.bias", &[8])?),
        ];
        for (expected, file) in wrong {
            let error = other.load_model(&file).expect_err(expected).to_string();
            assert!(error.contains(expected), "{expected}: {error}");
            assert!(other.weights(1)? == before, "nothing is changed");
        }
    }
    Ok(())
}

/// What a rule evaluates by its own state cannot be evaluated without that rule, unless the best epoch is in the file.
#[test]
fn a_model_whose_rule_averages_needs_its_rule() -> Result<()> {
    let (data, model, engine) = (data(), model(), engines::cpu());
    let averaging = Recipe::new(ScheduleFree { lr: 0.1, ..Default::default() });
    let build = |recipe: &Recipe| builder(&model, recipe, &data, &[3]).build(&engine);
    for (of_the_file, own) in [(&averaging, &Recipe::new(Sgd::default())), (&Recipe::new(Sgd::default()), &averaging)] {
        let mut trained = build(of_the_file)?;
        trained.advance(7)?;
        let error = build(own)?.load_model(&trained.tensors()?).expect_err("another rule").to_string();
        assert!(error.contains("the rules of the file"), "{error}");
    }
    let mut trained = build(&averaging)?;
    trained.advance(7)?;
    let mut less = trained.tensors()?;
    let plane = less.iter().map(|(name, _)| name.to_string()).find(|name| name.starts_with("state.")).expect("a state");
    less.remove(&plane);
    let error = build(&averaging)?.load_model(&less).expect_err("a plane is missing").to_string();
    assert!(error.contains(&plane), "{error}");
    Ok(())
}

/// A file has the last epoch, from which a run goes on, and the best one, with which a model predicts, whatever its rule.
#[test]
fn a_model_is_that_of_the_best_epoch_and_a_run_goes_on_from_the_last() -> Result<()> {
    let (data, model) = (data(), model());
    let adam = Recipe::new(Adam { lr: 0.3, ..Default::default() });
    let free = Recipe::new(ScheduleFree { lr: 0.3, ..Default::default() });
    for engine in engines::all() {
        for (recipe, keep_best) in [(&adam, true), (&free, true), (&adam, false)] {
            let stopping = EarlyStopping { patience: 99, keep_best, ..Default::default() };
            let new = || builder(&model, recipe, &data, &[3, 4]).early_stopping(stopping).build(&engine);
            let mut trained = new()?;
            let mut best = [0, 1].map(|_| (Vec::new(), None));
            while trained.epochs() < 4 || (0..2).any(|lane| trained.best(lane).is_ok_and(|best| best.epoch == trained.epochs()))
            {
                trained.whole_epoch()?;
                let found = trained.evaluate()?;
                trained.observe(&found)?;
                for (lane, best) in best.iter_mut().enumerate() {
                    if trained.best(lane)?.epoch == trained.epochs() || !keep_best {
                        *best = (trained.predict(lane, &data.features)?, Some(trained.weights(lane)?));
                    }
                }
            }
            let file = trained.tensors()?;
            assert_eq!(file.find("best.param.0.bias").is_some(), keep_best);
            let (mut of_sgd, mut same_rule) =
                (builder(&model, &Recipe::new(Sgd::default()), &data, &[3, 4]).build(&engine)?, new()?);
            for other in [&mut of_sgd, &mut same_rule] {
                other.advance(3)?;
                other.load_model(&file)?;
                for (lane, (predictions, weights)) in best.iter().enumerate() {
                    assert_same_bits(engine.name, &other.predict(lane, &data.features)?, predictions);
                    assert!(Some(other.weights(lane)?) == *weights, "{}: weights are those that predict", engine.name);
                }
            }
            let mut resumed = new()?;
            resumed.load_tensors(&file)?;
            for trainer in [&mut trained, &mut resumed] {
                trainer.advance(3)?;
            }
            same("goes on from the last epoch", &mut resumed, &mut trained)?;
        }
    }
    Ok(())
}

/// A model from a file predicts with the best epoch that early stopping restored, and training goes on from where it ended.
#[test]
fn a_file_knows_that_the_best_is_evaluated() -> Result<()> {
    let (data, model, engine) = (data(), model(), engines::cpu());
    let recipe = Recipe::new(ScheduleFree { lr: 0.3, ..Default::default() });
    let new = |stops: bool| {
        let builder = Trainer::builder(&model, recipe.clone()).train(&data).validation(&data).batch(5).seeds(&[3]);
        let stopping = EarlyStopping { patience: 2, ..Default::default() };
        if stops { builder.early_stopping(stopping).build(&engine) } else { builder.build(&engine) }
    };
    let mut trained = new(true)?;
    trained.fit(60, |_, _| Ok(ControlFlow::Continue(())))?;
    assert!(trained.best(0)?.epoch < trained.epochs(), "there is another end than the best");
    let (file, expected) = (trained.tensors()?, trained.predict(0, &data.features)?);
    let mut resumed = new(true)?;
    resumed.load_tensors(&file)?;
    assert_same_bits("a run that goes on", &resumed.predict(0, &data.features)?, &expected);
    for stops in [false, true] {
        let mut other = new(stops)?;
        other.advance(3)?;
        other.load_model(&file)?;
        assert_same_bits("a model", &other.predict(0, &data.features)?, &expected);
        assert!(other.weights(0)? == trained.weights(0)?, "weights are those that predict");
    }
    // A file without this array is one of the state where training ended.
    let mut older = file.clone();
    older.remove("best.restored");
    let mut other = new(true)?;
    other.load_tensors(&older)?;
    assert_ne!(other.predict(0, &data.features)?, expected);
    for trainer in [&mut trained, &mut resumed, &mut other] {
        trainer.advance(3)?;
    }
    same("after the file", &mut resumed, &mut trained)?;
    same("after the older file", &mut other, &mut trained)?;
    // Loaded weights are evaluated from then on, with the earlier running statistics if the weights have none.
    let mut again = new(true)?;
    again.load_tensors(&file)?;
    let mut weights = again.weights(0)?;
    let live = file.get::<f32>("buffer.1.running_var")?;
    assert_ne!(weights.get::<f32>("1.running_var")?, live);
    weights.remove("1.running_var");
    again.load_weights_lenient(&weights)?;
    assert_eq!(again.weights(0)?.get::<f32>("1.running_var")?, live);
    assert_ne!(again.predict(0, &data.features)?, expected);
    Ok(())
}

/// Lanes keep their own running statistics if the weights have none.
#[test]
fn weights_that_lack_statistics_leave_those_of_each_lane() -> Result<()> {
    let (data, recipe, engine) = (data(), Recipe::new(AdamW::default()), engines::cpu());
    let mut trainer = new(&engine, &recipe, &data, 1)?;
    trainer.advance(6)?;
    let before = [trainer.weights(0)?, trainer.weights(1)?].map(|weights| weights.get::<f32>("1.running_var"));
    assert_ne!(before[0], before[1], "lanes differ");
    let mut weights = trainer.weights(0)?;
    weights.remove("1.running_var");
    let loaded = trainer.load_weights_lenient(&weights)?;
    assert_eq!(loaded.kept.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["1.running_var"]);
    for (lane, before) in before.into_iter().enumerate() {
        let after = trainer.weights(lane)?;
        assert_eq!(after.get::<f32>("1.running_var"), before, "lane {lane}");
        assert_eq!(after.find("1.running_mean"), weights.find("1.running_mean"), "lane {lane}");
    }
    Ok(())
}

#[test]
fn what_fits_of_a_trainer_is_loaded_and_the_rest_is_named() -> Result<()> {
    let (data, recipe, engine, model) = (data(), Recipe::new(AdamW::default()), engines::cpu(), model());
    let mut old = new(&engine, &recipe, &data, 1)?;
    old.advance(7)?;
    let file = old.tensors()?;
    let kept = |loaded: &Loaded| loaded.kept.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();

    // If everything fits, it is like strict loading, in the middle of an epoch.
    let mut whole = new(&engine, &recipe, &data, 1)?;
    let loaded = whole.load_tensors_lenient(&file)?;
    assert!(loaded.is_complete() && loaded.loaded.len() == file.len(), "{loaded}");
    same("all of it", &mut whole, &mut old)?;

    // A parameter and a buffer may be missing, and another tensor may be present, if all other state is there.
    let mut less = file.clone();
    less.remove("param.0.bias");
    less.remove("buffer.1.running_var");
    less.put("extra", &[1], &[1.0f32])?;
    let mut other = new(&engine, &recipe, &data, 1)?;
    let before = other.tensors()?;
    let loaded = other.load_tensors_lenient(&less)?;
    assert_eq!(
        (kept(&loaded), &loaded.unused[..]),
        (vec!["buffer.1.running_var".into(), "param.0.bias".into()], &["extra".to_string()][..])
    );
    let after = other.tensors()?;
    for (name, tensor) in file.iter() {
        let from = if less.find(name).is_some() { Some(tensor) } else { before.find(name) };
        assert!(after.find(name) == from, "{name}");
    }
    assert_eq!(other.steps(), 7);

    // With other batches, another rule or more classes, the fitting parameters and buffers are loaded, and nothing of the run.
    let wider = Sequential::new().then(Linear::new(3, 8)).then(BatchNorm1d::new(8)).then(Nonlinearity::Tanh);
    let wider = wider.then(Dropout { p: 0.3 }).then(Linear::new(8, 4));
    let sgd = Recipe::new(Sgd::default());
    for (what, built, first) in [
        ("batches", builder(&model, &recipe, &data, &[3, 4]).batch(6), None),
        ("rule", builder(&model, &sgd, &data, &[3, 4]), None),
        ("classes", builder(&wider, &recipe, &data, &[3, 4]), Some("param.4.bias")),
    ] {
        let mut other = built.build(&engine)?;
        other.advance(2)?;
        let loaded = other.load_tensors_lenient(&file)?;
        let (names, after) = (kept(&loaded), other.tensors()?);
        assert_eq!(names.last().map(String::as_str), Some("all but parameters and buffers"), "{what}: {loaded}");
        assert_eq!(names.first().map(String::as_str), first.or(Some("all but parameters and buffers")), "{what}: {loaded}");
        for name in ["param.0.weight", "buffer.1.running_mean", "buffer.1.running_var"] {
            assert!(after.find(name) == file.find(name), "{what}: {name}");
        }
        assert_eq!(other.steps(), 2, "{what}");
    }

    // Impossible counts do not prevent loading the weights.
    let mut beyond = file.clone();
    beyond.put("trainer.step", &[2], &[9u64, 9])?;
    let mut other = new(&engine, &recipe, &data, 1)?;
    let loaded = other.load_tensors_lenient(&beyond)?;
    assert!(
        kept(&loaded) == ["all but parameters and buffers"] && loaded.kept[0].1.to_string().contains("below 5"),
        "{loaded}"
    );
    assert!(other.params(1)? == old.params(1)? && other.steps() == 0);
    Ok(())
}
