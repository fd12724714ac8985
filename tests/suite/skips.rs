//! A step with a bad gradient changes only its count: not the parameters, not the state, and not later steps.

use crate::common::compare::assert_same_bits;
use crate::common::engines::{self, AnyEngine, AnyProgram};
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::{options, siblings};
use thalweg::cpu::Cpu;
use thalweg::plan::{Engine, LossScale, NormKind, SLOTS};
use thalweg::{AnyRule, Clip, Layerwise, Recipe};

const LEN: usize = 100;
const CYCLE: usize = 5;
const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];

fn start(engine: &AnyEngine, rules: &[Box<dyn AnyRule>]) -> Model<AnyProgram> {
    let recipe = Recipe::population(rules.iter().cloned()).clip_norm(10.0);
    let mut model = Model::new(engine, recipe, &*rules[0], &[LEN]);
    (0..rules.len()).for_each(|lane| model.set_params(lane, &numbers(lane as u64, LEN)));
    model
}

fn grads() -> Vec<Vec<f32>> {
    (0..CYCLE as u64).map(|t| numbers(10 + t, LEN)).collect()
}

fn assert_same(what: &str, found: &mut Model<AnyProgram>, expected: &mut Model<AnyProgram>, lane: usize) {
    for ((name, found), (_, expected)) in found.arrays(lane).iter().zip(expected.arrays(lane)) {
        assert_same_bits(&format!("{what}, lane {lane}, {name}"), found, &expected);
    }
}

/// How many steps are made at once from a step on: one around a bad step and where rows start again, else those up to there.
fn at_once(t: usize, bad_steps: &[usize], steps: usize) -> usize {
    let alone = |t: usize| bad_steps.iter().chain(&[SLOTS]).any(|step| step.abs_diff(t) <= 8);
    if alone(t) { 1 } else { (t..=steps).take_while(|&t| !alone(t)).count() }
}

/// Lane 1 gets bad gradients at steps 1, 2, 5 and 100; it equals a run without those steps. The other lanes equal a run in
/// which nothing was bad.
#[test]
fn a_run_with_bad_steps_is_the_run_without_them() {
    let steps = SLOTS + 44;
    let bad_steps = [1, 2, 5, 100];
    let grads = grads();
    for engine in [engines::cpu(), engines::gpu()] {
        for (name, rule) in options() {
            let rules = siblings(&*rule);
            let [mut bad, mut good, mut without] = [(); 3].map(|()| start(&engine, &rules));
            let mut t = 1;
            while t <= steps {
                let count = at_once(t, &bad_steps, steps);
                let now = &grads[t % CYCLE];
                (0..3).for_each(|lane| bad.set_grads(lane, now));
                (0..3).for_each(|lane| good.set_grads(lane, now));
                if bad_steps.contains(&t) {
                    let mut broken = now.clone();
                    broken[t % LEN] = BAD[t % BAD.len()];
                    bad.set_grads(1, &broken);
                } else {
                    (0..3).for_each(|lane| without.set_grads(lane, now));
                    without.steps(count);
                }
                bad.steps(count);
                good.steps(count);
                t += count;
            }
            let what = format!("{}, {name}", engine.name);
            assert_same(&what, &mut bad, &mut good, 0);
            assert_same(&what, &mut bad, &mut without, 1);
            assert_same(&what, &mut bad, &mut good, 2);
            let counts = [0, 1, 2].map(|lane| (bad.report(lane).applied as usize, bad.report(lane).skipped as usize));
            assert_eq!(counts, [(steps, 0), (steps - 4, 4), (steps, 0)], "{what}");
            assert_eq!(bad.report(1).clipped, without.report(1).clipped, "{what}");
        }
    }
}

/// The recipes that look for bad steps, and whether they have a loss scale. Scales are powers of two, which do not change bits.
/// A rule that takes norms of the gradients allows no other norm and no bound on elements.
fn guards(rules: &[Box<dyn AnyRule>]) -> Vec<(&'static str, bool, Recipe)> {
    let plain = Recipe::population(rules.iter().cloned());
    let norm = |kind| Clip::Norm { max: 5.0, kind };
    let scaled = plain.clone().loss_scale(LossScale { interval: 3, ..Default::default() });
    let mut guards = vec![
        ("skip_bad", false, plain.clone().skip_bad()),
        ("loss scale", true, scaled.clone()),
        ("loss scale and clip", true, scaled.clone().clip(norm(NormKind::L2))),
    ];
    if rules[0].layerwise() != Layerwise::Before {
        guards.extend([
            ("clip by L1", false, plain.clone().clip(norm(NormKind::L1))),
            ("clip by the largest", false, plain.clone().clip(Clip::Norm { max: 1.0, kind: NormKind::Max })),
            ("clip by value", false, plain.clip(Clip::Value(1.0))),
            ("loss scale and clip by value", true, scaled.clip(Clip::Value(1.0))),
        ]);
    }
    guards
}

/// Steps 1, 2, 5 and the last are bad in lane 1. With a loss scale, the gradients of each run are multiplied by its own scale,
/// which changes after a bad step.
#[test]
fn a_run_with_bad_steps_is_the_run_without_them_under_every_guard() {
    const LAST: usize = 12;
    fn set_scaled<E: Engine>(model: &mut Model<E::Program>, scaled: bool, grads: &[f32]) {
        for lane in 0..3 {
            // A report waits for the device.
            let scale = if scaled { model.report(lane).loss_scale as f32 } else { 1.0 };
            model.set_grads(lane, &grads.iter().map(|g| g * scale).collect::<Vec<_>>());
        }
    }
    fn check<E: Engine>(engine: &E, name: &str, rules: &[Box<dyn AnyRule>]) {
        for (guard, scaled, recipe) in guards(rules) {
            let [mut bad, mut without] = [(); 2].map(|()| Model::new(engine, recipe.clone(), &*rules[0], &[LEN]));
            for lane in 0..3 {
                bad.set_params(lane, &numbers(lane as u64, LEN));
                without.set_params(lane, &numbers(lane as u64, LEN));
            }
            for t in 1..=LAST {
                let grads = &grads()[t % CYCLE];
                set_scaled::<E>(&mut bad, scaled, grads);
                if [1, 2, 5, LAST].contains(&t) {
                    let mut broken = grads.clone();
                    broken[t % LEN] = BAD[t % BAD.len()];
                    bad.set_grads(1, &broken);
                } else {
                    set_scaled::<E>(&mut without, scaled, grads);
                    without.step();
                }
                bad.step();
            }
            let what = format!("{}, {name}, {guard}", engine.describe());
            for ((array, found), (_, expected)) in bad.arrays(1).iter().zip(without.arrays(1)) {
                assert_same_bits(&format!("{what}, {array}"), found, &expected);
            }
            let counts = [0, 1, 2].map(|lane| (bad.report(lane).applied as usize, bad.report(lane).skipped));
            assert_eq!(counts, [(LAST, 0), (LAST - 4, 4), (LAST, 0)], "{what}");
            assert_eq!(bad.report(1).clipped, without.report(1).clipped, "{what}");
        }
    }
    for (name, rule) in options() {
        let rules = siblings(&*rule);
        check(&Cpu::<f64>::default(), &name, &rules);
        [engines::cpu(), engines::gpu(), engines::small_bindings()].iter().for_each(|engine| check(engine, &name, &rules));
    }
}

/// More bad steps in a row than rows are written ahead: the next good step is still the first step.
#[test]
fn a_long_row_of_bad_steps_leaves_no_trace() {
    let grads = grads();
    for engine in [engines::cpu(), engines::gpu()] {
        for (name, rule) in options() {
            let rules = siblings(&*rule);
            let (mut bad, mut good) = (start(&engine, &rules), start(&engine, &rules));
            let mut broken = grads[0].clone();
            broken[LEN - 1] = f32::NAN;
            for lane in [0, 2] {
                bad.set_grads(lane, &grads[0]);
            }
            bad.set_grads(1, &broken);
            bad.steps(SLOTS + 44);
            for t in 0..20 {
                bad.set_grads(1, &grads[t % CYCLE]);
                good.set_grads(1, &grads[t % CYCLE]);
                bad.step();
                good.step();
            }
            let what = format!("{}, {name}", engine.name);
            assert_same(&what, &mut bad, &mut good, 1);
            let report = bad.report(1);
            assert_eq!((report.applied as usize, report.skipped as usize), (20, SLOTS + 44), "{what}");
            assert_eq!(bad.report(0).applied as usize, SLOTS + 64, "{what}");
        }
    }
}

#[test]
fn the_norm_of_a_bad_gradient_is_reported() {
    for engine in [engines::cpu(), engines::gpu()] {
        let (_, rule) = options().swap_remove(0);
        for bad in BAD {
            let mut model = start(&engine, std::slice::from_ref(&rule));
            let mut grads = numbers(1, LEN);
            grads[7] = bad;
            model.set_grads(0, &grads);
            model.step();
            assert!(!model.report(0).norm.is_finite(), "{}, {bad}", engine.name);
        }
    }
}

/// The sum of squares is out of the range of f32, but the gradients are not, so the step is made.
#[test]
fn a_sum_of_squares_beyond_f32_is_not_skipped() {
    for engine in [engines::cpu(), engines::gpu()] {
        let (_, rule) = options().swap_remove(0);
        let mut model = start(&engine, &[rule]);
        model.set_grads(0, &[1e30; LEN]);
        model.step();
        assert_eq!((model.report(0).applied, model.report(0).skipped), (1, 0), "{}", engine.name);
        assert!(model.params(0).iter().all(|x| x.is_finite()), "{}", engine.name);
    }
}
