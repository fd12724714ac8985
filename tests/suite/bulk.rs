//! All tensors at once, many tensors by name, rules as a whole, and several steppers on one program.

use crate::common::compare::assert_same_bits;
use crate::common::engines;
use crate::common::groups::{GROUPS, grouped};
use crate::common::numbers::numbers;
use crate::common::refusal::{assert_error, optimizer};
use std::time::Instant;
use thalweg::cpu::Cpu;
use thalweg::plan::{Arena, Blueprint, BufferId, Engine, Half, Program, Role};
use thalweg::schedule::Cosine;
use thalweg::{Adam, Average, Error, Lookahead, Optimizer, Real, Recipe, Result, Sgd, StateValues};

const TENSORS: [(&str, &[usize]); 3] = [("a", &[13, 5]), ("b", &[7]), ("c", &[64])];

/// Everything of all lanes on which a later step depends.
fn state<P: Program>(optimizer: &mut Optimizer<P>) -> Vec<Vec<P::Float>> {
    let state = optimizer.state_dict().expect("a state");
    let floats = |name: String| match &state.get(&name).expect("an array").values {
        StateValues::Floats(lanes) => lanes.clone(),
        other => panic!("{name}: {other:?}"),
    };
    TENSORS
        .iter()
        .flat_map(|(name, _)| ["param", "average", "slow"].map(|of| format!("{of}.{name}")))
        .flat_map(floats)
        .collect()
}

/// Setting all tensors at once equals setting them one by one, also for averages, slow weights and copies, before the first
/// step and later.
#[test]
fn all_parameters_at_once_are_those_of_each_tensor() -> Result<()> {
    fn check<E: Engine>(engine: &E) -> Result<()> {
        for average in [Average::Ema { decay: 0.5 }, Average::Swa { start: 3, every: 2 }] {
            let recipe = Recipe::population([0.1, 0.2].map(|lr| Sgd { lr, ..Default::default() })).average(average);
            let recipe = recipe.lookahead(Lookahead::default()).half_copy(Half::Bf16);
            let new = || Optimizer::new(engine, recipe.clone(), &TENSORS);
            let (mut at_once, mut each) = (new()?, new()?);
            for t in 0..4 {
                let mut all = at_once.all_params()?;
                for (lane, arena) in all.iter_mut().enumerate() {
                    for (index, tensor) in each.arena().tensors().to_vec().iter().enumerate() {
                        let seed = (10 * t + 3 * lane + index) as u64;
                        let values: Vec<_> = numbers(seed, tensor.len()).iter().map(|&x| E::Float::of(x.into())).collect();
                        arena[tensor.offset..][..values.len()].copy_from_slice(&values);
                        each.lane(lane)?.set_params(&tensor.name, &values)?;
                    }
                }
                at_once.set_all_params(&all)?;
                for (found, expected) in state(&mut at_once).iter().zip(state(&mut each)) {
                    assert_same_bits(&format!("{}, {average:?}, before step {t}", engine.describe()), found, &expected);
                }
                for lane in 0..2 {
                    assert_eq!(at_once.lane(lane)?.half("c")?, each.lane(lane)?.half("c")?);
                }
                for optimizer in [&mut at_once, &mut each] {
                    optimizer.set_all_grads(&all)?;
                    optimizer.step()?;
                }
            }
            assert_eq!(at_once.all_params()?, each.all_params()?);
        }
        Ok(())
    }
    check(&Cpu::<f64>::default())?;
    check(&engines::cpu())?;
    check(&engines::gpu())
}

/// If parameters are set between an ascent and its step, the step starts from them.
#[test]
fn all_parameters_set_after_an_ascent_count() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let recipe = || Recipe::new(Sgd { lr: 0.5, ..Default::default() }).sam(0.1);
        let mut optimizer = Optimizer::new(&engine, recipe(), &TENSORS)?;
        optimizer.set_grads("b", &[1.0; 7])?;
        optimizer.ascend()?;
        let mut all = optimizer.all_params()?;
        let start = optimizer.arena().tensor("b")?.offset;
        all[0].fill(0.0);
        all[0][start..start + 7].fill(3.0);
        optimizer.set_all_params(&all)?;
        optimizer.step()?;
        assert_eq!(optimizer.params("b")?, [2.5; 7], "{}", engine.name);
    }
    Ok(())
}

#[test]
fn what_pads_tensors_stays_zero() -> Result<()> {
    let mut two = optimizer(Recipe::population([Sgd::default(), Sgd::default()]))?;
    let (len, own) = (two.arena().len(), two.arena().tensors()[0].len());
    let mut spoilt = two.all_params()?;
    spoilt[1][own] = f32::NAN;
    assert_error(two.set_all_params(&spoilt), "parameters behind tensor 'w': NaN found, 0 expected");
    assert_error(two.set_all_grads(&spoilt), "gradients behind tensor 'w': NaN found, 0 expected");
    assert_error(two.set_all_params(&spoilt[..1]), "lanes of parameters: 1 found, 2 expected");
    let short = vec![vec![0.0; len - 1]; 2];
    assert_error(two.set_all_params(&short), &format!("a lane's parameters: {} found, {len} elements expected", len - 1));
    Ok(())
}

/// A name is found without a search through all others. The time is printed, but not checked.
#[test]
fn twenty_thousand_tensors_have_names() -> Result<()> {
    const MANY: usize = 20_000;
    let mut arena = Arena::default();
    let names: Vec<String> = (0..MANY).map(|i| format!("layers.{i}.weight")).collect();
    for name in &names {
        arena.add(name, &[2])?;
    }
    let mut optimizer = Optimizer::over(&Cpu::<f32>::default(), Recipe::new(Sgd { lr: 1.0, ..Default::default() }), arena)?;
    let start = Instant::now();
    for (i, name) in names.iter().enumerate() {
        optimizer.set_params(name, &[i as f32, 0.5])?;
    }
    println!("{MANY} calls of set_params: {:?}", start.elapsed());
    let last = names.last().expect("a name");
    optimizer.set_grads(last, &[1.0, 1.0])?;
    optimizer.step()?;
    assert_eq!(optimizer.params(last)?, [MANY as f32 - 2.0, -0.5]);
    assert_eq!(optimizer.params(&names[777])?, [777.0, 0.5]);
    Ok(())
}

/// Two networks in one program, such as a generator and its critic: neither gets the other's samples, and neither runs out of
/// rows.
#[test]
fn two_steppers_on_one_program_have_their_own_answers() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let mut blueprint = Blueprint::new(1);
        let mut parts = Vec::new();
        for (prefix, len, lr) in [("generator ", 70, 0.1), ("critic ", 130, 0.2)] {
            blueprint.set_prefix(prefix);
            let mut arena = Arena::default();
            arena.add("w", &[len])?;
            let params = blueprint.arena("params", &arena, Role::Params);
            let grads: BufferId = blueprint.arena("grads", &arena, Role::Grads);
            // They ask for different numbers of floats.
            let recipe = Recipe::new(Sgd { lr, ..Default::default() }).clip_norm(f64::INFINITY);
            let recipe = if len == 70 { recipe } else { recipe.inspect() };
            parts.push((recipe.record(&mut blueprint, &arena, params, grads)?, grads, len));
        }
        let mut program = engine.load(&blueprint)?;
        for (stepper, ..) in &mut parts {
            stepper.start(&mut program)?;
            stepper.telemetry_every(1);
        }
        let mut seen = [Vec::new(), Vec::new()];
        for t in 1..=40u32 {
            // Both ask before either looks.
            for (stepper, grads, len) in &mut parts {
                program.write(*grads, 0, 0, &vec![t as f32; *len])?;
                stepper.steps(&mut program, 1)?;
            }
            program.settle()?;
            for ((stepper, _, len), seen) in parts.iter_mut().zip(&mut seen) {
                for sample in stepper.poll(&mut program)? {
                    let norm = f64::from(sample.step as f32) * (*len as f64).sqrt();
                    // The sum of 130 equal squares in single precision is off by less than 130 · 6e-8, and its root by half of
                    // that.
                    assert!((sample.report.norm - norm).abs() < 1e-5 * norm, "{}, step {}", engine.name, sample.step);
                    seen.push(sample.step);
                }
            }
        }
        for (index, seen) in seen.iter().enumerate() {
            assert_eq!(*seen, (1..=40).collect::<Vec<u64>>(), "{}, stepper {index}", engine.name);
        }
    }
    Ok(())
}

/// Answers that nobody fetches do not block those that somebody waits for.
#[test]
fn forgotten_answers_block_nobody() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let mut optimizer = Optimizer::new(&engine, Recipe::new(Adam::default()), &TENSORS)?;
        let params = optimizer.params_buffer();
        for _ in 0..20 {
            optimizer.program_mut().request(thalweg::plan::Tag::new(), &[params])?;
            optimizer.program_mut().settle()?;
        }
        let tag = thalweg::plan::Tag::new();
        optimizer.program_mut().request(tag, &[params])?;
        optimizer.program_mut().settle()?;
        assert!(optimizer.program_mut().arrived(tag)?.is_some(), "{}", engine.name);
        optimizer.telemetry_every(5);
        optimizer.steps(600)?;
        assert_eq!(optimizer.report()?.applied, 600);
    }
    Ok(())
}

#[test]
fn a_rule_as_a_whole_is_its_numbers_one_by_one() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let adam = |lr, beta2| Adam { lr, betas: (0.9, beta2), ..Default::default() };
        let recipe = || Recipe::population([adam(0.1, 0.9), adam(0.2, 0.9)]);
        let new = || Optimizer::new(&engine, recipe(), &TENSORS);
        let (mut whole, mut single) = (new()?, new()?);
        whole.lane(1)?.set_rule("default", adam(0.05, 0.8))?;
        single.lane(1)?.set("default", "lr", 0.05)?;
        single.lane(1)?.set("default", "beta2", 0.8)?;
        for optimizer in [&mut whole, &mut single] {
            for lane in 0..2 {
                optimizer.lane(lane)?.set_grads("c", &numbers(1, 64))?;
            }
            optimizer.steps(3)?;
        }
        assert_eq!(whole.all_params()?, single.all_params()?);
        let [first, second] = &whole.all_params()?[..] else { panic!("two lanes") };
        assert_ne!(first, second);
    }
    Ok(())
}

#[test]
fn a_rule_is_set_as_a_whole_or_not_at_all() -> Result<()> {
    let sgd = || Sgd { lr: 0.1, momentum: 0.9, ..Default::default() };
    let mut one = optimizer(Recipe::new(sgd()).schedule("lr", Cosine::new(0.3, 9)))?;
    one.set_rule("default", Sgd { weight_decay: 0.5, ..sgd() })?;
    let error = one.set_rule("default", Sgd { lr: 0.2, ..sgd() });
    assert_error(error, "lr = 0.2 cannot be combined with a schedule of lr: the schedule sets it in every step");
    assert!(matches!(one.set_rule("default", Sgd { momentum: 0.0, ..sgd() }), Err(Error::Conflict { .. })));
    assert!(matches!(one.set_rule("default", Adam::default()), Err(Error::Conflict { .. })));
    assert!(matches!(one.set_rule("others", sgd()), Err(Error::Unknown { .. })));
    assert_error(
        one.set_rule("default", Sgd { momentum: 0.8, weight_decay: -1.0, ..sgd() }),
        "weight_decay = -1 is out of range: finite and at least 0",
    );
    let settings = one.state_dict()?;
    let of = |name: &str| settings.get(&format!("setting.default.{name}")).map(|array| array.values.clone());
    assert_eq!(of("weight_decay"), Some(StateValues::Numbers(vec![vec![0.5]])));
    assert_eq!(of("momentum"), Some(StateValues::Numbers(vec![vec![0.9]])));
    Ok(())
}

/// For each set of groups that is clipped by itself, the report and the samples have its norm.
#[test]
fn reports_have_the_norms_of_all_sets() -> Result<()> {
    for engine in [engines::cpu(), engines::gpu()] {
        let rules = [1.0, 1.0, 1.0].map(|lr| Sgd { lr, ..Default::default() });
        let recipe = grouped(rules).clip_norm(1.0).clip_norm_of([GROUPS[2]], 2.5).clip_norm_of([GROUPS[1]], f64::INFINITY);
        let tensors: [(&str, &[usize]); 3] = [("a", &[2]), ("b of group 1", &[2]), ("c of group 2", &[2])];
        let mut optimizer = Optimizer::new(&engine, recipe, &tensors)?;
        optimizer.telemetry_every(1);
        optimizer.set_grads("a", &[6.0, 8.0])?;
        optimizer.set_grads("b of group 1", &[5.0, 12.0])?;
        optimizer.set_grads("c of group 2", &[3.0, 4.0])?;
        optimizer.step()?;
        optimizer.flush()?;
        let sample = optimizer.poll()?.pop().expect("a sample");
        let report = optimizer.report()?;
        assert_eq!(sample.report, report);
        assert_eq!(report.norm, 10.0);
        let others: Vec<(Vec<String>, f64, f64)> =
            report.others.iter().map(|set| (set.groups.to_vec(), set.norm, (set.coefficient * 1e6).round() / 1e6)).collect();
        let expected = vec![(vec![GROUPS[2].into()], 5.0, 0.5), (vec![GROUPS[1].into()], 13.0, 1.0)];
        assert_eq!(others, expected, "{}", engine.name);
    }
    Ok(())
}
