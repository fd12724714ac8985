//! Muon: the oracle against tests/golden/muon.jsonl, which tests/golden/muon.py wrote, and the engines against the oracle.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::numbers::numbers;
use crate::common::plain_muon;
use serde_json::Value;
use thalweg::cpu::Cpu;
use thalweg::plan::{Engine, PlanId};
use thalweg::{AdamW, AdjustLr, Muon, Optimizer, Real, Recipe, Rules, Select, Sgd, set};

/// Relative to the largest movement in a tensor. An iteration enlarges the smallest singular values by up to 3.4445, so five of
/// them by 500. The resolution of f64 is 2e-16, and a trajectory has 12 steps.
const TOLERANCE: f64 = 1e-10;
/// How many times the error of a plain evaluation in f32 an engine's error may be.
const MARGIN: f64 = 4.0;

/// Steps at which trajectories are recorded.
const STEPS: [i32; 4] = [1, 2, 3, 12];

struct Golden {
    header: Value,
    cases: Vec<Value>,
}

fn golden() -> Golden {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/golden/muon.jsonl")).expect("a file");
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
    Golden { header: lines.next().expect("a header"), cases: lines.collect() }
}

fn arrays(value: &Value) -> Vec<Vec<f64>> {
    serde_json::from_value(value.clone()).expect("arrays of numbers")
}

/// Muon for matrices, and AdamW for other tensors with the settings that begin with `adamw_`.
fn rules(case: &Value) -> (Muon, AdamW) {
    let (mut rule, mut others) = (Muon::default(), AdamW::default());
    for (name, value) in case["kwargs"].as_object().expect("settings") {
        match name.as_str() {
            "maximize" => (rule.maximize, others.maximize) = (true, true),
            name if name.starts_with("adamw_") => {
                set(&mut others, name.trim_start_matches("adamw_"), &value.to_string()).expect("a setting");
            }
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
    (rule, others)
}

fn recipe((rule, others): (impl Into<Rules>, AdamW), lanes: usize) -> Recipe {
    let rules = rule.into();
    Recipe::population(vec![Sgd::default(); lanes]).group_of("matrices", Select::Dimensions(2), rules).group(
        "others",
        |_| true,
        others,
    )
}

fn tensors(golden: &Golden) -> Vec<(String, Vec<usize>)> {
    let tensor = |tensor: &Value| {
        let shape = serde_json::from_value(tensor["shape"].clone()).expect("a shape");
        (tensor["name"].as_str().expect("a name").to_string(), shape)
    };
    golden.header["tensors"].as_array().expect("tensors").iter().map(tensor).collect()
}

/// The results of a lane.
struct Run<F> {
    /// At the recorded steps, by tensor.
    params: Vec<Vec<Vec<F>>>,
    /// In the end: m and v, by tensor, where there are any.
    state: [Vec<Option<Vec<F>>>; 2],
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
        optimizer.lane(lane).expect("a lane").set_params(name, &of(&values)).expect("parameters that fit");
    }
    let mut params = Vec::new();
    for (t, grads) in (1..).zip(golden.header["grads"].as_array().expect("gradients")) {
        for (lane, ((name, _), values)) in
            (0..lanes).flat_map(|lane| named.iter().zip(arrays(grads)).map(move |pair| (lane, pair)))
        {
            optimizer.lane(lane).expect("a lane").set_grads(name, &of(&values)).expect("gradients that fit");
        }
        optimizer.step().expect("a step");
        if STEPS.contains(&t) {
            params.push(
                named.iter().map(|(name, _)| optimizer.lane(lane).expect("a lane").params(name).expect("parameters")).collect(),
            );
        }
    }
    let state = ["m", "v"].map(|plane| {
        named.iter().map(|(name, _)| optimizer.lane(lane).and_then(|mut lane| lane.state(name, plane)).ok()).collect()
    });
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

/// The error of a plain evaluation in f32, relative to the largest movement in a tensor, over all tensors and recorded steps.
fn plain_error(golden: &Golden, rules: &(Muon, AdamW), expected: &[Vec<Vec<f64>>]) -> f64 {
    let start = arrays(&golden.header["params0"]);
    let mut plain: Vec<plain_muon::Tensor> =
        tensors(golden).iter().zip(&start).map(|((_, shape), x)| plain_muon::Tensor::new(shape, x)).collect();
    let mut error: f64 = 0.0;
    let mut recorded = expected.iter();
    for (t, grads) in (1..).zip(golden.header["grads"].as_array().expect("gradients")) {
        for (tensor, grads) in plain.iter_mut().zip(arrays(grads)) {
            tensor.step(rules, t, &grads);
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
        let Run { params, state } = run(&Cpu::<f64>::default(), recipe(rules(case), 1), &golden, 0);
        agrees(&format!("oracle, {}", case["kwargs"]), &golden, &params, &expected, TOLERANCE);
        for (name, found) in ["exp_avg", "exp_avg_sq"].iter().zip(&state) {
            // A matrix has no second moments, which are 0 in the file. A difference is as exact as its terms.
            let expected = arrays(&case["state"][name]);
            let found: Vec<Vec<f64>> = found
                .iter()
                .zip(&expected)
                .map(|(found, expected)| found.clone().unwrap_or_else(|| vec![0.0; expected.len()]))
                .collect();
            let (found, expected) = (found.concat(), expected.concat());
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
        let plain = plain_error(&golden, &rules(case), &expected);
        assert!((1e-7..1e-3).contains(&plain), "an error like that of f32: {plain}");
        let tolerance = MARGIN * plain;
        for engine in engines::all_and_small() {
            let what = format!("{}, {}", engine.name, case["kwargs"]);
            let alone = run(&engine, recipe(rules(case), 1), &golden, 0).params;
            agrees(&what, &golden, &alone, &expected, tolerance);
            // Three lanes have more rows than the small bindings hold.
            if engine.name.contains("small") {
                continue;
            }
            let (rule, others) = rules(case);
            let lanes = [0.5, 1.0, 2.0].map(|k| Muon { lr: k * rule.lr, ..rule.clone() });
            let lane = run(&engine, recipe((lanes, others), 3), &golden, 1).params;
            assert_same_bits(&what, &lane.concat().concat(), &alone.concat().concat());
        }
    }
}

/// The number of dispatches follows from the shapes, not from the tensors.
#[test]
fn more_tensors_of_a_shape_take_no_more_dispatches() {
    let gpu = engines::open(thalweg::gpu::GpuOptions::default());
    let dispatches = |tensors: &[(&str, &[usize])]| {
        Optimizer::new(&gpu, recipe((Muon::default(), AdamW::default()), 1), tensors)
            .expect("an optimizer")
            .program()
            .dispatches(PlanId::FIRST)
    };
    let one = dispatches(&[("a", &[4, 6]), ("bias", &[4])]);
    assert_eq!(dispatches(&[("a", &[4, 6]), ("b", &[4, 6]), ("c", &[4, 6]), ("bias", &[4])]), one);
    assert_eq!(dispatches(&[("a", &[4, 6]), ("b", &[6, 4]), ("bias", &[4])]), one + 22);
}

#[test]
fn a_bad_step_and_a_frozen_group_change_nothing() {
    for engine in engines::all() {
        let recipe = recipe((Muon::default(), AdamW::default()), 1).skip_bad();
        let mut optimizer = Optimizer::new(&engine, recipe, &[("w", &[2, 3]), ("b", &[2])]).expect("an optimizer");
        optimizer.set_grads("w", &[1.0, 2.0, -1.0, 0.5, 3.0, 1.0]).expect("gradients");
        optimizer.set_grads("b", &[1.0, 2.0]).expect("gradients");
        optimizer.step().expect("a step");
        let both = |optimizer: &mut Optimizer<_>| {
            [optimizer.params("w").expect("parameters"), optimizer.params("b").expect("parameters")].concat()
        };
        let before = both(&mut optimizer);
        assert!(before.iter().all(|&x| x != 0.0), "{}", engine.name);
        ["matrices", "others"].iter().for_each(|group| optimizer.freeze(group, true).expect("a group"));
        optimizer.step().expect("a step");
        assert_same_bits(engine.name, &both(&mut optimizer), &before);
        ["matrices", "others"].iter().for_each(|group| optimizer.freeze(group, false).expect("a group"));
        optimizer.set_grads("b", &[f32::NAN, 2.0]).expect("gradients");
        optimizer.step().expect("a step");
        assert_same_bits(engine.name, &both(&mut optimizer), &before);
        optimizer.set_grads("b", &[1.0, 2.0]).expect("gradients");
        optimizer.step().expect("a step");
        let after = both(&mut optimizer);
        assert!(after.iter().zip(&before).all(|(a, b)| a.is_finite() && a != b), "{}", engine.name);
    }
}

/// Three steps of a matrix and a vector with gradients of these sizes, starting from 1 and 2.
fn moved<E: Engine>(engine: &E, recipe: Recipe, sizes: [f64; 2]) -> ([Vec<f64>; 2], [f64; 2]) {
    let tensors: [(&str, &[usize]); 2] = [("w", &[2, 3]), ("b", &[2])];
    let mut optimizer = Optimizer::new(engine, recipe, &tensors).expect("an optimizer");
    for ((name, shape), size) in tensors.into_iter().zip(sizes) {
        let len = shape.iter().product();
        let grads: Vec<E::Float> = numbers(7, len).into_iter().map(|g| E::Float::of(f64::from(g) * size)).collect();
        optimizer.set_grads(name, &grads).expect("gradients");
    }
    optimizer.steps(3).expect("steps");
    let report = optimizer.report().expect("a report");
    let params = ["w", "b"].map(|name| optimizer.params(name).expect("parameters").into_iter().map(Real::as_f64).collect());
    (params, [report.norm, report.coefficient])
}

fn everywhere(check: impl Fn(&dyn Fn(Recipe, [f64; 2]) -> ([Vec<f64>; 2], [f64; 2]), &str)) {
    check(&|recipe, sizes| moved(&Cpu::<f64>::default(), recipe, sizes), "oracle");
    for engine in engines::all() {
        check(&|recipe, sizes| moved(&engine, recipe, sizes), engine.name);
    }
}

/// With gradients of 1e9, the matrix makes the steps that it makes without a clip, and the vector makes its own: neither
/// affects the other.
#[test]
fn a_global_norm_leaves_orthogonal_directions_out() {
    everywhere(|moved, engine| {
        let plain = || recipe((Muon { lr: 0.1, ..Default::default() }, AdamW { eps: 0.1, ..Default::default() }), 1);
        let ([matrix, _], _) = moved(plain(), [1e9, 1.0]);
        let ([_, vector], [norm, coefficient]) = moved(plain().clip_norm(0.5), [1.0, 1.0]);
        let ([found, other], scalars) = moved(plain().clip_norm(0.5), [1e9, 1.0]);
        assert_same_bits(engine, &found, &matrix);
        assert_same_bits(engine, &other, &vector);
        assert!(found.iter().all(|x| x.abs() > 0.01), "{engine}: {found:?}");
        assert_eq!(scalars, [norm, coefficient], "{engine}: the norm of the vector");
        assert!(norm < 10.0 && coefficient < 1.0, "{engine}: {norm}");
    });
}

/// If the matrix is in the set, it is part of the norm, and its large gradient leaves almost no step for the vector.
#[test]
fn a_set_of_groups_shares_a_norm() {
    everywhere(|moved, engine| {
        // Where the root is small beside eps, a step is as long as its gradient.
        let plain =
            || recipe((Muon { lr: 0.1, ..Default::default() }, AdamW { eps: 1.0, weight_decay: 0.0, ..Default::default() }), 1);
        let ([_, vector], [norm, _]) = moved(plain().clip_norm_of(["matrices", "others"], 1.0), [1e9, 1.0]);
        assert!(norm > 1e9, "{engine}: {norm}");
        assert!(vector.iter().all(|x| x.abs() < 1e-10), "{engine}: {vector:?}");
        let ([_, apart], [norm, _]) = moved(plain().clip_norm_of(["matrices"], 1.0).clip_norm_of(["others"], 1.0), [1e9, 1.0]);
        assert!(norm > 1e9, "{engine}: the first set's norm is reported: {norm}");
        let ([_, alone], _) = moved(plain().clip_norm(1.0), [1.0, 1.0]);
        assert_same_bits(engine, &apart, &alone);
        let all = Recipe::new(Muon::default()).group_of("b", Select::Below(2), AdamW::default());
        let (_, [norm, _]) = moved(all.clone().clip_norm_of(["b"], 1.0), [1e9, 1.0]);
        assert!(norm < 10.0, "{engine}: {norm}");
    });
    // A norm of matrices alone is allowed.
    let tensors: [(&str, &[usize]); 1] = [("w", &[2, 3])];
    let recipe = Recipe::new(Muon::default()).clip_norm(1.0);
    let mut alone = Optimizer::new(&Cpu::<f32>::default(), recipe, &tensors).expect("an optimizer");
    alone.set_grads("w", &[3.0, 4.0, 0.0, 0.0, 0.0, 0.0]).expect("gradients");
    alone.step().expect("a step");
    assert_eq!(alone.report().expect("a report").norm, 5.0);
}

#[test]
fn tensors_that_are_no_matrices_are_refused() {
    let error = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Muon::default()), &[("w", &[2, 2]), ("b", &[3])]);
    assert_eq!(
        error.map(drop).expect_err("a vector").to_string(),
        "tensor 'b' under muon: shape [3] found, a matrix (other tensors want a group with another rule) expected"
    );
}
