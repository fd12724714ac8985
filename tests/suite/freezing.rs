//! A frozen group or lane does not move and does not count; thawed, it goes on from where it was.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::groups::{GROUPS, grouped};
use crate::common::model::Model;
use crate::common::numbers::{gradient, numbers};
use crate::common::options::{options, siblings, with};
use crate::common::oracle::EPSILON;
use thalweg::cpu::Cpu;
use thalweg::plan::{CHUNK, Engine, LossScale, Program, SLOTS};
use thalweg::{Accumulation, AnyRule, Recipe};

/// By length and group.
const TENSORS: [(usize, usize); 5] = [(65, 0), (CHUNK + 1, 1), (0, 1), (200, 0), (63, 1)];
const LEN: usize = 65 + CHUNK + 1 + 200 + 63;

/// The values of one group's tensors.
fn pick<T: Copy>(all: &[T], wanted: usize) -> Vec<T> {
    let mut start = 0;
    let mut picked = Vec::new();
    for (len, group) in TENSORS {
        if group == wanted {
            picked.extend_from_slice(&all[start..start + len]);
        }
        start += len;
    }
    picked
}

fn both<E: Engine>(engine: &E, recipe: Recipe, rule: &dyn AnyRule) -> Model<E::Program> {
    let mut model = Model::grouped(engine, recipe, rule, &TENSORS);
    model.set_params(0, &numbers(0, LEN));
    model
}

/// An optimizer that has only one of the groups.
fn alone<E: Engine>(engine: &E, rule: &dyn AnyRule, group: usize) -> Model<E::Program> {
    let lengths: Vec<usize> = TENSORS.into_iter().filter(|tensor| tensor.1 == group).map(|(len, _)| len).collect();
    let mut model = Model::new(engine, Recipe::new(rule.boxed()), rule, &lengths);
    model.set_params(0, &pick(&numbers(0, LEN), group));
    model
}

fn step_with<P: Program>(model: &mut Model<P>, grads: &[f32]) {
    model.set_grads(0, grads);
    model.step();
}

fn assert_same<P: Program>(what: &str, found: &mut Model<P>, expected: &mut Model<P>, lane: usize) {
    for ((name, found), (_, expected)) in found.arrays(lane).iter().zip(expected.arrays(lane)) {
        assert_same_bits(&format!("{what}, lane {lane}, {name}"), found, &expected);
    }
}

/// Compares group 1 with an optimizer of its own, step after step, while group 0 is frozen now and then; and group 0 with an
/// optimizer that sees only the steps in which group 0 is not frozen.
#[test]
fn a_group_is_an_optimizer_that_sees_only_the_steps_in_which_it_is_not_frozen() {
    fn check<E: Engine>(engine: &E, name: &str, rule: &dyn AnyRule) {
        let [_, slow, fast] = siblings(rule);
        let mut model = both(engine, grouped([slow.clone(), fast.clone()]), rule);
        let mut groups = [alone(engine, &*slow, 0), alone(engine, &*fast, 1)];
        let mut run = |steps: u64, frozen: [bool; 2]| {
            for (group, &frozen) in frozen.iter().enumerate() {
                model.optimizer.freeze(GROUPS[group], frozen).expect("a group");
            }
            for t in 0..steps {
                let grads = numbers(1000 * steps + t, LEN);
                step_with(&mut model, &grads);
                for (group, alone) in groups.iter_mut().enumerate().filter(|(group, _)| !frozen[*group]) {
                    step_with(alone, &pick(&grads, group));
                }
            }
            for (group, alone) in groups.iter_mut().enumerate() {
                for ((array, found), (_, expected)) in model.arrays(0).iter().zip(alone.arrays(0)) {
                    let what = format!("{}, {name}, group {group}, {array}, frozen {frozen:?}", engine.describe());
                    assert_same_bits(&what, &pick(found, group), &expected);
                }
            }
        };
        // One group frozen from the start, thawed, and frozen again; then the other one, both, and none.
        run(2, [true, false]);
        run(3, [false, false]);
        run(4, [true, false]);
        run(1, [false, true]);
        run(5, [true, true]);
        run(6, [false, false]);
    }
    for (name, rule) in options() {
        check(&Cpu::<f64>::default(), &name, &*rule);
        engines::all_and_small().iter().for_each(|engine| check(engine, &name, &*rule));
    }
}

/// Longer than rows are supplied ahead, in blocks and one by one: the frozen group's next row is still on the device.
#[test]
fn a_group_is_frozen_for_longer_than_there_are_rows() {
    let rule = with("adam", "lr=0.02 beta2=0.9999");
    for engine in engines::all_and_small() {
        let mut model = both(&engine, grouped([rule.clone(), rule.clone()]), &*rule);
        let mut groups = [0, 1].map(|group| alone(&engine, &*rule, group));
        let grads = numbers(1, LEN);
        model.set_grads(0, &grads);
        groups.iter_mut().enumerate().for_each(|(group, alone)| alone.set_grads(0, &pick(&grads, group)));
        let mut run = |steps: usize, frozen: bool| {
            model.optimizer.freeze("default", frozen).expect("a group");
            model.steps(steps / 2);
            (0..steps - steps / 2).for_each(|_| model.step());
            groups[1].steps(steps);
            if !frozen {
                groups[0].steps(steps);
            }
        };
        run(3, false);
        run(2 * SLOTS + 44, true);
        run(SLOTS + 9, false);
        run(SLOTS, true);
        run(2, false);
        for (group, alone) in groups.iter_mut().enumerate() {
            for ((array, found), (_, expected)) in model.arrays(0).iter().zip(alone.arrays(0)) {
                assert_same_bits(&format!("{}, group {group}, {array}", engine.name), &pick(found, group), &expected);
            }
        }
    }
}

/// Gradients of 3 and 4 have a norm of 5. Without a frozen one, the norm is that of the other, and NaN in a frozen group does
/// not count.
#[test]
fn a_frozen_gradient_is_no_part_of_the_norm_nor_of_the_decision() {
    fn check<E: Engine>(engine: &E) {
        let rule = with("sgd", "lr=1 momentum=0.5");
        let recipe = grouped([rule.clone(), rule.clone()]).clip_norm(2.0).loss_scale(LossScale::default());
        let mut model = Model::grouped(engine, recipe, &*rule, &[(1, 0), (1, 1)]);
        let what = engine.describe();
        let mut step = |grads: [f32; 2], frozen: [bool; 2]| {
            (0..2).for_each(|group| model.optimizer.freeze(GROUPS[group], frozen[group]).expect("a group"));
            let scale = model.report(0).loss_scale as f32;
            let before = model.arrays(0);
            step_with(&mut model, &grads.map(|g| g * scale));
            let mut moved = [false; 2];
            for ((_, before), (_, after)) in before.iter().zip(model.arrays(0)) {
                (0..2).for_each(|group| moved[group] |= before[group] != after[group]);
            }
            let report = model.report(0);
            (moved, report.norm, (report.applied, report.skipped))
        };
        assert_eq!(step([3.0, 4.0], [false, false]), ([true, true], 5.0, (1, 0)), "{what}");
        assert_eq!(step([3.0, 4.0], [true, false]), ([false, true], 4.0, (2, 0)), "{what}");
        assert_eq!(step([3.0, 4.0], [false, true]), ([true, false], 3.0, (3, 0)), "{what}");
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (moved, norm, _) = step([bad, 4.0], [true, false]);
            assert_eq!((moved, norm), ([false, true], 4.0), "{what}, {bad}");
            let (moved, norm, _) = step([bad, bad], [true, true]);
            assert_eq!((moved, norm), ([false, false], 0.0), "{what}, {bad}");
        }
        let (moved, norm, counts) = step([f32::NAN, 4.0], [false, true]);
        assert!(!norm.is_finite(), "{what}: a group that is not frozen");
        // In three of the steps since then, there was nothing to move.
        assert_eq!((moved, counts), ([false, false], (6, 1)), "{what}");
        assert_eq!(step([3.0, 4.0], [false, false]), ([true, true], 5.0, (7, 1)), "{what}");
    }
    check(&Cpu::<f64>::default());
    engines::all_and_small().iter().for_each(check);
}

/// A bad step, of one group or of both, counts for neither group; bias corrections go on from the steps of each group.
#[test]
fn a_skipped_step_counts_for_no_group() {
    let rule = with("adam", "lr=0.02 weight_decay=0.1");
    for engine in engines::all_and_small() {
        let [mut bad, mut without] = [(); 2].map(|()| both(&engine, grouped([rule.clone(), rule.clone()]).skip_bad(), &*rule));
        for t in 0..20 {
            let frozen = t / 3 % 3 == 1;
            bad.optimizer.freeze("default", frozen).expect("a group");
            without.optimizer.freeze("default", frozen).expect("a group");
            let mut grads = numbers(t, LEN);
            step_with(&mut bad, &grads);
            step_with(&mut without, &grads);
            // In group 1, which is never frozen.
            grads[65 + t as usize] = f32::NAN;
            step_with(&mut bad, &grads);
        }
        assert_same(engine.name, &mut bad, &mut without, 0);
        assert_eq!((bad.report(0).applied, bad.report(0).skipped), (20, 20), "{}", engine.name);
    }
}

#[test]
fn clipping_with_a_frozen_group_agrees_with_the_oracle() {
    for (name, rule) in options() {
        let recipe = || grouped([rule.clone(), rule.clone()]).clip_norm(20.0);
        let mut oracle = both(&Cpu::<f64>::default(), recipe(), &*rule);
        oracle.optimizer.freeze(GROUPS[1], true).expect("a group");
        let start = oracle.params(0);
        let grads = gradient(2, 1, LEN);
        step_with(&mut oracle, &grads);
        let (expected, report) = (oracle.params(0), oracle.report(0));
        assert!(report.norm < 30.0, "{name}: the norm {} is that of 265 elements", report.norm);
        for engine in engines::all_and_small() {
            let mut model = both(&engine, recipe(), &*rule);
            model.optimizer.freeze(GROUPS[1], true).expect("a group");
            step_with(&mut model, &grads);
            let what = format!("{}, {name}", engine.name);
            // As in tests/suite/parity.rs: 8 units for a norm, 32 of the movement and 2 of the size for a parameter.
            assert_close(&what, &[model.report(0).norm], &[report.norm], |_| 8.0 * EPSILON * report.norm);
            let bound = |i: usize| EPSILON * (2.0 * f64::abs(expected[i]) + 32.0 * f64::abs(expected[i] - start[i]));
            assert_close(&what, &model.params(0), &expected, bound);
        }
    }
}

/// The other lanes are not affected, and NaN in a frozen lane makes no bad step.
#[test]
fn a_frozen_lane_leaves_the_others_alone() {
    let steps = SLOTS + 44;
    let frozen = |t: usize| (5..steps - 20).contains(&t);
    for engine in engines::all_and_small() {
        for settings in ["lr=0.02", "lr=0.02 amsgrad=true weight_decay=0.1"] {
            let rules = siblings(&*with("adam", settings));
            let start = || {
                let recipe = Recipe::population(rules.iter().cloned()).clip_norm(5.0);
                let mut model = Model::new(&engine, recipe, &*rules[0], &[100]);
                (0..3).for_each(|lane| model.set_params(lane, &numbers(lane as u64, 100)));
                model
            };
            let [mut model, mut never, mut only] = [(); 3].map(|()| start());
            for t in 0..steps {
                let grads = numbers(t as u64 % 7, 100);
                (0..3).for_each(|lane| model.set_grads(lane, &grads));
                (0..3).for_each(|lane| never.set_grads(lane, &grads));
                model.optimizer.lane(1).expect("a lane").freeze("default", frozen(t)).expect("a lane");
                if frozen(t) {
                    model.set_grads(1, &[f32::NAN; 100]);
                } else {
                    only.set_grads(1, &grads);
                    only.step();
                }
                model.step();
                never.step();
            }
            let what = format!("{}, {settings}", engine.name);
            assert_same(&what, &mut model, &mut never, 0);
            assert_same(&what, &mut model, &mut only, 1);
            assert_same(&what, &mut model, &mut never, 2);
            assert_eq!([0, 1, 2].map(|lane| model.report(lane).skipped), [0; 3], "{what}");
        }
    }
}

/// A group that thaws between the micro-batches of a step has the sum of the micro-batches since then, and nothing of the last
/// step: the bits are those of a gradient that was 0 until then. The gradient of a frozen group is not read.
#[test]
fn a_group_that_thaws_between_micro_batches_starts_its_sum_there() {
    fn micro_batch<P: Program>(model: &mut Model<P>, frozen: bool, grads: &[f32]) {
        model.optimizer.freeze("default", frozen).expect("a group");
        model.set_grads(0, grads);
        model.optimizer.accumulate().expect("a micro-batch");
    }
    let rule = with("adam", "lr=0.02");
    let with_first_group = |value: f32| {
        let mut grads = numbers(3, LEN);
        grads[..65].fill(value);
        grads[65 + CHUNK + 1..][..200].fill(value);
        grads
    };
    for engine in engines::all_and_small() {
        let run = |frozen: bool, value: f32| {
            let recipe = grouped([rule.clone(), rule.clone()]).accumulate(Accumulation::default());
            let mut model = both(&engine, recipe, &*rule);
            // The first step leaves a sum in the buffer.
            micro_batch(&mut model, false, &numbers(1, LEN));
            micro_batch(&mut model, false, &numbers(2, LEN));
            model.step();
            micro_batch(&mut model, frozen, &with_first_group(value));
            micro_batch(&mut model, false, &numbers(4, LEN));
            model.step();
            model
        };
        assert_same(engine.name, &mut run(true, f32::NAN), &mut run(false, 0.0), 0);
    }
}

/// A step in which nothing moves is neither applied nor bad: it counts as frozen, with a norm or without one, in its lane
/// alone.
#[test]
fn a_step_with_all_groups_frozen_counts_as_frozen() {
    for engine in engines::all() {
        let rule = with("adam", "lr=0.02");
        let plain = || Recipe::population([0, 1].map(|_| rule.clone()));
        let scale = LossScale { init: 2.0, ..Default::default() };
        for (what, recipe) in [
            ("plain", plain()),
            ("clipped to nothing", plain().clip_norm(1e-9)),
            ("skip_bad", plain().skip_bad()),
            ("loss scale", plain().loss_scale(scale)),
        ] {
            let mut model = Model::new(&engine, recipe, &*rule, &[5]);
            (0..2).for_each(|lane| model.set_grads(lane, &[1.0; 5]));
            model.optimizer.lane(1).expect("a lane").freeze("default", true).expect("a lane");
            model.optimizer.telemetry_every(1);
            model.steps(300);
            let counts = |model: &mut Model<_>, lane| {
                let report = model.report(lane);
                (report.applied, report.skipped, report.frozen)
            };
            assert_eq!([0, 1].map(|lane| counts(&mut model, lane)), [(300, 0, 0), (0, 0, 300)], "{}, {what}", engine.name);
            assert_eq!(model.report(1).clipped, 0, "{}, {what}", engine.name);
            model.optimizer.lane(1).expect("a lane").freeze("default", false).expect("a lane");
            model.steps(300);
            assert_eq!([0, 1].map(|lane| counts(&mut model, lane)), [(600, 0, 0), (300, 0, 300)], "{}, {what}", engine.name);
            model.optimizer.flush().expect("samples");
            let last = model.optimizer.poll().expect("samples").last().map(|sample| sample.step);
            assert_eq!(last, Some(600), "{}, {what}", engine.name);
        }
    }
}

/// With one group of two frozen, steps are applied.
#[test]
fn a_step_with_one_group_frozen_counts_as_applied() {
    for engine in engines::all() {
        let rule = with("adam", "lr=0.02");
        let mut model = both(&engine, grouped([rule.clone(), rule.clone()]), &*rule);
        for (frozen, expected) in [([true, false], (3, 0)), ([true, true], (3, 3)), ([false, true], (6, 3))] {
            (0..2).for_each(|group| model.optimizer.freeze(GROUPS[group], frozen[group]).expect("a group"));
            model.steps(3);
            let report = model.report(0);
            assert_eq!((report.applied, report.frozen, report.skipped), (expected.0, expected.1, 0), "{}", engine.name);
        }
    }
}
