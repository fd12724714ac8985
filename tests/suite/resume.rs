//! Runs that are resumed from a file have the same bits, with every modifier, on every engine; and runs of PyTorch go on here.

use crate::common::compare::assert_same_bits;
use crate::common::engines::{self, AnyEngine};
use crate::common::numbers::{gradient, numbers};
use crate::common::options::options;
use std::path::Path;
use std::process::Command;
use thalweg::checkpoint::{Tensors, read, read_foreign, write};
use thalweg::cpu::Cpu;
use thalweg::plan::Engine;
use thalweg::{
    Accumulation, Adadelta, Adafactor, Adagrad, Adam, AdamW, Adamax, AnyRule, Average, Error, Lookahead, NAdam, Optimizer,
    RAdam, Recipe, Result, RmsProp, Setting, Sgd, SumOrder,
};

const TENSORS: &[(&str, &[usize])] = &[("w", &[4, 3]), ("b", &[5])];

/// PyTorch's settings in tests/golden/checkpoint/torch_state.py.
fn of_torch() -> Vec<(&'static str, Box<dyn AnyRule>)> {
    vec![
        ("sgd", Sgd { lr: 0.05, momentum: 0.9, ..Default::default() }.into()),
        ("adam", Adam { lr: 0.01, ..Default::default() }.into()),
        ("adamw", AdamW { lr: 0.01, weight_decay: 0.1, amsgrad: true, ..Default::default() }.into()),
        ("rmsprop", RmsProp { lr: 0.01, momentum: 0.5, centered: true, ..Default::default() }.into()),
        ("adagrad", Adagrad { lr: 0.05, lr_decay: 0.01, ..Default::default() }.into()),
        ("nadam", NAdam { lr: 0.01, ..Default::default() }.into()),
        ("radam", RAdam { lr: 0.01, ..Default::default() }.into()),
        ("adadelta", Adadelta { lr: 1.0, ..Default::default() }.into()),
        ("adamax", Adamax { lr: 0.01, ..Default::default() }.into()),
        ("adafactor", Adafactor { lr: 0.2, weight_decay: 0.01, ..Default::default() }.into()),
    ]
}

/// 10 steps by PyTorch and 10 more here end where 20 by PyTorch end. The same with the names of torch's distributed
/// checkpoints, which have the settings in the file.
#[test]
fn a_run_of_pytorch_goes_on_here() -> Result<()> {
    let engines = engines::all();
    for (engine, layout) in engines.iter().flat_map(|engine| [(engine, ""), (engine, "flat/")]) {
        for (name, mut rule) in of_torch() {
            let what = format!("{layout}{name}, {}", engine.name);
            let file = read_foreign(Path::new(&format!("golden/checkpoint/torch/{layout}{name}.safetensors")))?;
            if !layout.is_empty() {
                let lr = rule.settings().into_iter().find(|(name, _)| *name == "lr");
                let Some((_, Setting::Number(lr))) = lr else { panic!("{name} has a rate") };
                *lr = 0.3;
            }
            let mut optimizer = Optimizer::new(engine, Recipe::new(rule), TENSORS)?;
            optimizer.import(&file)?;
            for step in 10..20 {
                for (tensor, shape) in TENSORS {
                    let len = shape.iter().product();
                    let grads: Vec<f32> = file.get(&format!("grads.{tensor}"))?;
                    optimizer.set_grads(tensor, &grads[step * len..][..len])?;
                }
                optimizer.step()?;
            }
            for (tensor, _) in TENSORS {
                let [start, end]: [Vec<f32>; 2] = [file.get(&format!("start.{tensor}"))?, file.get(&format!("end.{tensor}"))?];
                let largest = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                let (off, moved) = (largest(&optimizer.params(tensor)?, &end), largest(&start, &end));
                assert!(off <= 1e-6 * moved, "{what}, {tensor}: off by {off}, of a movement of {moved}");
                assert!(moved > 0.01, "{what}, {tensor}: moves by {moved}");
            }
        }
    }
    Ok(())
}

#[test]
fn what_a_foreign_file_lacks_is_named() -> Result<()> {
    let file = read_foreign(Path::new("golden/checkpoint/torch/adam.safetensors"))?;
    let fresh = || Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Adam::default()), TENSORS);
    let mut optimizer = fresh()?;
    let without = |name: &str| {
        let mut file = file.clone();
        file.remove(name);
        file
    };
    for name in ["state.w.exp_avg", "state.b.exp_avg_sq", "state.b.step"] {
        let error = optimizer.import(&without(name)).expect_err(name);
        assert!(matches!(&error, Error::NoTensor { name: missing, .. } if missing == name), "{error}");
    }
    let mut other = file.clone();
    other.put("state.b.step", &[], &[11i64])?;
    let error = optimizer.import(&other).expect_err("other steps").to_string();
    assert_eq!(error, "steps of 'b': 11 found, 10, as 'w' has expected");
    other.put("state.b.step", &[], &[10i64])?;
    other.put("state.b.exp_avg", &[4], &[0.0f32; 4])?;
    assert!(matches!(optimizer.import(&other), Err(Error::Shape { .. })));
    assert_eq!(optimizer.params("w")?, [0.0; 12], "nothing was changed");
    assert_eq!(optimizer.report()?, fresh()?.report()?);
    // Parameters may be missing.
    optimizer.import(&without("param.w"))?;
    assert_eq!(optimizer.params("w")?, [0.0; 12]);
    assert_eq!(optimizer.params("b")?, file.get::<f32>("param.b")?);
    Ok(())
}

type Modifier = (&'static str, fn(Recipe) -> Recipe);

/// What may go with a rule.
fn modifiers() -> Vec<Modifier> {
    vec![
        ("nothing", |recipe| recipe),
        ("clip and skip", |recipe| recipe.clip_norm(0.5)),
        ("average", |recipe| recipe.average(Average::Ema { decay: 0.9 })),
        ("lookahead", |recipe| recipe.lookahead(Lookahead { steps: 3, alpha: 0.5 })),
        ("accumulation", |recipe| recipe.accumulate(Accumulation::default())),
        ("accumulation in a tree", |recipe| {
            recipe.accumulate(Accumulation { order: SumOrder::Tree { micro_batches: 3 }, ..Default::default() })
        }),
        ("loss scale", |recipe| recipe.loss_scale(thalweg::plan::LossScale { interval: 3, ..Default::default() })),
    ]
}

fn feed(optimizer: &mut Optimizer<engines::AnyProgram>, lanes: usize, step: u64) -> Result<()> {
    for lane in 0..lanes {
        for (index, (tensor, shape)) in TENSORS.iter().enumerate() {
            let len = shape.iter().product();
            optimizer.lane(lane)?.set_grads(tensor, &gradient(7 * lane as u64 + index as u64, step as usize, len))?;
        }
    }
    Ok(())
}

fn advance(
    optimizer: &mut Optimizer<engines::AnyProgram>,
    lanes: usize,
    accumulates: bool,
    steps: std::ops::Range<u64>,
) -> Result<()> {
    for step in steps {
        feed(optimizer, lanes, step)?;
        if accumulates {
            optimizer.accumulate()?;
            if step % 2 == 0 {
                continue;
            }
        }
        optimizer.step()?;
    }
    Ok(())
}

/// Both engines, and the interval of rules to try on each. Other tests show for every rule that the state is complete on both.
fn engine() -> [(AnyEngine, usize); 2] {
    [(engines::cpu(), 1), (engines::gpu(), 7)]
}

/// Rules with every modifier: saved at step 5, in the middle of an accumulation, loaded by another optimizer, followed by 6
/// more steps.
#[test]
fn a_run_from_a_file_has_the_bits_of_one_that_was_not_interrupted() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.safetensors");
    for (engine, every) in engine() {
        let (mut tried, mut all) = (0, 0);
        for (name, rule) in options().into_iter().step_by(every) {
            for (with, modify) in modifiers() {
                let what = format!("{name} with {with}, {}", engine.name);
                let (lanes, accumulates) = (2, with.starts_with("accumulation"));
                let new = || Optimizer::new(&engine, modify(Recipe::population([rule.clone(), rule.clone()])), TENSORS);
                all += 1;
                // A rule with an average of its own cannot be combined with another average.
                let mut whole = match new() {
                    Err(Error::Conflict { .. }) => continue,
                    whole => whole?,
                };
                tried += 1;
                let mut other = new()?;
                for lane in 0..lanes {
                    for (tensor, shape) in TENSORS {
                        whole.lane(lane)?.set_params(tensor, &numbers(lane as u64, shape.iter().product()))?;
                    }
                }
                advance(&mut whole, lanes, accumulates, 0..5)?;
                whole.save_file(&file)?;
                other.load_file(&file)?;
                for optimizer in [&mut whole, &mut other] {
                    advance(optimizer, lanes, accumulates, 5..11)?;
                }
                for lane in 0..lanes {
                    for (tensor, _) in TENSORS {
                        assert_same_bits(&what, &other.lane(lane)?.params(tensor)?, &whole.lane(lane)?.params(tensor)?);
                    }
                    assert_eq!(other.lane(lane)?.report()?, whole.lane(lane)?.report()?, "{what}");
                }
                assert!(other.tensors()? == whole.tensors()?, "{what}: all that is kept");
            }
        }
        assert!(tried > 0 && 10 * tried >= 9 * all, "{}: {tried} of {all} go together", engine.name);
    }
    Ok(())
}

/// Tensors in the memory of older ones are those in fresh memory, whatever the older ones were; memory of the right size is
/// used again, and nothing of the older ones is left.
#[test]
fn tensors_in_used_memory_are_those_in_fresh_memory() -> Result<()> {
    let shapes: &[(&str, &[usize])] = &[("a", &[3, 5]), ("b", &[70]), ("none", &[0])];
    for (engine, lanes) in [(engines::cpu(), 1), (engines::cpu(), 3), (engines::gpu(), 1), (engines::gpu(), 3)] {
        let new = || {
            let rules = (0..lanes).map(|lane| AdamW { lr: 0.01 * (1 + lane) as f64, ..Default::default() });
            let recipe = Recipe::population(rules).average(Average::Ema { decay: 0.9 });
            Optimizer::new(&engine, recipe, shapes)
        };
        let mut optimizer = new()?;
        let step = |optimizer: &mut Optimizer<engines::AnyProgram>, by: f32| {
            for lane in 0..lanes {
                let mut own = optimizer.lane(lane)?;
                own.set_grads("a", &[by + lane as f32; 15])?;
                own.set_grads("b", &[-by; 70])?;
            }
            optimizer.step()
        };
        step(&mut optimizer, 1.0)?;
        let mut tensors = optimizer.tensors()?;
        let place = |tensors: &Tensors, name: &str| tensors.tensor(name).map(|tensor| tensor.bytes.as_ptr());
        let before = place(&tensors, "state.b.exp_avg")?;
        // One of another size, one of another type, one that nobody knows, and a text.
        tensors.put("param.a", &[1], &[7.0f32])?;
        tensors.put("state.a.exp_avg", &[15 * lanes], &vec![7u32; 15 * lanes])?;
        tensors.put("other", &[1], &[7.0f32])?;
        tensors.texts.insert("other".into(), "text".into());
        step(&mut optimizer, 2.0)?;
        let fresh = optimizer.tensors()?;
        optimizer.tensors_into(&mut tensors)?;
        assert!(tensors == fresh, "{} with {lanes} lanes", engine.describe());
        assert_eq!(place(&tensors, "state.b.exp_avg")?, before, "the memory is used again");
        let mut other = new()?;
        other.load_tensors(&tensors)?;
        assert!(other.tensors()? == fresh, "{} with {lanes} lanes, loaded", engine.describe());
    }
    Ok(())
}

#[test]
fn a_file_of_one_engine_loads_on_the_other() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.safetensors");
    let recipe = || Recipe::new(AdamW { amsgrad: true, ..Default::default() }).clip_norm(1.0);
    let [cpu, gpu] = [engines::cpu(), engines::gpu()];
    for (from, to) in [(&cpu, &gpu), (&gpu, &cpu)] {
        let (mut first, mut second) = (Optimizer::new(from, recipe(), TENSORS)?, Optimizer::new(to, recipe(), TENSORS)?);
        advance(&mut first, 1, false, 0..4)?;
        first.save_file(&file)?;
        second.load_file(&file)?;
        let [mut saved, mut loaded] = [first.tensors()?, second.tensors()?];
        for (tensors, engine) in [(&mut saved, from), (&mut loaded, to)] {
            let [told, adapter] =
                ["engine", "adapter"].map(|text| tensors.texts.remove(text).expect("what it was computed on"));
            assert_eq!(told, engine.name.split_whitespace().next().unwrap_or_default().to_lowercase(), "{adapter}");
            assert!(!adapter.is_empty());
        }
        assert!(loaded == saved);
    }
    let mut oracle = Optimizer::new(&Cpu::<f64>::default(), recipe(), TENSORS)?;
    let error = oracle.load_file(&file).expect_err("nothing is cast").to_string();
    assert!(error.contains("F32 found, F64 expected"), "{error}");
    Ok(())
}

#[test]
fn a_file_that_does_not_fit_changes_nothing() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("run.safetensors");
    let engine = Cpu::<f32>::default();
    let new = |rule: Box<dyn AnyRule>, tensors: &[(&str, &[usize])]| Optimizer::new(&engine, Recipe::new(rule), tensors);
    let mut saved = new(Adam::default().into(), TENSORS)?;
    saved.set_params("b", &[1.0; 5])?;
    saved.save_file(&file)?;
    let refused = |mut optimizer: Optimizer<_>, expected: &str| -> Result<()> {
        let before = optimizer.tensors()?;
        let error = optimizer.load_file(&file).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error}");
        assert!(optimizer.tensors()? == before, "nothing is changed");
        Ok(())
    };
    refused(new(Sgd::default().into(), TENSORS)?, "the rules of the file")?;
    refused(new(Adam { amsgrad: true, ..Default::default() }.into(), TENSORS)?, "state.b.max_exp_avg_sq")?;
    refused(new(Adam::default().into(), &[("w", &[4, 3])])?, "b")?;
    refused(new(Adam::default().into(), &[("w", &[3, 4]), ("b", &[5])])?, "shape [3, 4]")?;
    refused(new(Adam::default().into(), &[("w", &[4, 3]), ("b", &[5]), ("c", &[1])])?, "c")?;
    let two = Recipe::population([Adam::default(), Adam::default()]);
    refused(Optimizer::new(&engine, two, TENSORS)?, "lanes of the file")?;
    // A surplus tensor.
    let mut more: Tensors = read(&file)?;
    more.put("state.w.extra", &[1], &[1.0f32])?;
    write(&file, &more)?;
    let mut same = new(Adam::default().into(), TENSORS)?;
    assert!(matches!(same.load_file(&file), Err(Error::Unknown { .. })));
    Ok(())
}

/// Ten steps here leave what ten by PyTorch leave, under the same names, in the same shapes and types. PyTorch goes on from
/// there if `THALWEG_TORCH` names a Python that has it: `torch_state.py --back` compares where 20 steps end.
#[test]
fn files_are_laid_out_as_pytorchs() -> Result<()> {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, rule) in of_torch() {
        let read = |layout: &str| read_foreign(Path::new(&format!("golden/checkpoint/torch/{layout}{name}.safetensors")));
        let (file, flat) = (read("")?, read("flat/")?);
        let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(rule), TENSORS)?;
        for (tensor, _) in TENSORS {
            optimizer.set_params(tensor, &file.get::<f32>(&format!("start.{tensor}"))?)?;
        }
        for step in 0..10 {
            for (tensor, shape) in TENSORS {
                let len = shape.iter().product();
                optimizer.set_grads(tensor, &file.get::<f32>(&format!("grads.{tensor}"))?[step * len..][..len])?;
            }
            optimizer.step()?;
        }
        let (saved, exported) = (optimizer.tensors()?, optimizer.export(0)?);
        // A file of our own has the steps as a text.
        has_what_pytorch_has(name, &saved, &file, |name| !name.ends_with(".step"));
        // A product of momenta follows from the steps, and is not kept.
        has_what_pytorch_has(name, &exported, &flat, |name| !name.ends_with(".mu_product"));
        for (layout, tensors) in [("", &saved), ("flat-", &exported)] {
            write(folder.path().join(format!("{layout}{name}.safetensors")), tensors)?;
        }
    }
    let Some(python) = std::env::var_os("THALWEG_TORCH") else { return Ok(()) };
    let script = ["golden/checkpoint/torch_state.py", "--back"];
    let ran = Command::new(python).args(script).arg(folder.path()).output().expect("a Python");
    let [said, failed] = [ran.stdout, ran.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(ran.status.success() && said.lines().count() == 2 * of_torch().len(), "{said}{failed}");
    Ok(())
}

/// Whether the parameters and the state of PyTorch's file are here under the same names, and the settings that both have are
/// the same.
fn has_what_pytorch_has(rule: &str, found: &Tensors, of_torch: &Tensors, expected: impl Fn(&str) -> bool) {
    let mut planes = 0;
    for (name, right) in of_torch.iter().filter(|(name, _)| expected(name)) {
        let what = format!("{rule}: {name}");
        let own = found.find(name);
        if name.starts_with("param_groups.") {
            let Some(own) = own else { continue };
            assert!(own.numbers().eq(right.numbers()), "{what}: {:?}, not {:?}", own.bytes, right.bytes);
        } else if name.starts_with("param.") || name.starts_with("state.") {
            let own = own.unwrap_or_else(|| panic!("{what} is missing"));
            assert_eq!((own.dtype, &own.shape), (right.dtype, &right.shape), "{what}");
            let largest = right.numbers().fold(0.0, |largest: f64, x| largest.max(x.abs()));
            // Ten steps of some roundings each, in another order than PyTorch's.
            let near = own.numbers().zip(right.numbers()).all(|(own, right)| (own - right).abs() <= 1e-5 * largest);
            assert!(near, "{what}: {:?}", own.numbers().collect::<Vec<_>>());
            planes += 1;
        }
    }
    assert!(planes >= 2 * TENSORS.len(), "{rule}: {planes} tensors");
}
