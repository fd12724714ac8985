//! Parts of files: weights alone, other names, lenient loading, lanes, values that are not finite; and L-BFGS.

use crate::common::engines::{self, AnyProgram};
use crate::common::numbers::{gradient, numbers};
use thalweg::checkpoint::{Dtype, Renames, StoredTensor, Tensors};
use thalweg::cpu::Cpu;
use thalweg::{Adam, AdamW, Average, Error, Lbfgs, LbfgsSettings, LineSearch, Optimizer, Recipe, Result, Sgd, StateValues};

const TENSORS: &[(&str, &[usize])] = &[("a.weight", &[4, 3]), ("a.bias", &[5])];

fn feed<P: thalweg::plan::Program<Float = f32>>(optimizer: &mut Optimizer<P>, lane: usize, of: usize, step: u64) -> Result<()> {
    for (index, (tensor, shape)) in TENSORS.iter().enumerate() {
        let grads = gradient(7 * of as u64 + index as u64, step as usize, shape.iter().product());
        optimizer.lane(lane)?.set_grads(tensor, &grads)?;
    }
    Ok(())
}

/// A population in the middle of a run, whose lanes have their own rates.
fn population(engine: &engines::AnyEngine, lanes: usize) -> Result<Optimizer<AnyProgram>> {
    let rules = (0..lanes).map(|lane| Adam { lr: 0.01 * (1 + lane) as f64, ..Default::default() });
    let recipe = Recipe::population(rules).clip_norm(0.5).average(Average::Ema { decay: 0.9 });
    let mut optimizer = Optimizer::new(engine, recipe, TENSORS)?;
    for lane in 0..lanes {
        for (tensor, shape) in TENSORS {
            optimizer.lane(lane)?.set_params(tensor, &numbers(lane as u64, shape.iter().product()))?;
        }
    }
    Ok(optimizer)
}

fn advance(optimizer: &mut Optimizer<AnyProgram>, lanes: &[usize], steps: std::ops::Range<u64>) -> Result<()> {
    for step in steps {
        for (lane, &of) in lanes.iter().enumerate() {
            feed(optimizer, lane, of, step)?;
        }
        optimizer.step()?;
    }
    Ok(())
}

/// A lane can go on alone, with the same bits as among the others, and be put into another population.
#[test]
fn a_lane_is_taken_out_and_put_in() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let mut three = population(&engine, 3)?;
        advance(&mut three, &[0, 1, 2], 0..4)?;
        let saved = three.tensors()?;
        assert_eq!(saved.lanes()?, 3);
        advance(&mut three, &[0, 1, 2], 4..7)?;
        let whole = three.tensors()?;

        let mut alone = population(&engine, 1)?;
        alone.load_tensors(&saved.lane(1)?)?;
        advance(&mut alone, &[1], 4..7)?;
        let one = alone.tensors()?;
        assert!(one == whole.lane(1)?, "{}: lane 1 alone has its bits", engine.name);

        // Lane 1, at step 7, replaces lane 0 of another population of two, which is at step 4.
        let mut two = population(&engine, 2)?;
        advance(&mut two, &[2, 0], 0..4)?;
        let mut with = two.tensors()?;
        with.set_lane(0, &one)?;
        two.load_tensors(&with)?;
        let after = two.tensors()?;
        let same = |lane: &Tensors, other: &Tensors| {
            lane.iter().zip(other.iter()).all(|(left, right)| left == right || left.0 == "host.steps")
                && lane.len() == other.len()
        };
        assert!(same(&after.lane(0)?, &one), "{}: lane 1 is lane 0 there", engine.name);
        assert_eq!(after.lane(0)?.texts, one.texts);
        assert!(!same(&after.lane(1)?, &one), "{}: the other lane stays", engine.name);
        advance(&mut three, &[0, 1, 2], 7..9)?;
        advance(&mut two, &[1, 0], 7..9)?;
        assert_eq!(two.lane(0)?.params("a.weight")?, three.lane(1)?.params("a.weight")?, "{}", engine.name);
    }
    Ok(())
}

#[test]
fn lanes_that_do_not_fit_are_refused() -> Result<()> {
    let engine = engines::cpu();
    let mut tensors = population(&engine, 2)?.tensors()?;
    let one = tensors.lane(0)?;
    assert!(matches!(tensors.lane(2), Err(Error::Setting { .. })));
    assert!(one.lane(0)? == one, "one lane is itself");
    assert!(matches!(tensors.clone().set_lane(2, &one), Err(Error::Setting { .. })));
    assert!(matches!(tensors.clone().set_lane(0, &tensors), Err(Error::Setting { .. })), "two lanes are no lane");
    let mut without = one.clone();
    without.remove("state.a.bias.exp_avg");
    let error = tensors.set_lane(0, &without).expect_err("a tensor is missing").to_string();
    assert!(error.starts_with("what is put in has no tensor 'state.a.bias.exp_avg'; it has "), "{error}");
    assert!(error.ends_with("; near it: state.a.bias.exp_avg_sq"), "{error}");
    let mut surplus = one.clone();
    surplus.put("more", &[1], &[1.0f32])?;
    assert!(matches!(tensors.set_lane(0, &surplus), Err(Error::Unknown { .. })));
    let mut other = one.clone();
    other.put("param.a.bias", &[5], &[1.0f64; 5])?;
    let error = tensors.set_lane(0, &other).expect_err("another type").to_string();
    assert_eq!(error, "tensor 'param.a.bias' of what is put in: F64 [5] found, F32 [5] expected");
    let mut other = one.clone();
    other.texts.insert("rules".into(), "default: sgd".into());
    assert!(matches!(tensors.set_lane(0, &other), Err(Error::Shape { .. })));
    let mut between = one.clone();
    between.put("host.before_step", &[], &[1u64])?;
    assert!(matches!(tensors.set_lane(0, &between), Err(Error::Conflict { .. })));
    assert!(tensors == population(&engine, 2)?.tensors()?, "nothing was changed");
    let mut wrong = tensors.clone();
    wrong.texts.insert("lanes".into(), "none".into());
    assert!(matches!(wrong.lanes(), Err(Error::Setting { .. })));
    wrong.texts.insert("lanes".into(), "3".into());
    assert!(matches!(wrong.lane(0), Err(Error::Shape { .. })));
    Ok(())
}

#[test]
fn names_are_changed_by_a_table() -> Result<()> {
    let mut tensors = Tensors::default();
    for name in ["body.0.w", "body.0.b", "body.head", "other"] {
        tensors.put(name, &[1], &[1.0f32])?;
    }
    tensors.texts.insert("format".into(), "pt".into());
    let names = |renames: Renames| -> Result<Vec<String>> {
        let renamed = renames.apply(&tensors)?;
        assert_eq!(renamed.texts, tensors.texts);
        Ok(renamed.iter().map(|(name, _)| name.to_string()).collect())
    };
    assert_eq!(names(Renames::default())?, ["body.0.b", "body.0.w", "body.head", "other"]);
    // A whole name comes before prefixes, and a longer prefix before a shorter one.
    let table = Renames::default().prefix("body.", "").prefix("body.0.", "1.").exact("body.head", "body.0.b");
    assert_eq!(names(table)?, ["1.b", "1.w", "body.0.b", "other"]);
    assert_eq!(names(Renames::default().prefix("", "model."))?[0], "model.body.0.b");
    assert_eq!(
        names(Renames::default().prefix("body.", "").exact("other", "head")),
        Err(Error::Duplicate { kind: "tensor".into(), name: "head".into() })
    );
    assert!(
        matches!(names(Renames::default().exact("body.heat", "x")), Err(Error::NoTensor { hint: Some(hint), .. }) if hint.contains("body.head"))
    );
    assert!(matches!(names(Renames::default().prefix("bodies.", "x")), Err(Error::Empty { .. })));
    assert!(matches!(names(Renames::default().exact("other", "__metadata__")), Err(Error::Setting { .. })));
    Ok(())
}

#[test]
fn weights_are_loaded_by_plain_names() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let recipe = Recipe::population([Adam::default(), Adam::default()]).average(Average::Ema { decay: 0.5 });
        let mut optimizer = Optimizer::new(&engine, recipe, TENSORS)?;
        let mut file = Tensors::default();
        file.put("a.weight", &[4, 3], &numbers(1, 12))?;
        file.put("a.bias", &[2, 5], &numbers(2, 10))?;
        assert!(optimizer.load_weights(&file)?.is_complete());
        for lane in 0..2 {
            assert_eq!(optimizer.lane(lane)?.params("a.weight")?, numbers(1, 12));
            assert_eq!(optimizer.lane(lane)?.params("a.bias")?, numbers(2, 10)[5 * lane..][..5]);
            // Averages, slow weights and copies follow the parameters.
            assert_eq!(optimizer.lane(lane)?.averaged("a.weight")?, numbers(1, 12));
        }
        let weights = optimizer.weights(1)?;
        assert_eq!(
            weights.iter().map(|(name, tensor)| (name, &tensor.shape[..])).collect::<Vec<_>>(),
            [("a.bias", &[5][..]), ("a.weight", &[4, 3])]
        );
        assert_eq!(weights.get::<f32>("a.bias")?, numbers(2, 10)[5..]);

        let before = optimizer.tensors()?;
        let mut refused = |change: &dyn Fn(&mut Tensors) -> Result<()>, expected: &str| -> Result<()> {
            let mut file = file.clone();
            change(&mut file)?;
            let error = optimizer.load_weights(&file).expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
            assert!(optimizer.tensors()? == before, "{expected}: nothing is changed");
            Ok(())
        };
        refused(
            &|file| file.remove("a.bias").map(drop).ok_or(Error::Empty { what: String::new() }),
            "the file has no tensor 'a.bias'; it has a.weight",
        )?;
        refused(&|file| file.put("a.bias_", &[1], &[1.0f32]), "unknown tensor of the file 'a.bias_'")?;
        refused(&|file| file.put("a.weight", &[3, 4], &[1.0f32; 12]), "shape [3, 4] found, shape [4, 3] expected")?;
        refused(&|file| file.put("a.weight", &[4, 3], &[1.0f64; 12]), "F64 found, F32 expected")?;
        refused(&|file| file.put("a.bias", &[3, 5], &[1.0f32; 15]), "shape [3, 5]")?;
    }
    Ok(())
}

#[test]
fn floats_are_cast_where_one_asks_for_it() -> Result<()> {
    let mut file = Tensors::default();
    let half = |bits: [u16; 4]| bits.iter().flat_map(|bits| bits.to_le_bytes()).collect::<Vec<u8>>();
    file.insert("f16", StoredTensor::new("f16", Dtype::F16, &[4], half([0x3c00, 0xc000, 0x7c00, 0x0001]))?)?;
    file.insert("bf16", StoredTensor::new("bf16", Dtype::Bf16, &[4], half([0x3f80, 0xc000, 0x7f80, 0x3f81]))?)?;
    file.put("f64", &[3], &[0.1f64, 1e300, -0.0])?;
    file.put("i64", &[1], &[1i64 << 60])?;
    let cast = file.cast::<f32>()?;
    assert_eq!(cast.get::<f32>("f16")?, [1.0, -2.0, f32::INFINITY, 5.960_464_5e-8]);
    assert_eq!(cast.get::<f32>("bf16")?, [1.0, -2.0, f32::INFINITY, 1.007_812_5]);
    assert_eq!(cast.get::<f32>("f64")?, [0.1, f32::INFINITY, -0.0]);
    assert_eq!(cast.get::<i64>("i64")?, [1 << 60]);
    assert_eq!(file.cast::<f64>()?.get::<f64>("f16")?[3], 2f64.powi(-24));
    assert!(matches!(file.cast::<u32>(), Err(Error::Shape { .. })));
    Ok(())
}

#[test]
fn what_fits_of_a_file_is_loaded_and_the_rest_is_named() -> Result<()> {
    let engine = Cpu::<f32>::default();
    let new = |rule: Adam, tensors: &[(&str, &[usize])]| Optimizer::new(&engine, Recipe::new(rule), tensors);
    let mut old = new(Adam::default(), TENSORS)?;
    for step in 0..3 {
        feed(&mut old, 0, 0, step)?;
        old.step()?;
    }
    let file = old.tensors()?;

    // If everything fits, it is like strict loading.
    let mut same = new(Adam { lr: 0.5, ..Default::default() }, TENSORS)?;
    let loaded = same.load_tensors_lenient(&file)?;
    assert!(loaded.is_complete() && loaded.loaded.len() == file.len(), "{loaded}");
    assert!(same.tensors()? == file);

    // A surplus tensor alone does no harm.
    let mut more = file.clone();
    more.put("extra", &[1], &[1.0f32])?;
    let mut same = new(Adam::default(), TENSORS)?;
    let loaded = same.load_tensors_lenient(&more)?;
    assert_eq!((&loaded.unused[..], loaded.kept.len()), (&["extra".to_string()][..], 0));
    assert!(same.tensors()? == file);

    // Parameters may be missing if the state is there.
    let mut less = file.clone();
    less.remove("param.a.bias");
    let mut same = new(Adam::default(), TENSORS)?;
    same.lane(0)?.set_params("a.bias", &[9.0; 5])?;
    let loaded = same.load_tensors_lenient(&less)?;
    assert_eq!(loaded.kept.iter().map(|(name, _)| &**name).collect::<Vec<_>>(), ["param.a.bias"]);
    assert_eq!(same.lane(0)?.params("a.bias")?, [9.0; 5]);
    assert_eq!(same.lane(0)?.state("a.bias", "m")?, old.lane(0)?.state("a.bias", "m")?);
    assert_eq!(same.lane(0)?.report()?.applied, 3);

    // If any part of the state is missing, none of it is loaded, not even the counters.
    let mut less = file.clone();
    less.remove("state.a.bias.exp_avg");
    let mut same = new(Adam::default(), TENSORS)?;
    let loaded = same.load_tensors_lenient(&less)?;
    assert_eq!(loaded.loaded, ["param.a.bias", "param.a.weight"]);
    let (what, reason) = &loaded.kept[0];
    assert!(
        what == "all but parameters" && matches!(reason, Error::NoTensor { name, .. } if name == "state.a.bias.exp_avg"),
        "{loaded}"
    );
    assert_eq!(same.lane(0)?.params("a.bias")?, old.lane(0)?.params("a.bias")?);
    assert_eq!((same.lane(0)?.report()?.applied, same.lane(0)?.state("a.weight", "m")?), (0, vec![0.0; 12]));

    // Another rule.
    let mut other = Optimizer::new(&engine, Recipe::new(Sgd::default()), TENSORS)?;
    let loaded = other.load_tensors_lenient(&file)?;
    assert!(matches!(&loaded.kept[0].1, Error::Shape { what, .. } if what == "the rules of the file"));
    assert!(loaded.unused.contains(&"state.a.bias.exp_avg".to_string()));
    assert_eq!(other.lane(0)?.params("a.weight")?, old.lane(0)?.params("a.weight")?);

    // Nothing fits.
    let loaded = new(Adam::default(), &[("z", &[2])])?.load_tensors_lenient(&file)?;
    assert!(loaded.loaded.is_empty() && !loaded.is_complete());
    Ok(())
}

#[test]
fn values_that_are_not_finite_are_loaded_and_reported() -> Result<()> {
    let engine = Cpu::<f32>::default();
    let new = || Optimizer::new(&engine, Recipe::new(Adam::default()), TENSORS);
    let mut file = new()?.tensors()?;
    file.put("param.a.bias", &[5], &[0.0, 1.0, f32::NAN, f32::INFINITY, 0.0])?;
    file.put("state.a.weight.exp_avg_sq", &[4, 3], &[f32::INFINITY; 12])?;
    let expected = [("param.a.bias".to_string(), 2), ("state.a.weight.exp_avg_sq".to_string(), 0)];
    for lenient in [false, true] {
        let mut optimizer = new()?;
        let loaded = if lenient { optimizer.load_tensors_lenient(&file)? } else { optimizer.load_tensors(&file)? };
        assert!(loaded.is_complete());
        assert!(expected.iter().all(|found| loaded.not_finite.contains(found)) && loaded.not_finite.len() == 2, "{loaded}");
        assert!(loaded.to_string().contains("param.a.bias has a value that is not finite, the first one at element 2"));
        assert!(optimizer.lane(0)?.params("a.bias")?[2].is_nan());
    }
    let mut weights = new()?.weights(0)?;
    weights.put("a.bias", &[5], &[f32::NEG_INFINITY; 5])?;
    assert_eq!(new()?.load_weights(&weights)?.not_finite, [("a.bias".to_string(), 0)]);
    // The norm of a bad step is not a value of the model, so it is not reported.
    let mut skipped = Optimizer::new(&engine, Recipe::new(Adam::default()).clip_norm(1.0), TENSORS)?;
    skipped.lane(0)?.set_grads("a.bias", &[f32::NAN; 5])?;
    skipped.step()?;
    let file = skipped.tensors()?;
    assert_eq!(skipped.load_tensors(&file)?.not_finite, []);
    Ok(())
}

/// Settings of a file of PyTorch: taken, compared, or refused.
#[test]
fn settings_of_pytorch_are_taken_or_refused() -> Result<()> {
    let engine = Cpu::<f32>::default();
    let new = |rule: AdamW| Optimizer::new(&engine, Recipe::new(rule), TENSORS);
    let mut old = new(AdamW { lr: 0.25, betas: (0.8, 0.99), weight_decay: 0.125, ..Default::default() })?;
    feed(&mut old, 0, 0, 0)?;
    old.steps(3)?;
    let file = old.export(0)?;
    assert_eq!(file.get::<f64>("param_groups.a.weight.betas")?, [0.8, 0.99]);
    assert_eq!(file.get::<f32>("state.a.bias.step")?, [3.0]);
    let mut other = new(AdamW::default())?;
    other.import(&file)?;
    let numbers = |optimizer: &mut Optimizer<_>, name: &str| -> Result<Vec<f64>> {
        match optimizer.state_dict()?.remove(&format!("setting.default.{name}")).map(|array| array.values) {
            Some(StateValues::Numbers(values)) => Ok(values.concat()),
            _ => Ok(Vec::new()),
        }
    };
    for name in ["lr", "beta1", "beta2", "weight_decay", "eps"] {
        assert_eq!(numbers(&mut other, name)?, numbers(&mut old, name)?, "{name}");
    }
    for optimizer in [&mut old, &mut other] {
        feed(optimizer, 0, 0, 1)?;
        optimizer.steps(2)?;
    }
    assert_eq!(other.lane(0)?.params("a.weight")?, old.lane(0)?.params("a.weight")?);

    let refused = |change: &dyn Fn(&mut Tensors) -> Result<()>, expected: &str| -> Result<()> {
        let (mut file, mut fresh) = (file.clone(), new(AdamW::default())?);
        change(&mut file)?;
        let error = fresh.import(&file).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(fresh.tensors()? == new(AdamW::default())?.tensors()?, "{expected}: nothing is changed");
        Ok(())
    };
    let differs = "lr of 'a.bias': 0.5 found, 0.25, as 'a.weight' of the same group has expected";
    refused(&|file| file.put("param_groups.a.bias.lr", &[], &[0.5]), differs)?;
    refused(
        &|file| {
            file.put("param_groups.a.bias.amsgrad", &[], &[1u8])
                .and_then(|()| file.put("param_groups.a.weight.amsgrad", &[], &[1u8]))
        },
        "amsgrad of the file: true found, false expected",
    )?;
    refused(&|file| file.put("param_groups.a.bias.betas", &[1], &[0.5]), "2 numbers")?;
    refused(&|file| file.put("param_groups.a.bias.warmth", &[], &[0.5]), "unknown setting of adamw 'warmth'")?;
    refused(
        &|file| file.put("param_groups.a.bias.decoupled_weight_decay", &[], &[0u8]),
        "decoupled_weight_decay of the file: false found, true expected",
    )?;
    refused(&|file| file.put("state.a.bias.step", &[], &[2.5f32]), "state.a.bias.step = [2.5] is out of range")?;
    // Settings of PyTorch's implementation are ignored, and a schedule has its own rate.
    let mut how = file.clone();
    how.put("param_groups.a.bias.fused", &[], &[1u8])?;
    new(AdamW::default())?.import(&how)?;
    let recipe = Recipe::new(AdamW::default()).schedule("lr", 0.75);
    let mut scheduled = Optimizer::new(&engine, recipe, TENSORS)?;
    scheduled.import(&file)?;
    assert_eq!((numbers(&mut scheduled, "lr")?, numbers(&mut scheduled, "beta1")?), (vec![1e-3], vec![0.8]));
    Ok(())
}

/// Rosenbrock's valley and a quadratic beside it.
fn loss<P: thalweg::plan::Program<Float = f32>>(point: &mut thalweg::Evaluation<P>) -> Result<f64> {
    let (x, w) = (point.params("x")?, point.params("w")?);
    let (a, b) = (f64::from(x[0]), f64::from(x[1]));
    let valley = b - a * a;
    point.set_grads("x", &[(-400.0 * a * valley - 2.0 * (1.0 - a)) as f32, (200.0 * valley) as f32])?;
    let scales = [1.0, 3.0, 0.5];
    point.set_grads("w", &w.iter().zip(scales).map(|(w, scale)| scale * (w - 1.0)).collect::<Vec<f32>>())?;
    let square = w.iter().zip(scales).map(|(w, scale)| 0.5 * f64::from(scale) * f64::from(w - 1.0).powi(2)).sum::<f64>();
    Ok(100.0 * valley * valley + (1.0 - a).powi(2) + square)
}

#[test]
fn an_lbfgs_goes_on_from_a_file() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("lbfgs.safetensors");
    for engine in [engines::cpu(), engines::gpu()] {
        for (line_search, history_size) in [(LineSearch::None, 2), (LineSearch::StrongWolfe, 3), (LineSearch::StrongWolfe, 50)]
        {
            let lr = if line_search == LineSearch::None { 0.3 } else { 1.0 };
            let settings = LbfgsSettings { lr, max_iter: 4, history_size, line_search, ..Default::default() };
            let new = || Lbfgs::new(&engine, settings.clone(), &[("x", &[2]), ("w", &[3])]);
            let (mut whole, mut other) = (new()?, new()?);
            whole.set_params("x", &[-1.2, 1.0])?;
            // The first file is from a run without a history.
            for part in 0..3 {
                whole.save_file(&file)?;
                assert!(other.load_file(&file)?.is_complete());
                for step in 0..2 {
                    let reports = [whole.step(loss)?, other.step(loss)?];
                    assert_eq!(reports[0], reports[1], "{}, {line_search:?}, part {part}, step {step}", engine.name);
                }
                assert!(whole.tensors()? == other.tensors()?, "{}, {line_search:?}: all that is kept", engine.name);
                assert_ne!(whole.params("x")?, [-1.2, 1.0]);
            }
        }
    }
    Ok(())
}

#[test]
fn a_file_of_another_lbfgs_is_refused() -> Result<()> {
    let engine = Cpu::<f32>::default();
    let new = |history_size, tensors: &[(&str, &[usize])]| {
        Lbfgs::new(&engine, LbfgsSettings { history_size, max_iter: 6, ..Default::default() }, tensors)
    };
    let tensors: &[(&str, &[usize])] = &[("x", &[2]), ("w", &[3])];
    let mut old = new(5, tensors)?;
    old.set_params("x", &[-1.2, 1.0])?;
    old.step(loss)?;
    let file = old.tensors()?;
    let pairs = file.get::<f64>("lbfgs.sg")?.len();
    assert!(pairs > 1, "{pairs}");
    new(50, tensors)?.load_tensors(&file)?;
    let refused = |change: &dyn Fn(&mut Tensors) -> Result<()>, expected: &str| -> Result<()> {
        let (mut file, mut fresh) = (file.clone(), new(5, tensors)?);
        change(&mut file)?;
        let error = fresh.load_tensors(&file).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(fresh.tensors()? == new(5, tensors)?.tensors()?, "{expected}: nothing is changed");
        Ok(())
    };
    let error = new(1, tensors)?.load_tensors(&file).expect_err("less room").to_string();
    assert!(error.contains("at most history_size = 1"), "{error}");
    let error = new(5, &[("x", &[2]), ("w", &[4])])?.load_tensors(&file).expect_err("another shape").to_string();
    assert!(error.contains("shape [3] found, shape [4] expected"), "{error}");
    for name in ["param.x", "state.w.s.1", "state.x.d", "lbfgs.slots", "lbfgs.yg", "lbfgs.numbers"] {
        refused(&|file| file.remove(name).map(drop).ok_or(Error::Empty { what: name.into() }), name)?;
    }
    refused(&|file| file.put("lbfgs.slots", &[pairs], &vec![0u64; pairs]), "lbfgs.slots")?;
    refused(&|file| file.put("lbfgs.slots", &[1], &[0u64]), "lbfgs.slots")?;
    refused(&|file| file.put("lbfgs.yy", &[pairs * pairs], &vec![0.0f64; pairs * pairs]), "lbfgs.yy")?;
    refused(&|file| file.put("lbfgs.numbers", &[1], &[0.0f64]), "6 numbers")?;
    refused(&|file| file.put("lbfgs.units", &[1], &[1.0f64]), "lbfgs.units")?;
    refused(&|file| file.put("state.w.s.99", &[3], &[1.0f32; 3]), "state.w.s.99")?;
    Ok(())
}
