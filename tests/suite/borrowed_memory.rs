//! Steps on slices of the caller's memory: the bits of an arena, on the CPU engine and on the oracle.

use crate::common::compare::assert_same_bits;
use crate::common::groups::grouped_by;
use crate::common::numbers::numbers;
use crate::common::options::options;
use thalweg::cpu::{Cpu, CpuProgram, Float};
use thalweg::plan::{Arena, CHUNK, Engine, Half, LossScale, NormKind};
use thalweg::{Accumulation, Adam, Average, Clip, Error, Lookahead, Optimizer, Recipe, Sgd};

/// Name, shape, group.
const TENSORS: [(&str, &[usize], usize); 5] =
    [("a", &[5, 13], 0), ("empty", &[0], 0), ("b", &[70], 1), ("c", &[3, CHUNK + 3], 0), ("d", &[], 1)];

fn arena() -> Arena {
    let mut arena = Arena::default();
    for (name, shape, _) in TENSORS {
        arena.add(name, shape).expect("names that differ");
    }
    arena
}

/// Numbers for the tensors, lane after lane.
fn split<F: Float>(seed: u64, lanes: usize) -> Vec<Vec<F>> {
    let lens: Vec<usize> = TENSORS.iter().map(|(_, shape, _)| shape.iter().product()).collect::<Vec<_>>().repeat(lanes);
    let all = numbers(seed, lens.iter().sum());
    let mut rest = &all[..];
    lens.iter()
        .map(|&len| {
            let (part, after) = rest.split_at(len);
            rest = after;
            part.iter().map(|&x| F::of(f64::from(x))).collect()
        })
        .collect()
}

fn slices<F>(tensors: &mut [Vec<F>]) -> Vec<&mut [F]> {
    tensors.iter_mut().map(Vec::as_mut_slice).collect()
}

type Cpus<F> = Optimizer<CpuProgram<F>>;

/// Lane and name of each slice.
fn owners(lanes: usize) -> Vec<(usize, &'static str)> {
    (0..lanes).flat_map(|lane| TENSORS.iter().map(move |(name, ..)| (lane, *name))).collect()
}

/// The same steps in an arena and on slices.
fn check<F: Float>(what: &str, recipe: &Recipe, lanes: usize, before_step: &str) {
    let new = || -> Cpus<F> { Optimizer::over(&Cpu::<F>::default(), recipe.clone(), arena()).expect("an optimizer") };
    let (mut own, mut lending) = (new(), new());
    let mut params = split::<F>(1, lanes);
    for ((lane, name), values) in owners(lanes).into_iter().zip(&params) {
        own.lane(lane).expect("a lane").set_params(name, values).expect("parameters");
    }
    for t in 0..4 {
        let mut grads = split::<F>(100 + t, lanes);
        if t == 2 {
            grads[3][5] = F::nan();
        }
        for ((lane, name), values) in owners(lanes).into_iter().zip(&grads) {
            own.lane(lane).expect("a lane").set_grads(name, values).expect("gradients");
        }
        match before_step {
            "accumulate" => {
                own.accumulate().expect("a micro-batch");
                lending.accumulate_over(&mut slices(&mut params), &mut slices(&mut grads)).expect("a micro-batch");
            }
            "ascend" => {
                own.ascend().expect("an ascent");
                lending.ascend_over(&mut slices(&mut params), &mut slices(&mut grads)).expect("an ascent");
            }
            _ => {}
        }
        own.step().expect("a step");
        lending.step_over(&mut slices(&mut params), &mut slices(&mut grads)).expect("a step");
        for ((lane, name), found) in owners(lanes).into_iter().zip(&params).filter(|(_, values)| !values.is_empty()) {
            let expected = own.lane(lane).expect("a lane").params(name).expect("parameters");
            assert_same_bits(&format!("{what}, step {t}, lane {lane}, {name}"), found, &expected);
        }
    }
    for lane in 0..lanes {
        assert_eq!(
            own.lane(lane).expect("a lane").report().expect("a report"),
            lending.lane(lane).expect("a lane").report().expect("a report"),
            "{what}"
        );
    }
    if let Ok(average) = lending.averaged("c") {
        assert_same_bits(what, &average, &own.averaged("c").expect("an average"));
    }
    assert_eq!(lending.half("c").ok(), own.half("c").ok(), "{what}");
}

fn check_both(what: &str, recipe: &Recipe, before_step: &str) {
    check::<f32>(what, recipe, 1, before_step);
    check::<f64>(what, recipe, 1, before_step);
}

#[test]
fn lanes_have_the_bits_of_an_arena() {
    for lanes in [2, 7, 50] {
        let rules = (0..lanes).map(|lane| Adam { lr: 0.1 / (1 + lane) as f64, ..Default::default() });
        let recipe = Recipe::population(rules).clip_norm(1.0);
        check::<f32>(&format!("{lanes} lanes"), &recipe, lanes, "");
        check::<f64>(&format!("{lanes} lanes of f64"), &recipe, lanes, "");
        let sam = recipe.clone().sam(0.5);
        check::<f32>(&format!("{lanes} lanes, ascents"), &sam, lanes, "ascend");
    }
}

/// Fewer lanes than threads, and tensors so long that their norms and updates are shared out.
#[test]
fn parallel_operations_have_the_bits_of_an_arena() {
    let len = 100_000;
    let recipe = || Recipe::population([0.1, 0.2].map(|lr| Adam { lr, ..Default::default() })).clip_norm(1.0);
    let new = || -> Cpus<f32> { Optimizer::new(&Cpu::with_threads(4), recipe(), &[("w", &[len])]).expect("an optimizer") };
    let (mut own, mut lending) = (new(), new());
    let mut params = [vec![0.0; len], vec![0.0; len]];
    for t in 0..3 {
        let mut grads = [numbers(2 * t, len), numbers(2 * t + 1, len)];
        (0..2).for_each(|lane| own.lane(lane).expect("a lane").set_grads("w", &grads[lane]).expect("gradients"));
        own.step().expect("a step");
        let [x, y] = &mut params;
        let [g, h] = &mut grads;
        lending.step_over(&mut [x, y], &mut [g, h]).expect("a step");
    }
    for (lane, params) in params.iter().enumerate() {
        assert_same_bits(&format!("lane {lane}"), params, &own.lane(lane).expect("a lane").params("w").expect("parameters"));
    }
}

#[test]
fn every_rule_has_the_bits_of_an_arena() {
    for (name, rule) in options() {
        check_both(&name, &Recipe::new(rule).skip_bad(), "");
    }
}

#[test]
fn what_goes_with_a_rule_has_the_bits_of_an_arena() {
    let plain = || Recipe::new(Adam { lr: 0.01, ..Default::default() }).skip_bad();
    for (what, recipe, before_step) in [
        ("clip", plain().clip_norm(1.0), ""),
        ("clip by value", plain().clip(Clip::Value(0.5)), ""),
        ("clip per tensor", plain().clip(Clip::Tensor { max: 1.0, kind: NormKind::L1 }), ""),
        ("loss scale", plain().loss_scale(LossScale { init: 4.0, ..Default::default() }), ""),
        ("average", plain().average(Average::Ema { decay: 0.9 }), ""),
        ("lookahead", plain().lookahead(Lookahead { steps: 2, alpha: 0.5 }), ""),
        ("half", plain().half_copy(Half::Bf16), ""),
        ("cautious", plain().cautious(), ""),
        ("centralise", plain().centralise(), ""),
        ("accumulate", plain().accumulate(Accumulation { drop_bad: true, mean: false, ..Default::default() }), "accumulate"),
        ("sam", plain().sam(0.5), "ascend"),
    ] {
        check_both(what, &recipe, before_step);
    }
}

#[test]
fn groups_have_the_bits_of_an_arena() {
    let rules = [0.1, 0.01].map(|lr| Sgd { lr, momentum: 0.9, ..Default::default() });
    let group = |name: &str| TENSORS.iter().find(|tensor| tensor.0 == name).expect("a tensor").2;
    check_both("groups", &grouped_by(rules, group).clip_norm(1.0), "");
}

#[test]
fn slices_that_do_not_fit_are_refused_and_do_not_count() {
    let mut optimizer: Cpus<f32> =
        Optimizer::new(&Cpu::default(), Recipe::new(Sgd::default()), &[("w", &[2, 2]), ("b", &[3])]).expect("an optimizer");
    let (mut w, mut b, mut short) = ([0.0; 4], [0.0; 3], [0.0; 2]);
    let (mut gw, mut gb) = ([1.0; 4], [1.0; 3]);
    let error = optimizer.step_over(&mut [&mut w, &mut short], &mut [&mut gw, &mut gb]).expect_err("too short");
    assert_eq!(error.to_string(), "parameters of tensor 'b': 2 found, 3 elements expected");
    let error = optimizer.step_over(&mut [&mut w, &mut b], &mut [&mut gw]).expect_err("too few");
    assert_eq!(error, Error::shape("slices of gradients", 2, 1));
    assert_eq!(optimizer.report().expect("a report").applied, 0);
    optimizer.step_over(&mut [&mut w, &mut b], &mut [&mut gw, &mut gb]).expect("a step");
    assert_eq!(optimizer.report().expect("a report").applied, 1);
    assert_eq!((w, b), ([-1e-3; 4], [-1e-3; 3]));

    let two = Recipe::population([Sgd::default(), Sgd::default()]);
    let mut lanes: Cpus<f32> = Optimizer::new(&Cpu::default(), two, &[("b", &[3])]).expect("an optimizer");
    let error = lanes.step_over(&mut [&mut b], &mut [&mut gb]).expect_err("two lanes");
    assert_eq!(error, Error::shape("slices of parameters", 2, 1));
    let error = lanes.step_over(&mut [&mut b, &mut short], &mut [&mut gb, &mut gw]).expect_err("too short");
    assert_eq!(error.to_string(), "parameters of tensor 'b' in lane 1: 2 found, 3 elements expected");
    assert!(Cpu::<f32>::default().describe().starts_with("CPU"));
}

/// A run on slices can go on elsewhere: its state is that of a run in an arena, and a loaded state goes into the slices.
#[test]
fn a_run_on_slices_is_saved_and_goes_on() {
    fn grads<F: Float>(step: u64, lanes: usize) -> Vec<Vec<F>> {
        split(100 + step, lanes)
    }
    fn check<F: Float>(what: &str, recipe: &Recipe, lanes: usize) {
        let new = || -> Cpus<F> { Optimizer::over(&Cpu::<F>::default(), recipe.clone(), arena()).expect("an optimizer") };
        let (mut own, mut lending, mut resumed) = (new(), new(), new());
        let mut params = split::<F>(1, lanes);
        for ((lane, name), values) in owners(lanes).into_iter().zip(&params) {
            own.lane(lane).expect("a lane").set_params(name, values).expect("parameters");
        }
        for step in 0..5 {
            let mut grads = grads::<F>(step, lanes);
            for ((lane, name), values) in owners(lanes).into_iter().zip(&grads) {
                own.lane(lane).expect("a lane").set_grads(name, values).expect("gradients");
            }
            own.step().expect("a step");
            lending.step_over(&mut slices(&mut params), &mut slices(&mut grads)).expect("a step");
        }
        let held: Vec<&[F]> = params.iter().map(Vec::as_slice).collect();
        let state = lending.state_dict_over(&held).expect("a state");
        assert!(state == own.state_dict().expect("a state"), "{what}: the state of an arena");
        // It has made other steps before, which must not matter.
        let mut taken_up = split::<F>(7, lanes);
        resumed.step_over(&mut slices(&mut taken_up), &mut slices(&mut grads::<F>(50, lanes))).expect("a step");
        resumed.load_state_dict_over(&state, &mut slices(&mut taken_up)).expect("it fits");
        assert!(taken_up == params, "{what}: the slices get the parameters");
        for step in 5..9 {
            lending.step_over(&mut slices(&mut params), &mut slices(&mut grads::<F>(step, lanes))).expect("a step");
            resumed.step_over(&mut slices(&mut taken_up), &mut slices(&mut grads::<F>(step, lanes))).expect("a step");
        }
        for ((lane, name), (found, expected)) in owners(lanes).into_iter().zip(taken_up.iter().zip(&params)) {
            if !found.is_empty() {
                assert_same_bits(&format!("{what}, lane {lane}, {name}"), found, expected);
            }
        }
        let [one, other] = [(&mut lending, &params), (&mut resumed, &taken_up)].map(|(optimizer, params)| {
            optimizer.state_dict_over(&params.iter().map(Vec::as_slice).collect::<Vec<_>>()).expect("a state")
        });
        assert!(one == other, "{what}: all that is kept");
    }
    for (name, rule) in options() {
        check::<f64>(&name, &Recipe::new(rule), 1);
    }
    let adam = |lr: f64| Adam { lr, ..Default::default() };
    let plain = || Recipe::population([adam(0.01), adam(0.02), adam(0.03)]).skip_bad();
    for (what, recipe) in [
        ("average", plain().average(Average::Ema { decay: 0.9 })),
        ("lookahead", plain().lookahead(Lookahead { steps: 2, alpha: 0.5 })),
        ("half", plain().half_copy(Half::Bf16)),
        ("clip", plain().clip_norm(1.0)),
        ("loss scale", plain().loss_scale(LossScale { init: 4.0, interval: 2, ..Default::default() })),
    ] {
        check::<f32>(what, &recipe, 3);
    }
}

#[test]
fn slices_that_do_not_fit_a_state_are_refused_and_stay() {
    let new = || -> Cpus<f32> {
        Optimizer::new(&Cpu::default(), Recipe::new(Adam::default()), &[("w", &[2, 2]), ("b", &[3])]).expect("an optimizer")
    };
    let (mut optimizer, mut other) = (new(), new());
    let (mut w, mut b, mut short) = ([1.0; 4], [2.0; 3], [0.0; 2]);
    optimizer.step_over(&mut [&mut w, &mut b], &mut [&mut [1.0; 4], &mut [1.0; 3]]).expect("a step");
    let error = optimizer.state_dict_over(&[&w, &short]).expect_err("too short").to_string();
    assert_eq!(error, "parameters of tensor 'b': 2 found, 3 elements expected");
    assert_eq!(optimizer.state_dict_over(&[&w]), Err(Error::shape("slices of parameters", 2, 1)));
    let mut state = optimizer.state_dict_over(&[&w, &b]).expect("a state");
    let mut into = [9.0; 4];
    assert!(other.load_state_dict_over(&state, &mut [&mut into, &mut short]).is_err());
    state.remove("state.b.m");
    assert!(other.load_state_dict_over(&state, &mut [&mut into, &mut [0.0; 3]]).is_err());
    assert_eq!((into, other.report().expect("a report").applied), ([9.0; 4], 0), "nothing is changed");
}

#[test]
fn a_run_on_slices_goes_through_a_file() {
    let new = || -> Cpus<f32> {
        Optimizer::new(&Cpu::default(), Recipe::new(Adam { lr: 0.1, ..Default::default() }), &[("w", &[3])])
            .expect("an optimizer")
    };
    let (mut first, mut second, mut in_an_arena) = (new(), new(), new());
    let (mut w, mut other) = ([1.0, 2.0, 3.0], [0.0; 3]);
    first.step_over(&mut [&mut w], &mut [&mut [1.0, -2.0, 0.5]]).expect("a step");
    let file = first.tensors_over(&[&w]).expect("tensors");
    assert_eq!(file.get::<f32>("param.w").expect("parameters"), w);
    assert!(second.load_tensors_over(&file, &mut [&mut other]).expect("it fits").is_complete());
    assert_eq!(other, w);
    // The file is that of any optimizer.
    in_an_arena.load_tensors(&file).expect("it fits");
    assert_eq!(in_an_arena.params("w").expect("parameters"), w);
    first.step_over(&mut [&mut w], &mut [&mut [0.25; 3]]).expect("a step");
    second.step_over(&mut [&mut other], &mut [&mut [0.25; 3]]).expect("a step");
    assert_same_bits("after the file", &other, &w);
}
