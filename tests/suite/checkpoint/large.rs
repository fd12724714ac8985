//! Buffers of 16 MiB and more: on the CPU a file is read into memory that takes the place of those that nobody has used.

use super::folder;
use crate::common::compare::assert_same_bits;
use crate::common::engines;
use crate::common::numbers::numbers;
use std::fs;
use std::path::Path;
use thalweg::checkpoint::{Tensors, read, write};
use thalweg::cpu::{Cpu, CpuProgram};
use thalweg::plan::{Blueprint, Engine, Half, Layout, Plan, Program, Storage, Tensor};
use thalweg::{Adafactor, AdamW, AnyEngine, Error, Optimizer, Recipe, Result, Sgd};

/// An odd number of elements, so that there is padding before the last tensor.
const TENSORS: [(&str, &[usize]); 3] = [("a", &[3]), ("b", &[2_001, 1_051]), ("c", &[2_097_200])];

/// Two lanes, whose buffers have 16 MiB each.
fn new<E: Engine>(engine: &E) -> Result<Optimizer<E::Program>> {
    let recipe = |lr| Recipe::new(AdamW { lr, ..Default::default() });
    Optimizer::new(engine, Recipe::join([recipe(0.1), recipe(0.2)])?, &TENSORS)
}

type Cpu32 = Optimizer<CpuProgram<f32>>;

fn cpu() -> Result<Cpu32> {
    new(&Cpu::<f32>::default())
}

fn feed(optimizer: &mut Cpu32, seed: u64) -> Result<()> {
    for lane in 0..2 {
        for (name, shape) in TENSORS {
            let values = numbers(seed + lane as u64, shape.iter().product());
            optimizer.lane(lane)?.set_grads(name, &values)?;
        }
    }
    optimizer.step()
}

fn saved(file: &Path) -> Result<Cpu32> {
    let mut optimizer = cpu()?;
    for lane in 0..2 {
        for (name, shape) in TENSORS {
            optimizer.lane(lane)?.set_params(name, &numbers(9 + lane as u64, shape.iter().product()))?;
        }
    }
    feed(&mut optimizer, 1)?;
    optimizer.save_file(file)?;
    Ok(optimizer)
}

fn assert_same(found: &mut Cpu32, expected: &mut Cpu32) -> Result<()> {
    for lane in 0..2 {
        for (name, _) in TENSORS {
            let (mut found, mut expected) = (found.lane(lane)?, expected.lane(lane)?);
            assert_same_bits(name, &found.params(name)?, &expected.params(name)?);
            for plane in ["m", "v"] {
                assert_same_bits(&format!("{plane} of {name}"), &found.state(name, plane)?, &expected.state(name, plane)?);
            }
        }
    }
    Ok(())
}

#[test]
fn a_run_goes_on_with_the_same_bits_in_new_memory_and_in_known() -> Result<()> {
    let folder = folder();
    let file = folder.path().join("large.safetensors");
    let mut first = saved(&file)?;
    let mut untouched = cpu()?;
    // Its parameters are copied, its planes are read to where they belong.
    let mut with_params = cpu()?;
    for (name, shape) in TENSORS {
        with_params.lane(1)?.set_params(name, &numbers(3, shape.iter().product()))?;
    }
    let mut used = cpu()?;
    feed(&mut used, 4)?;
    feed(&mut first, 2)?;
    for optimizer in [&mut untouched, &mut with_params, &mut used] {
        let loaded = optimizer.load_file(&file)?;
        assert!(loaded.is_complete() && loaded.not_finite.is_empty(), "{loaded}");
        assert_eq!(loaded, cpu()?.load_tensors(&read(&file)?)?);
        feed(optimizer, 2)?;
        assert_same(optimizer, &mut first)?;
    }
    Ok(())
}

/// Copies in 16 bits, planes in 16 bits, planes of some groups alone, and second moments by rows and columns.
#[test]
fn whatever_a_recipe_keeps_comes_back() -> Result<()> {
    let vectors = |tensor: &Tensor| tensor.shape.len() < 2;
    let momentum = || Sgd { momentum: 0.9, ..Default::default() };
    let recipes = [
        Recipe::new(AdamW { amsgrad: true, ..Default::default() }).half_copy(Half::F16),
        Recipe::new(AdamW::default()).state(Storage::Bf16).half_copy(Half::Bf16),
        Recipe::new(AdamW::default()).group("vectors", vectors, momentum()),
        Recipe::new(Adafactor::default()).group("vectors", vectors, Sgd::default()),
    ];
    let folder = folder();
    let file = folder.path().join("large.safetensors");
    for recipe in recipes {
        let new = || Optimizer::new(&Cpu::<f32>::default(), recipe.clone(), &TENSORS);
        let (mut first, mut second) = (new()?, new()?);
        for (name, shape) in TENSORS {
            first.set_params(name, &numbers(1, shape.iter().product()))?;
            first.set_grads(name, &numbers(2, shape.iter().product()))?;
        }
        first.step()?;
        first.save_file(&file)?;
        let loaded = second.load_file(&file)?;
        assert_eq!(loaded, new()?.load_tensors(&read(&file)?)?);
        assert!(second.tensors()? == first.tensors()?, "{recipe:?}");
        for (name, shape) in TENSORS {
            let grads = numbers(3, shape.iter().product());
            [&mut first, &mut second].into_iter().try_for_each(|optimizer| optimizer.set_grads(name, &grads))?;
        }
        [&mut first, &mut second].into_iter().try_for_each(|optimizer| optimizer.step())?;
        assert!(second.tensors()? == first.tensors()?, "after a step, {recipe:?}");
    }
    Ok(())
}

#[test]
fn what_is_wrong_leaves_all_as_it_was() -> Result<()> {
    let folder = folder();
    let [good, bad] = ["good", "bad"].map(|name| folder.path().join(name));
    let mut first = saved(&good)?;
    let tensors = read(&good)?;
    let (mut fresh, mut untouched) = (cpu()?, cpu()?);

    let mut bytes = fs::read(&good).expect("a file");
    *bytes.last_mut().expect("bytes") ^= 1;
    fs::write(&bad, &bytes).expect("a file");
    assert!(matches!(fresh.load_file(&bad), Err(Error::Damaged { .. })));
    fs::write(&bad, &bytes[..bytes.len() - 1]).expect("a file");
    assert!(matches!(fresh.load_file(&bad), Err(Error::Damaged { .. })));

    let mut other = tensors.clone();
    other.remove("state.b.exp_avg");
    write(&bad, &other)?;
    let expected = cpu()?.load_tensors(&other).expect_err("a tensor is missing").to_string();
    assert!(expected.contains("no tensor 'state.b.exp_avg'") && expected.contains("param.a"), "{expected}");
    assert_eq!(fresh.load_file(&bad).expect_err("a tensor is missing").to_string(), expected);
    other.put("state.b.exp_avg", &[2, 1_051, 2_001], &numbers(1, 2 * 2_001 * 1_051))?;
    write(&bad, &other)?;
    assert!(matches!(fresh.load_file(&bad), Err(Error::Shape { .. })));
    let mut other = tensors.clone();
    other.put("surplus", &[1], &[1.0f32])?;
    write(&bad, &other)?;
    let error = fresh.load_file(&bad).expect_err("a tensor too many").to_string();
    assert!(error.contains("'surplus'") && error.contains("param.a"), "{error}");
    let error = new(&Cpu::<f64>::default())?.load_file(&good).expect_err("floats of another type");
    assert!(matches!(error, Error::Shape { .. }), "{error}");

    assert_same(&mut fresh, &mut untouched)?;
    fresh.load_file(&good)?;
    assert_same(&mut fresh, &mut first)
}

#[test]
fn values_that_are_not_finite_are_told_by_their_place() -> Result<()> {
    let folder = folder();
    let file = folder.path().join("nan.safetensors");
    let mut tensors: Tensors = { saved(&file)?.tensors()? };
    for (name, at, value) in [("param.c", 2_097_200 + 7, f32::NAN), ("state.b.exp_avg", 2, f32::INFINITY)] {
        let mut values = tensors.get::<f32>(name)?;
        values[at] = value;
        let shape = tensors.tensor(name)?.shape.clone();
        tensors.put(name, &shape, &values)?;
    }
    write(&file, &tensors)?;
    let expected = [("param.c".to_string(), 2_097_207), ("state.b.exp_avg".to_string(), 2)];
    assert_eq!(cpu()?.load_file(&file)?.not_finite, expected);
    // What was read is known to be finite only until it changes.
    let mut read = read(&file)?;
    let mut tensor = read.remove("param.a").expect("a tensor");
    assert_eq!(tensor.first_not_finite(), None);
    tensor.bytes[4..8].copy_from_slice(&f32::NAN.to_le_bytes());
    assert_eq!(tensor.first_not_finite(), Some(1));
    Ok(())
}

#[test]
fn memory_takes_the_place_of_large_buffers_that_nobody_has_used() -> Result<()> {
    let mut layout = Layout::new(2);
    let (large, small) = (layout.floats("large", 4 << 20), layout.floats("small", 64));
    let blueprint = Blueprint::of(&layout, &[Plan::default()]);
    let mut program = Cpu::<f32>::default().load(&blueprint)?;
    assert!(program.fresh(small, 0).is_none() && program.fresh(large, 2).is_none());
    let mut fresh = program.fresh(large, 1).expect("memory");
    assert!(fresh.len() == 4 << 20 && fresh.iter().all(|x| *x == 0.0));
    fresh[5] = 3.0;
    assert_eq!(program.read_range(large, 1, 5..6)?, [0.0]);
    let error = program.replace(small, 0, program.fresh(large, 0).expect("memory")).expect_err("memory of another length");
    assert!(matches!(error, Error::Shape { .. }), "{error}");
    program.replace(large, 1, fresh)?;
    assert_eq!((program.read_range(large, 0, 5..6)?, program.read_range(large, 1, 5..6)?), (vec![0.0], vec![3.0]));
    assert!(program.fresh(large, 1).is_none(), "it is in use");
    program.write(large, 0, 0, &[1.0])?;
    assert!(program.fresh(large, 0).is_none(), "it is in use");

    let mut any = AnyEngine::from(Cpu::<f32>::default()).load(&blueprint)?;
    let mut fresh = any.fresh(large, 0).expect("memory");
    fresh[6] = 4.0;
    any.replace(large, 0, fresh)?;
    assert_eq!(any.read_range(large, 0, 6..7)?, [4.0]);
    // A GPU has none to give, and copies that of others.
    let mut gpu = engines::gpu().load(&blueprint)?;
    assert!(gpu.fresh(large, 0).is_none());
    let mut fresh = any.fresh(large, 1).expect("memory");
    fresh[7] = 5.0;
    gpu.replace(large, 1, fresh)?;
    assert_eq!((gpu.read_range(large, 0, 7..8)?, gpu.read_range(large, 1, 7..8)?), (vec![0.0], vec![5.0]));
    Ok(())
}
