//! State in bfloat16: rounded so that running means stay right, on every engine alike.

use crate::common::compare::assert_same_bits;
use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::{options, siblings, with};
use crate::common::oracle::EPSILON;
use crate::common::refusal::assert_error;
use thalweg::cpu::Cpu;
use thalweg::plan::{Arena, Engine, Half, Storage};
use thalweg::{Adam, AdamW, AnyRule, Asgd, Error, Optimizer, Real, Recipe, Result, RmsProp, ScheduleFree, Sgd};

fn narrow(rule: &dyn AnyRule) -> Recipe {
    Recipe::new(rule.boxed()).state(Storage::Bf16)
}

/// Whether a rule takes it.
fn takes(rule: &dyn AnyRule) -> bool {
    rule.planes().iter().all(|&plane| rule.rounding(plane).is_some())
}

/// The mean of Adam's second moments of 4,096 elements after 2,500 steps with gradients around 1 and 2,500 with a tenth of
/// them.
fn mean_after_a_fall<E: Engine>(engine: &E, storage: Storage) -> Result<f64> {
    let recipe = Recipe::new(Adam::default()).state(storage);
    let mut optimizer = Optimizer::new(engine, recipe, &[("w", &[4_096])])?;
    for scale in [1.0, 0.1] {
        let grads: Vec<E::Float> = numbers(1, 4_096).into_iter().map(|g| E::Float::of(scale * f64::from(g))).collect();
        optimizer.set_grads("w", &grads)?;
        optimizer.steps(2_500)?;
    }
    let v = optimizer.state("w", "v")?;
    Ok(v.iter().map(|v| v.as_f64()).sum::<f64>() / v.len() as f64)
}

/// A step changes v by a thousandth of its distance from the mean, which is less than half a unit of bfloat16: rounded to the
/// nearest, v would not change.
fn follows<E: Engine>(engine: &E) -> Result<()> {
    let [wide, narrow] = [mean_after_a_fall(engine, Storage::F32)?, mean_after_a_fall(engine, Storage::Bf16)?];
    assert!((narrow - wide).abs() <= 0.02 * wide, "{}: {narrow} found, {wide} in single precision", engine.describe());
    Ok(())
}

#[test]
fn second_moments_follow_gradients_that_fall_tenfold_on_the_cpu() -> Result<()> {
    follows(&Cpu::<f32>::default())
}

#[test]
fn second_moments_follow_gradients_that_fall_tenfold_on_the_gpu() -> Result<()> {
    follows(&engines::gpu())
}

#[test]
fn second_moments_follow_gradients_that_fall_tenfold_in_the_oracle() -> Result<()> {
    follows(&Cpu::<f64>::default())
}

/// More than a chunk, in two tensors of which the first ends within a block.
const LENGTHS: [usize; 2] = [4_133, 500];
const STEPS: usize = 12;

fn run<E: Engine>(engine: &E, recipe: Recipe, rule: &dyn AnyRule) -> Vec<(&'static str, Vec<E::Float>)> {
    let len = LENGTHS.iter().sum();
    let mut model = Model::new(engine, recipe, rule, &LENGTHS);
    model.set_params(0, &numbers(1, len));
    for t in 0..STEPS {
        model.set_grads(0, &numbers(2 + t as u64 % 5, len));
        model.step();
    }
    model.arrays(0)
}

/// Engines differ in the last bits of single precision. So a number next to the border between two roundings may go the other
/// way: about one in 65,536 / 16 in a step. Such an element then differs by a unit of bfloat16; all others differ as much as in
/// single precision.
#[test]
fn engines_round_alike() {
    let near = |a: f64, b: f64, unit: f64| (a - b).abs() <= unit * a.abs().max(b.abs());
    for (name, rule) in options().into_iter().filter(|(_, rule)| takes(&**rule) && !rule.planes().is_empty()) {
        let oracle = run(&Cpu::<f64>::default(), narrow(&*rule), &*rule);
        for engine in [engines::cpu(), engines::gpu(), engines::small_bindings()] {
            for ((array, found), (_, expected)) in run(&engine, narrow(&*rule), &*rule).iter().zip(&oracle).skip(1) {
                let what = format!("{}: {name}: {array}", engine.name);
                let pairs = || found.iter().map(|x| f64::from(*x)).zip(expected.iter().copied());
                let other = pairs().filter(|&(a, b)| !near(a, b, EPSILON)).count();
                assert!(other * 50 <= found.len(), "{what}: {other} of {} were rounded another way", found.len());
                let far = pairs().filter(|&(a, b)| !near(a, b, 4.0 / 128.0)).count();
                assert!(far * 1_000 <= found.len(), "{what}: {far} of {} are far from the oracle", found.len());
                assert!(found.iter().any(|x| *x != 0.0) && found.iter().all(|x| x.to_bits() & 0xffff == 0), "{what}");
            }
        }
    }
}

/// The state is rounded, not the step: the first step is that of single precision.
#[test]
fn the_first_step_has_the_bits_of_single_precision() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let step = |recipe: Recipe| {
            let mut optimizer = Optimizer::new(&engine, recipe, &[("w", &[300])])?;
            optimizer.set_grads("w", &numbers(1, 300))?;
            optimizer.step()?;
            optimizer.params("w")
        };
        let recipe = Recipe::new(AdamW::default());
        assert_same_bits(engine.name, &step(recipe.clone().state(Storage::Bf16))?, &step(recipe)?);
    }
    Ok(())
}

#[test]
fn a_lane_is_a_model_alone() {
    for engine in [engines::cpu(), engines::gpu(), engines::small_bindings()] {
        let rules = siblings(&*with("adamw", "lr=0.02 weight_decay=0.1"));
        let run = |rules: &[Box<dyn AnyRule>], seeds: &[u64]| {
            let recipe = Recipe::population(rules.iter().cloned()).state(Storage::Bf16).clip_norm(50.0);
            let mut model = Model::new(&engine, recipe, &*rules[0], &[9_000, 5_000]);
            for t in 0..STEPS as u64 {
                seeds.iter().enumerate().for_each(|(lane, seed)| model.set_grads(lane, &numbers(10 * seed + t, 14_000)));
                model.step();
            }
            (0..seeds.len()).map(|lane| model.arrays(lane)).collect::<Vec<_>>()
        };
        let lanes = run(&rules, &[0, 1, 2]);
        for lane in 0..3 {
            let alone = run(&rules[lane..=lane], &[lane as u64]);
            for ((name, found), (_, expected)) in lanes[lane].iter().zip(&alone[0]) {
                assert_same_bits(&format!("{}, lane {lane}, {name}", engine.name), found, expected);
            }
        }
    }
}

#[test]
fn borrowed_memory_has_the_bits_of_an_arena() -> Result<()> {
    let recipe = || Recipe::new(AdamW::default()).state(Storage::Bf16).clip_norm(1.0);
    let tensors: [(&str, &[usize]); 3] = [("a", &[70]), ("b", &[33_001]), ("c", &[1])];
    let arena = || {
        let mut arena = Arena::default();
        tensors.iter().try_for_each(|(name, shape)| arena.add(name, shape).map(drop)).map(|()| arena)
    };
    let new = || Optimizer::over(&Cpu::<f32>::default(), recipe(), arena()?);
    let (mut own, mut over) = (new()?, new()?);
    let mut params = [70, 33_001, 1].map(|len| numbers(len as u64, len));
    for ((name, _), values) in tensors.iter().zip(&params) {
        own.set_params(name, values)?;
    }
    for t in 0..STEPS {
        let mut grads = [70, 33_001, 1].map(|len| numbers((7 * t + len) as u64, len));
        for ((name, _), values) in tensors.iter().zip(&grads) {
            own.set_grads(name, values)?;
        }
        own.step()?;
        let [mut x, mut g] = [&mut params, &mut grads].map(|all| all.each_mut().map(Vec::as_mut_slice));
        over.step_over(&mut x, &mut g)?;
    }
    for ((name, _), values) in tensors.iter().zip(&params) {
        assert_same_bits(name, values, &own.params(name)?);
        for plane in ["m", "v"] {
            assert_same_bits(&format!("{plane} of {name}"), &over.state(name, plane)?, &own.state(name, plane)?);
        }
    }
    Ok(())
}

#[test]
fn any_number_of_threads_gives_the_same_bits() -> Result<()> {
    let run = |threads: usize| {
        let recipe = Recipe::new(AdamW::default()).state(Storage::Bf16);
        let mut optimizer = Optimizer::new(&Cpu::<f32>::with_threads(threads), recipe, &[("w", &[150_001])])?;
        optimizer.set_grads("w", &numbers(1, 150_001))?;
        optimizer.steps(3)?;
        Ok::<_, Error>([optimizer.params("w")?, optimizer.state("w", "m")?, optimizer.state("w", "v")?])
    };
    let (one, three) = (run(1)?, run(3)?);
    one.iter().zip(&three).for_each(|(one, three)| assert_same_bits("an array", three, one));
    Ok(())
}

/// A file has 32-bit floats, so that any program can read it. Their values are those of 16 bits, and are loaded unchanged.
#[test]
fn files_bring_back_every_bit_and_fit_other_storages() -> Result<()> {
    let tensors: [(&str, &[usize]); 2] = [("a", &[7, 11]), ("b", &[1])];
    for engine in [engines::cpu(), engines::gpu()] {
        let new = |storage| Optimizer::new(&engine, Recipe::new(AdamW::default()).state(storage), &tensors);
        let grads = |optimizer: &mut Optimizer<_>| {
            optimizer.set_grads("a", &numbers(1, 77)).and_then(|()| optimizer.set_grads("b", &[0.3]))
        };
        let mut whole = new(Storage::Bf16)?;
        grads(&mut whole)?;
        whole.steps(5)?;
        let saved = whole.tensors()?;
        let (mut resumed, mut wide) = (new(Storage::Bf16)?, new(Storage::F32)?);
        for other in [&mut resumed, &mut wide] {
            other.load_tensors(&saved)?;
            grads(other)?;
            for (tensor, plane) in [("a", "m"), ("a", "v"), ("b", "m"), ("b", "v")] {
                assert_same_bits(plane, &other.state(tensor, plane)?, &whole.state(tensor, plane)?);
            }
        }
        whole.steps(5)?;
        resumed.steps(5)?;
        for (tensor, plane) in [("a", "m"), ("a", "v"), ("b", "m"), ("b", "v")] {
            assert_same_bits(plane, &resumed.state(tensor, plane)?, &whole.state(tensor, plane)?);
        }
        assert_same_bits("parameters", &resumed.params("a")?, &whole.params("a")?);
        // From single precision to 16 bits, values are rounded to the nearest.
        let mut wide = new(Storage::F32)?;
        grads(&mut wide)?;
        wide.steps(3)?;
        resumed.load_tensors(&wide.tensors()?)?;
        let nearest: Vec<f32> = wide.state("a", "v")?.into_iter().map(|v| Half::Bf16.value(Half::Bf16.bits(v))).collect();
        assert_same_bits("v", &resumed.state("a", "v")?, &nearest);
    }
    Ok(())
}

#[test]
fn what_a_rule_starts_with_and_what_is_set_is_rounded_to_the_nearest() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let rule = with("adagrad", "initial_accumulator_value=0.1");
        let mut optimizer = Optimizer::new(&engine, narrow(&*rule), &[("a", &[3]), ("b", &[65])])?;
        let nearest = |x: f32| Half::Bf16.value(Half::Bf16.bits(x));
        assert_same_bits(engine.name, &optimizer.state("b", "sum")?, &[nearest(0.1); 65]);
        optimizer.set_state("a", "sum", &[0.3, 1.7, 1e-3])?;
        assert_same_bits(engine.name, &optimizer.state("a", "sum")?, &[0.3, 1.7, 1e-3].map(nearest));
        assert_same_bits(engine.name, &optimizer.state("b", "sum")?, &[nearest(0.1); 65]);
        assert!(optimizer.set_state("a", "sum", &[1.0]).is_err());
    }
    Ok(())
}

#[test]
fn a_storage_that_a_rule_cannot_take_is_refused_by_its_plane() {
    let of = |rule: Box<dyn AnyRule>, storage| {
        Optimizer::new(&Cpu::<f32>::default(), Recipe::new(rule).state(storage), &[("w", &[2, 3])])
    };
    let centered = RmsProp { centered: true, ..Default::default() };
    let rules: [(Box<dyn AnyRule>, Storage, &str); 5] = [
        (
            Asgd::default().into(),
            Storage::Bf16,
            "a state in bf16 cannot be combined with plane 'ax' of asgd: it needs all the bits of f32",
        ),
        (
            ScheduleFree::default().into(),
            Storage::Bf16,
            "a state in bf16 cannot be combined with plane 'offset' of schedulefree: it needs all the bits of f32",
        ),
        (
            centered.into(),
            Storage::Bf16,
            "a state in bf16 cannot be combined with plane 'q' of rmsprop: it needs all the bits of f32",
        ),
        (
            Adam::default().into(),
            Storage::F16,
            "a state in f16 cannot be combined with plane 'm' of adam: squares leave its range: bf16 has that of f32",
        ),
        (Adam { amsgrad: true, ..Default::default() }.into(), Storage::F32, ""),
    ];
    for (rule, storage, message) in rules {
        match of(rule, storage) {
            Ok(_) => assert_eq!(message, ""),
            Err(error) => assert_error(Err::<(), _>(error), message),
        }
    }
    // Rules without planes have nothing to round.
    assert!(of(Sgd::default().into(), Storage::F16).is_ok());
    let taken: Vec<_> = thalweg::rules().into_iter().filter(|rule| !takes(&**rule)).map(|rule| rule.name()).collect();
    assert_eq!(taken, ["asgd", "schedulefree"]);
}
