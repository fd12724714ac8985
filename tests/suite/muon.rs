//! Muon: the oracle against tests/golden/muon.jsonl, which tests/golden/muon.py wrote, and the engines against the oracle.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::groups::{GROUPS, grouped_by};
use crate::common::numbers::numbers;
use crate::common::plain_muon;
use serde_json::Value;
use thalweg::cpu::Cpu;
use thalweg::plan::{Arena, Engine, PlanId, Program};
use thalweg::{AdjustLr, Muon, Optimizer, Real, Recipe, set};

/// Of the largest movement in a tensor. An iteration lets the smallest singular values grow by up to 3.4445, so five of them by
/// 500; the resolution of f64 is 2e-16, and a trajectory has 12 steps.
const TOLERANCE: f64 = 1e-10;
/// So many times the error of a plain evaluation in f32 may an engine's be.
const MARGIN: f64 = 4.0;

/// Steps at which trajectories are recorded.
const STEPS: [i32; 4] = [1, 2, 3, 12];

struct Golden {
    header: Value,
    cases: Vec<Value>,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/muon.jsonl")).expect("a file");
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    Golden { header: lines.next().expect("a header"), cases: lines.collect() }
}

fn arrays(value: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(value.clone()).expect("arrays of numbers")
}

fn rule(case: &Value) -> Muon {
    let mut rule = Muon::default();
    for (name, value) in case["kwargs"].as_object().expect("settings") {
        match name.as_str() {
            "ns_steps" => rule.ns_steps = value.as_u64().expect("a number") as usize,
            "adjust_lr" => {
                rule.adjust_lr = match value.as_str().expect("a name") {
                    "original" => AdjustLr::Original,
                    "match_rms_adamw" => AdjustLr::MatchRmsAdamW,
                    _ => AdjustLr::SpectralUnclamped,
                }
            }
            name => set(&mut rule, name, &value.to_string()).expect("a setting"),
        }
    }
    rule
}

fn tensors(golden: &Golden) -> Vec<(String, Vec<usize>)> {
    let tensor = |tensor: &Value| {
        let shape = serde_json::from_value(tensor["shape"].clone()).expect("a shape");
        (tensor["name"].as_str().expect("a name").to_string(), shape)
    };
    golden.header["tensors"].as_array().expect("tensors").iter().map(tensor).collect()
}

/// What became of a lane.
struct Run<F> {
    /// At the recorded steps, by tensor.
    params: Vec<Vec<Vec<F>>>,
    /// In the end: m and v, by tensor.
    state: [Vec<Vec<F>>; 2],
}

fn run<E: Engine>(engine: &E, recipe: Recipe, golden: &Golden, lane: usize) -> Run<E::Float> {
    let tensors = tensors(golden);
    let named: Vec<(&str, &[usize])> = tensors.iter().map(|(name, shape)| (&name[..], &shape[..])).collect();
    let lanes = recipe.lanes();
    let mut optimizer = Optimizer::new(engine, recipe, &named).expect("an optimizer");
    let of = |values: &[f64]| values.iter().map(|&x| E::Float::of(x)).collect::<Vec<_>>();
    for (lane, ((name, _), values)) in
        (0..lanes).flat_map(|lane| named.iter().zip(arrays(&golden.header["params0"])).map(move |pair| (lane, pair)))
    {
        optimizer.set_params(lane, name, &of(&values)).expect("parameters that fit");
    }
    let mut params = Vec::new();
    for (t, grads) in (1..).zip(golden.header["grads"].as_array().expect("gradients")) {
        for (lane, ((name, _), values)) in
            (0..lanes).flat_map(|lane| named.iter().zip(arrays(grads)).map(move |pair| (lane, pair)))
        {
            optimizer.set_grads(lane, name, &of(&values)).expect("gradients that fit");
        }
        optimizer.step().expect("a step");
        if STEPS.contains(&t) {
            params.push(named.iter().map(|(name, _)| optimizer.params(lane, name).expect("parameters")).collect());
        }
    }
    let state =
        ["m", "v"].map(|plane| named.iter().map(|(name, _)| optimizer.state(plane, lane, name).expect("a plane")).collect());
    Run { params, state }
}

fn agrees<F: Real>(what: &str, golden: &Golden, found: &[Vec<Vec<F>>], expected: &[Vec<Vec<f64>>], tolerance: f64) {
    let start = arrays(&golden.header["params0"]);
    assert_eq!((found.len(), expected.len()), (4, 4));
    for (found, expected) in found.iter().zip(expected) {
        for ((found, expected), start) in found.iter().zip(expected).zip(&start) {
            let movement = largest(expected, start);
            assert_close(what, found, expected, |_| tolerance * movement);
        }
    }
}

/// The largest difference.
fn largest(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
}

/// The error of a plain evaluation in f32 in parts of the largest movement in a tensor, over all tensors and recorded steps.
fn plain_error(golden: &Golden, rule: &Muon, expected: &[Vec<Vec<f64>>]) -> f64 {
    let start = arrays(&golden.header["params0"]);
    let mut plain: Vec<plain_muon::Tensor> =
        tensors(golden).iter().zip(&start).map(|((_, shape), x)| plain_muon::Tensor::new(shape, x)).collect();
    let mut error: f64 = 0.0;
    let mut recorded = expected.iter();
    for (t, grads) in (1..).zip(golden.header["grads"].as_array().expect("gradients")) {
        for (tensor, grads) in plain.iter_mut().zip(arrays(grads)) {
            tensor.step(rule, t, &grads);
        }
        let Some(expected) = STEPS.contains(&t).then(|| recorded.next()).flatten() else { continue };
        for ((tensor, expected), start) in plain.iter().zip(expected).zip(&start) {
            let found: Vec<f64> = tensor.x.iter().map(|&x| f64::from(x)).collect();
            error = error.max(largest(&found, expected) / largest(expected, start));
        }
    }
    error
}

#[test]
fn trajectories_are_those_of_the_equations() {
    let golden = golden();
    assert_eq!(golden.cases.len(), 3);
    for case in &golden.cases {
        let expected: Vec<Vec<Vec<f64>>> = case["params"].as_array().expect("snapshots").iter().map(arrays).collect();
        let Run { params, state } = run(&Cpu::<f64>::default(), Recipe::new(rule(case)), &golden, 0);
        agrees(&format!("oracle, {}", case["kwargs"]), &golden, &params, &expected, TOLERANCE);
        for (name, found) in ["exp_avg", "exp_avg_sq"].iter().zip(&state) {
            // What cancels is as exact as what it is made of.
            let (found, expected) = (found.concat(), arrays(&case["state"][name]).concat());
            let size = expected.iter().fold(0.0, |size: f64, x| size.max(x.abs()));
            assert_close(&format!("oracle, {name}, {}", case["kwargs"]), &found, &expected, |_| 1e-14 * size);
        }
    }
}

#[test]
fn engines_agree_and_a_lane_has_the_bits_of_a_model_alone() {
    let golden = golden();
    for case in &golden.cases {
        let expected: Vec<Vec<Vec<f64>>> = case["params"].as_array().expect("snapshots").iter().map(arrays).collect();
        let plain = plain_error(&golden, &rule(case), &expected);
        assert!((1e-7..1e-3).contains(&plain), "an error like that of f32: {plain}");
        let tolerance = MARGIN * plain;
        for engine in engines::all_and_small() {
            let what = format!("{}, {}", engine.name, case["kwargs"]);
            let alone = run(&engine, Recipe::new(rule(case)), &golden, 0).params;
            agrees(&what, &golden, &alone, &expected, tolerance);
            // Three lanes have more rows than the small bindings hold.
            if engine.name.contains("small") {
                continue;
            }
            let lanes = [0.5, 1.0, 2.0].map(|k| Muon { lr: k * rule(case).lr, ..rule(case) });
            let lane = run(&engine, Recipe::population(lanes), &golden, 1).params;
            assert_same_bits(&what, &lane.concat().concat(), &alone.concat().concat());
        }
    }
}

/// The number of dispatches follows from the shapes, not from the tensors.
#[test]
fn more_tensors_of_a_shape_take_no_more_dispatches() {
    let gpu = engines::open(thalweg::gpu::GpuOptions::default());
    let dispatches = |tensors: &[(&str, &[usize])]| {
        Optimizer::new(&gpu, Recipe::new(Muon::default()), tensors).expect("an optimizer").program().dispatches(PlanId::FIRST)
    };
    let one = dispatches(&[("a", &[4, 6]), ("bias", &[4])]);
    assert_eq!(dispatches(&[("a", &[4, 6]), ("b", &[4, 6]), ("c", &[4, 6]), ("bias", &[4])]), one);
    assert_eq!(dispatches(&[("a", &[4, 6]), ("b", &[6, 4]), ("bias", &[4])]), one + 22);
}

#[test]
fn a_bad_step_and_a_frozen_group_change_nothing() {
    for engine in engines::all() {
        let recipe = Recipe::new(Muon::default()).skip_bad();
        let mut optimizer = Optimizer::new(&engine, recipe, &[("w", &[2, 3]), ("b", &[2])]).expect("an optimizer");
        optimizer.set_grads(0, "w", &[1.0, 2.0, -1.0, 0.5, 3.0, 1.0]).expect("gradients");
        optimizer.set_grads(0, "b", &[1.0, 2.0]).expect("gradients");
        optimizer.step().expect("a step");
        let both = |optimizer: &mut Optimizer<_>| {
            [optimizer.params(0, "w").expect("parameters"), optimizer.params(0, "b").expect("parameters")].concat()
        };
        let before = both(&mut optimizer);
        assert!(before.iter().all(|&x| x != 0.0), "{}", engine.name);
        optimizer.freeze(0, "default", true).expect("a group");
        optimizer.step().expect("a step");
        assert_same_bits(engine.name, &both(&mut optimizer), &before);
        optimizer.freeze(0, "default", false).expect("a group");
        optimizer.set_grads(0, "b", &[f32::NAN, 2.0]).expect("gradients");
        optimizer.step().expect("a step");
        assert_same_bits(engine.name, &both(&mut optimizer), &before);
        optimizer.set_grads(0, "b", &[1.0, 2.0]).expect("gradients");
        optimizer.step().expect("a step");
        let after = both(&mut optimizer);
        assert!(after.iter().zip(&before).all(|(a, b)| a.is_finite() && a != b), "{}", engine.name);
    }
}

/// A group of matrices and others is one group to the caller, whatever it has become inside.
#[test]
fn changes_and_schedules_reach_both_parts_of_the_group_they_name() {
    let rule = |factor: f64| Muon { lr: 0.02 * factor, adamw_lr: 1e-3 * factor, ..Default::default() };
    let tensors = || {
        let mut arena = Arena::default();
        for (name, shape) in [("w", &[2, 3][..]), ("b", &[2]), ("v", &[3, 2]), ("c", &[3])] {
            arena.add(name, shape).expect("a new name");
        }
        arena
    };
    fn stepped(optimizer: &mut Optimizer<impl Program<Float = f32>>) -> Vec<f32> {
        let names = ["w", "b", "v", "c"];
        for name in names {
            let grads = numbers(7, optimizer.arena().tensor(name).expect("a tensor").len());
            optimizer.set_grads(0, name, &grads).expect("gradients");
        }
        (0..3).for_each(|_| optimizer.step().expect("a step"));
        names.iter().flat_map(|name| optimizer.params(0, name).expect("parameters")).collect()
    }
    let of = |name: &str| usize::from(["v", "c"].contains(&name));
    for engine in engines::all() {
        let optimizer = |recipe: Recipe| Optimizer::over(&engine, recipe, tensors()).expect("an optimizer");
        for group in [0, 1] {
            let mut factors = [1.0, 1.0];
            factors[group] = 0.5;
            let expected = stepped(&mut optimizer(grouped_by(factors.map(rule), of)));
            let both = || grouped_by([1.0, 1.0].map(rule), of);
            let mut changed = optimizer(both());
            changed.set(0, GROUPS[group], "lr", 0.01).expect("a rate");
            changed.set(0, GROUPS[group], "adamw_lr", 5e-4).expect("a rate");
            assert_same_bits(&format!("{}, group {group} changed", engine.name), &stepped(&mut changed), &expected);
            let scheduled = both().scale_group(GROUPS[group], "lr", 0.5).scale_group(GROUPS[group], "adamw_lr", 0.5);
            assert_same_bits(
                &format!("{}, group {group} scheduled", engine.name),
                &stepped(&mut optimizer(scheduled)),
                &expected,
            );
        }
    }
}
