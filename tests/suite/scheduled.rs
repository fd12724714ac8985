//! Settings that follow a schedule, by the device's own count of applied steps.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::groups::{GROUPS, grouped};
use crate::common::model::Model;
use thalweg::cpu::Cpu;
use thalweg::plan::NormKind;
use thalweg::schedule::{Cosine, Cyclic, Exponential, MultiStep, OneCycle, Piecewise, Schedule};
use thalweg::{Adagrad, Adam, AdamW, AnyRule, Clip, Error, Lars, Muon, Optimizer, Recipe, Rprop, Sgd};

fn halving() -> Schedule {
    MultiStep { gamma: 0.5, ..MultiStep::new(1.0, vec![3, 5]) }.into()
}

fn sgd() -> Sgd {
    Sgd { lr: 0.25, ..Default::default() }
}

#[test]
fn each_step_uses_the_schedules_value_times_the_settings() {
    let recipe = Recipe::new(sgd()).scale("lr", halving().warmup(2, 0.5));
    let mut model = Model::new(&Cpu::<f64>::default(), recipe, &sgd(), &[1]);
    model.set_grads(0, &[1.0]);
    let mut expected = 0.0;
    for t in 1..=600 {
        model.step();
        expected -= 0.25 * halving().warmup(2, 0.5).value(t - 1);
        assert_close(&format!("x after {t} steps"), &model.params(0), &[expected], |_| 1e-13 * expected.abs());
    }
}

#[test]
fn skipped_steps_do_not_advance_a_schedule() {
    let decay = || Exponential::new(1.0, 0.9);
    for engine in engines::all() {
        let recipe = || Recipe::new(AdamW::default()).scale("lr", decay()).scale("weight_decay", halving()).skip_bad();
        let rule = AdamW::default();
        let mut clean = Model::new(&engine, recipe(), &rule, &[3]);
        let mut skipping = Model::new(&engine, recipe(), &rule, &[3]);
        for t in 0..12 {
            let grads = [1.0, -0.5, t as f32];
            for model in [&mut clean, &mut skipping] {
                model.set_grads(0, &grads);
                model.step();
            }
            if t % 3 == 0 {
                skipping.set_grads(0, &[1.0, f32::NAN, 0.0]);
                skipping.step();
            }
        }
        assert_same_bits(engine.name, &skipping.params(0), &clean.params(0));
        assert_eq!((skipping.report(0).applied, skipping.report(0).skipped), (12, 4), "{}", engine.name);
    }
}

/// A trust with a cap at 1 and a rate that starts at 0: the momentum buffer takes the gradient without a factor.
#[test]
fn a_capped_trust_is_1_at_a_rate_of_0() {
    let rule = || Lars { momentum: 0.9, trust_coefficient: 0.5, trust_clip: true, always_adapt: true, ..Default::default() };
    for engine in engines::all() {
        let recipe = Recipe::new(rule()).scale("lr", Schedule::from(2.0).warmup(1, 0.0));
        let mut optimizer = Optimizer::new(&engine, recipe, &[("x", &[2]), ("zeros", &[1])]).expect("an optimizer");
        optimizer.set_params("x", &[3.0, 4.0]).expect("parameters");
        optimizer.set_grads("x", &[0.0, 1.0]).expect("gradients");
        optimizer.set_grads("zeros", &[2.0]).expect("gradients");
        // ½·‖x‖/‖g‖ is 2.5, more than the rate; the trust of zeros is 1, half of it.
        for (b, x, zeros) in [(1.0, 4.0, 0.0), (1.9, 0.2, -2.0 * (0.9 * 2.0 + 0.5 * 2.0))] {
            optimizer.step().expect("a step");
            assert_close(engine.name, &optimizer.state("x", "b").expect("a plane"), &[0.0, b], |_| 1e-6);
            assert_close(engine.name, &optimizer.params("x").expect("parameters"), &[3.0, x], |_| 1e-6);
            assert_close(engine.name, &optimizer.params("zeros").expect("parameters"), &[zeros], |_| 1e-6);
        }
    }
}

/// A schedule that sets a value replaces the rule's own; one that multiplies it by 1 leaves it.
#[test]
fn each_step_uses_the_value_that_a_schedule_sets() {
    let cosine = || Schedule::from(Cosine::new(3e-4, 40)).warmup(5, 1e-5);
    for engine in engines::all() {
        for own in [0.0, 1e-3, 0.7] {
            let rule = AdamW { lr: own, ..Default::default() };
            let mut set = Model::new(&engine, Recipe::new(rule.clone()).schedule("lr", cosine()), &rule, &[3]);
            let plain = AdamW { lr: 3e-4, ..Default::default() };
            let by_hand = Model::new(&engine, Recipe::new(plain.clone()), &plain, &[3]);
            let mut by_hand = by_hand;
            for step in 0..50 {
                by_hand.optimizer.set("default", "lr", cosine().value(step)).expect("a rate");
                for model in [&mut set, &mut by_hand] {
                    model.set_grads(0, &[1.0, -2.0, 0.5]);
                    model.step();
                }
                assert_same_bits(&format!("{}, lr {own}, step {step}", engine.name), &set.params(0), &by_hand.params(0));
            }
            assert!(set.params(0)[0] != 0.0);
        }
    }
}

/// Lanes and groups share the value that a schedule sets; their other settings stay their own.
#[test]
fn lanes_and_groups_share_the_value_that_a_schedule_sets() {
    for engine in engines::all() {
        let rules = [0.1, 0.9].map(|lr| Sgd { lr, ..Default::default() });
        let mut lanes = Model::new(&engine, Recipe::population(rules.clone()).schedule("lr", halving()), &rules[0], &[1]);
        let recipe = grouped(rules.clone()).schedule_group(GROUPS[1], "lr", halving());
        let mut groups = Model::grouped(&engine, recipe, &rules[0], &[(1, 0), (1, 1)]);
        [0, 1].iter().for_each(|&lane| lanes.set_grads(lane, &[1.0]));
        groups.set_grads(0, &[1.0, 1.0]);
        let (mut expected, mut own) = (0.0, 0.0);
        for t in 0..8 {
            lanes.step();
            groups.step();
            (expected, own) = (expected - halving().value(t), own - 0.1);
            for lane in 0..2 {
                assert_close(&format!("{}, lane {lane}", engine.name), &lanes.params(lane), &[expected], |_| 1e-6);
            }
            assert_close(engine.name, &groups.params(0), &[own, expected], |_| 1e-5);
        }
    }
}

/// A schedule sets the bound of a clip, even if the recipe's own bound is infinite and so only measures the norm.
#[test]
fn a_schedule_sets_the_bound_of_a_clip() {
    for engine in engines::all() {
        for max in [1e-3, 7.0, f64::INFINITY] {
            let rule = Sgd { lr: 1.0, ..Default::default() };
            let recipe = Recipe::new(rule.clone()).clip_norm(max).schedule("clip", halving().scale(4.0));
            let mut model = Model::new(&engine, recipe, &rule, &[1]);
            model.set_grads(0, &[100.0]);
            let mut expected = 0.0;
            for t in 0..8 {
                model.step();
                expected -= 4.0 * halving().value(t);
                assert_close(&format!("{}, {max}, step {t}", engine.name), &model.params(0), &[expected], |_| 1e-5);
            }
        }
    }
}

/// Torch's one-cycle momentum starts at 0.95, whatever the rule's own momentum is.
#[test]
fn the_momentum_of_a_cycle_is_the_momentum_itself() {
    let one = OneCycle::new(1.0, 20);
    let cyclic = Cyclic { up: 4, ..Cyclic::new(0.0, 1.0) };
    for (momentum, lowest) in [(one.momentum(0.85, 0.95).into(), 0.85), (cyclic.momentum(0.8, 0.9).into(), 0.8)] {
        let momentum: Schedule = momentum;
        for own in [0.5, 0.95] {
            let rule = Sgd { lr: 0.1, momentum: own, ..Default::default() };
            let recipe = Recipe::new(rule.clone()).schedule("momentum", momentum.clone());
            let mut model = Model::new(&Cpu::<f64>::default(), recipe, &rule, &[1]);
            model.set_grads(0, &[1.0]);
            let (mut buffer, mut x, mut least) = (0.0, 0.0, 1.0_f64);
            for t in 0..20 {
                model.step();
                let value = momentum.value(t);
                least = least.min(value);
                buffer = if t == 0 { 1.0 } else { value * buffer + 1.0 };
                x -= 0.1 * buffer;
                assert_close(&format!("step {t}"), &model.params(0), &[x], |_| 1e-12);
            }
            assert!((least - lowest).abs() < 0.02, "{least}");
        }
    }
}

/// Two schedules of one setting of one group are an error, whatever they do.
#[test]
fn two_schedules_of_one_setting_are_a_conflict() {
    let tensors: [(&str, &[usize]); 2] = [("x", &[1]), ("y of group 1", &[1])];
    let with = |recipe: Recipe| Optimizer::new(&Cpu::<f32>::default(), recipe, &tensors).map(drop);
    let two = || grouped([sgd(), sgd()]).clip(Clip::Value(1.0));
    let conflicts = [
        (two().schedule("lr", 0.5).schedule("lr", 0.25), "a schedule of lr", "a schedule of lr"),
        (two().scale("lr", 0.5).scale("lr", 0.25), "a scale of lr", "a scale of lr"),
        (two().schedule("lr", 0.5).scale("lr", 0.25), "a scale of lr", "a schedule of lr"),
        (two().scale("lr", 0.5).schedule("lr", 0.25), "a schedule of lr", "a scale of lr"),
        (two().schedule("lr", 0.5).scale_group(GROUPS[1], "lr", 0.25), "a scale of lr in group 'group 1'", "a schedule of lr"),
        (two().scale_group(GROUPS[0], "lr", 0.25).schedule("lr", 0.5), "a schedule of lr", "a scale of lr in group 'default'"),
        (
            two().scale_group(GROUPS[1], "lr", 1.0).scale_group(GROUPS[1], "lr", 1.0),
            "a scale of lr in group 'group 1'",
            "a scale of lr in group 'group 1'",
        ),
        (two().schedule("clip", 0.5).scale("clip", 0.5), "a scale of clip", "a schedule of clip"),
    ];
    for (recipe, what, with_what) in conflicts {
        match with(recipe) {
            Err(Error::Conflict { what: found, with, reason }) => {
                assert_eq!((found.as_str(), with.as_str()), (what, with_what));
                assert_eq!(reason, "a setting follows one schedule, which may be a product or a sequence of several");
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    let fine = two()
        .schedule_group(GROUPS[0], "lr", 0.5)
        .scale_group(GROUPS[1], "lr", 0.25)
        .scale("weight_decay", 0.5)
        .schedule("clip", 0.5);
    assert_eq!(with(fine), Ok(()));
}

/// A setting that a schedule sets cannot be set by hand; one that it scales can.
#[test]
fn a_setting_that_a_schedule_sets_is_not_set_by_hand() {
    let new = |recipe| Optimizer::new(&Cpu::<f32>::default(), recipe, &[("x", &[1])]).expect("an optimizer");
    let mut set = new(Recipe::new(sgd()).schedule("lr", halving()));
    let error = set.set("default", "lr", 0.5).expect_err("no effect");
    assert!(matches!(error, Error::Conflict { .. }));
    assert_eq!(error.to_string(), "lr = 0.5 cannot be combined with a schedule of lr: the schedule sets it in every step");
    set.set("default", "weight_decay", 0.5).expect("its own");
    new(Recipe::new(sgd()).scale("lr", halving())).set("default", "lr", 0.5).expect("its own");
}

/// A kernel without momentum cannot follow a schedule of it.
#[test]
fn a_schedule_that_would_need_another_kernel_is_a_conflict() {
    let recipe = Recipe::new(sgd()).schedule("momentum", 0.5);
    let error = Optimizer::new(&Cpu::<f32>::default(), recipe, &[("x", &[1])]).expect_err("another kernel");
    assert_eq!(
        error.to_string(),
        "a schedule of momentum cannot be combined with a sgd that starts with momentum = 0: it would need another kernel: give the \
         rule a value above 0"
    );
}

/// The error of a recipe with a schedule.
fn refused(setting: &str, schedule: impl Into<Schedule>) -> String {
    let recipe = Recipe::new(AdamW::default()).scale(setting, schedule);
    let optimizer = thalweg::Optimizer::new(&Cpu::<f32>::default(), recipe, &[("x", &[1])]);
    optimizer.err().map_or("no error".into(), |error| error.to_string())
}

#[test]
fn schedules_that_make_no_sense_are_refused() {
    assert_eq!(
        refused("momentum", halving()),
        "unknown setting 'momentum'; known: lr, beta1, beta2, eps, weight_decay, independent_weight_decay, eps_hat, amsgrad, \
         maximize"
    );
    assert_eq!(refused("amsgrad", halving()), "a scale of amsgrad cannot be combined with adamw: amsgrad is no number");
    assert_eq!(refused("lr", -1.0), "value of a scale of lr = -1 is out of range: finite and at least 0");
    assert_eq!(refused("lr", f64::NAN), "value of a scale of lr = NaN is out of range: finite and at least 0");
    assert_eq!(refused("beta1", 2.0), "beta1 = 1.8 is out of range: at least 0 and below 1");
    assert_eq!(refused("lr", halving()), "no error");
}

#[test]
fn a_group_follows_a_schedule_of_its_own() {
    for engine in engines::all() {
        let recipe =
            grouped([sgd(), sgd()]).scale_group(GROUPS[0], "lr", 0.5).scale_group(GROUPS[1], "lr", halving().scale(0.5));
        let mut model = Model::grouped(&engine, recipe, &sgd(), &[(1, 0), (1, 1)]);
        model.set_grads(0, &[1.0, 1.0]);
        let mut expected = [0.0, 0.0];
        for t in 0..8 {
            model.step();
            expected[0] -= 0.125;
            expected[1] -= 0.125 * halving().value(t);
            assert_close(&format!("{}, step {t}", engine.name), &model.params(0), &expected, |_| 1e-6);
        }
    }
}

#[test]
fn the_bound_of_a_clip_follows_a_schedule() {
    for clip in [Clip::Norm { max: 8.0, kind: NormKind::L2 }, Clip::Value(8.0), Clip::Tensor { max: 8.0, kind: NormKind::Max }]
    {
        for engine in engines::all() {
            let rule = Sgd { lr: 1.0, ..Default::default() };
            let recipe = Recipe::new(rule.clone()).clip(clip).scale("clip", halving());
            let mut model = Model::new(&engine, recipe, &rule, &[1]);
            model.set_grads(0, &[100.0]);
            let mut expected = 0.0;
            for t in 0..8 {
                model.step();
                expected -= 8.0 * halving().value(t);
                // The constant that is added to a norm of 100 changes the result by 1e-8.
                assert_close(&format!("{}, {clip:?}, step {t}", engine.name), &model.params(0), &[expected], |_| 1e-5);
            }
        }
    }
}

/// A global norm belongs to all groups: its bound goes on while one of them is frozen, whichever it is.
#[test]
fn the_bound_of_a_global_norm_follows_its_schedule_past_a_frozen_group() {
    for (engine, frozen) in engines::all().iter().flat_map(|engine| [(engine, 0), (engine, 1)]) {
        let rule = || Sgd { lr: 1.0, ..Default::default() };
        let recipe = grouped([rule(), rule()]).clip_norm(8.0).scale("clip", halving());
        let mut model = Model::grouped(engine, recipe, &rule(), &[(1, 0), (1, 1)]);
        model.optimizer.freeze(GROUPS[frozen], true).expect("a group");
        model.set_grads(0, &[100.0, 100.0]);
        let mut expected = [0.0, 0.0];
        for t in 0..8 {
            model.step();
            expected[1 - frozen] -= 8.0 * halving().value(t);
            // The constant that is added to a norm of 100 changes the result by 1e-8.
            assert_close(&format!("{}, step {t}", engine.name), &model.params(0), &expected, |_| 1e-5);
        }
    }
}

/// The upper bound of a schedule is checked beforehand, but not at which step it falls to 0.
#[test]
fn a_setting_that_its_schedule_takes_out_of_its_range_is_an_error_of_the_step() {
    let recipe = Recipe::new(AdamW::default()).scale("eps", Cosine::new(1.0, 100));
    let mut model = Model::new(&Cpu::<f32>::default(), recipe, &AdamW::default(), &[1]);
    // Rows for later steps are written ahead, but a run of a hundred steps must succeed.
    (0..100).for_each(|_| model.step());
    let error = model.optimizer.step().expect_err("an eps of 0");
    assert_eq!(error.to_string(), "eps = 0 is out of range: finite and above 0");
}

/// Also while the device is behind, and rows are written ahead.
#[test]
fn a_changed_setting_counts_from_the_next_step_on() {
    for engine in engines::all() {
        let rules = [0.5, 0.25].map(|lr| Sgd { lr, ..Default::default() });
        let mut model = Model::new(&engine, Recipe::population(rules), &sgd(), &[1]);
        (0..2).for_each(|lane| model.set_grads(lane, &[1.0]));
        let (mut lr, mut expected) = ([0.5, 0.25], [0.0, 0.0]);
        for round in 0..40 {
            let count = 1 + 7 * round % 23;
            model.steps(count);
            (0..2).for_each(|lane| expected[lane] -= lr[lane] * count as f64);
            let lane = round % 2;
            lr[lane] = 0.125 * (1 + round % 5) as f64;
            model.optimizer.lane(lane).expect("a lane").set("default", "lr", lr[lane]).expect("a rate");
        }
        for (lane, expected) in expected.into_iter().enumerate() {
            assert_close(&format!("{}, lane {lane}", engine.name), &model.params(lane), &[expected], |_| 1e-3);
        }
    }
}

#[test]
fn changes_that_make_no_sense_are_refused() {
    let mut model = Model::new(&Cpu::<f32>::default(), Recipe::new(sgd()), &sgd(), &[1]);
    let mut refused = |lane, group, setting: &str, value| {
        model.optimizer.lane(lane).and_then(|mut lane| lane.set(group, setting, value)).expect_err("an error").to_string()
    };
    assert_eq!(refused(0, "default", "lr", -1.0), "lr = -1 is out of range: finite and at least 0");
    assert_eq!(refused(1, "default", "lr", 1.0), "lane = 1 is out of range: below 1");
    assert_eq!(refused(0, GROUPS[1], "lr", 1.0), "unknown group 'group 1'; known: default");
    assert!(refused(0, "default", "rate", 1.0).starts_with("unknown setting 'rate'; known: lr, "));
    assert_eq!(
        refused(0, "default", "momentum", 0.5),
        "momentum = 0.5 in a change between steps cannot be combined with momentum = 0 in the recorded plan: both need one kernel"
    );
    let mut muon = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Muon::default()), &[("x", &[2, 2])]).expect("one");
    let error = muon.set("default", "eps", 1e-3).expect_err("a plan's own number");
    assert_eq!(error.to_string(), "eps = 0.001 cannot be combined with a recorded plan: eps is part of it");
    let recipe = Recipe::new(sgd()).scale("clip", 0.5);
    let error = thalweg::Optimizer::new(&Cpu::<f32>::default(), recipe, &[("x", &[1])]).expect_err("no clip");
    assert_eq!(error.to_string(), "a scale of clip cannot be combined with a recipe without clip: there is no bound");
    let recipe = grouped([sgd(), sgd()]).clip_norm(1.0).scale_group(GROUPS[1], "clip", 0.5);
    let tensors: [(&str, &[usize]); 2] = [("x", &[1]), ("y of group 1", &[1])];
    let error = thalweg::Optimizer::new(&Cpu::<f32>::default(), recipe, &tensors).expect_err("one norm");
    assert_eq!(
        error.to_string(),
        "a scale of clip in group 'group 1' cannot be combined with a clip of the global norm: all groups share it"
    );
    let recipe = Recipe::new(sgd()).scale_group(GROUPS[1], "lr", 0.5);
    let error = thalweg::Optimizer::new(&Cpu::<f32>::default(), recipe, &[("x", &[1])]).expect_err("one group");
    assert_eq!(error.to_string(), "unknown group 'group 1'; known: default");
}

/// The upper bound of the step's length rises from 0.001 to 1 within 30 steps. A shortest step of 0.01 is out of range only in
/// steps that are already made.
#[test]
fn rows_of_steps_that_are_past_do_not_refuse_a_changed_setting() {
    for engine in engines::all() {
        let rule = Rprop { step_max: 1.0, ..Default::default() };
        let recipe = Recipe::new(rule.clone()).scale("step_max", Schedule::from(1.0).warmup(30, 0.001));
        let mut model = Model::new(&engine, recipe, &rule, &[1]);
        model.set_grads(0, &[1.0]);
        model.steps(30);
        let before = model.params(0)[0];
        model.optimizer.set("default", "step_min", 0.01).expect("a shortest step");
        model.steps(100);
        assert_eq!(model.report(0).applied, 130, "{}", engine.name);
        // Lengths grow by 1.2 until they reach the bound.
        assert!(model.params(0)[0] < before - 50.0, "{}: {before} and {:?}", engine.name, model.params(0));
    }
}

fn out_of_range_after_20() -> Recipe {
    let eps = Piecewise { boundaries: vec![19], values: vec![1.0, 0.0] };
    Recipe::new(Adam { lr: 0.5, ..Default::default() }).skip_bad().scale("eps", eps)
}

/// A row that is out of range after 20 applied steps does not stop skipped steps before, one by one or many at once.
#[test]
fn rows_of_steps_that_were_skipped_refuse_no_other() {
    for (engine, at_once) in engines::all().iter().flat_map(|engine| [(engine, 1), (engine, 7), (engine, 90)]) {
        let mut model = Model::new(engine, out_of_range_after_20(), &Adam::default(), &[1]);
        let mut expected = Model::new(engine, Recipe::new(Adam { lr: 0.5, ..Default::default() }), &Adam::default(), &[1]);
        model.set_grads(0, &[f32::NAN]);
        (0..630 / at_once).for_each(|_| model.steps(at_once));
        for (t, grad) in (0..20).zip([1.0, -2.0, 0.25].into_iter().cycle()) {
            model.set_grads(0, &[grad]);
            expected.set_grads(0, &[grad]);
            model.step();
            expected.step();
            assert_same_bits(&format!("{}, step {t}", engine.name), &model.params(0), &expected.params(0));
        }
        let error = model.optimizer.step().expect_err("an eps of 0");
        assert_eq!(error.to_string(), "eps = 0 is out of range: finite and above 0");
        let report = model.report(0);
        assert_eq!((report.applied, report.skipped), (20, 630), "{}", engine.name);
    }
}

/// A bad row that any lane is about to use stops all lanes; a row that a frozen or skipping lane never reaches does not.
#[test]
fn only_the_lanes_next_row_refuses_a_step() {
    for engine in engines::all() {
        let rules = [1.0, 2.0].map(|lr| Adam { lr, ..Default::default() });
        let eps = Piecewise { boundaries: vec![19], values: vec![1.0, 0.0] };
        let recipe = Recipe::population(rules).skip_bad().scale("eps", eps);
        let mut model = Model::new(&engine, recipe, &Adam::default(), &[1]);
        model.set_grads(0, &[f32::INFINITY]);
        model.set_grads(1, &[1.0]);
        model.steps(20);
        assert!(model.optimizer.step().is_err(), "{}: lane 1 would need its 21st row", engine.name);
        model.set_grads(1, &[f32::NAN]);
        assert!(model.optimizer.step().is_err(), "{}: what the next gradient holds is not known beforehand", engine.name);
        model.optimizer.lane(1).expect("a lane").freeze("default", true).expect("a lane");
        model.set_grads(0, &[1.0]);
        model.steps(15);
        assert_eq!([0, 1].map(|lane| model.report(lane).applied), [15, 20], "{}", engine.name);
    }
}

/// A frozen group may be at a row that is out of range; once thawed, it needs that row, and the step is an error.
#[test]
fn a_frozen_group_refuses_no_step() {
    for engine in engines::all() {
        let eps = Piecewise { boundaries: vec![3], values: vec![1.0, 0.0] };
        let recipe = grouped([Adam::default(), Adam::default()]).scale_group(GROUPS[1], "eps", eps);
        let mut model = Model::grouped(&engine, recipe, &Adam::default(), &[(1, 0), (1, 1)]);
        model.set_grads(0, &[1.0, 1.0]);
        model.steps(4);
        let error = "eps = 0 is out of range: finite and above 0";
        assert_eq!(model.optimizer.step().expect_err("an eps of 0").to_string(), error);
        model.optimizer.freeze(GROUPS[1], true).expect("a group");
        model.steps(600);
        model.optimizer.freeze(GROUPS[1], false).expect("a group");
        assert_eq!(model.optimizer.step().expect_err("an eps of 0").to_string(), error);
        model.optimizer.freeze(GROUPS[1], true).expect("a group");
        model.step();
        assert_eq!(model.report(0).applied, 605, "{}", engine.name);
    }
}

#[test]
fn many_steps_that_fail_say_how_many_are_made() {
    for engine in engines::all() {
        for (steps, made) in [(21, 20), (100, 20), (500, 20)] {
            let [mut model, mut expected] =
                [(); 2].map(|()| Model::new(&engine, out_of_range_after_20(), &Adam::default(), &[1]));
            [&mut model, &mut expected].into_iter().for_each(|model| model.set_grads(0, &[1.0]));
            let reason = "eps = 0 is out of range: finite and above 0";
            let error = model.optimizer.steps(steps).expect_err("an eps of 0");
            let text = format!("{made} of {steps} steps are made, the next is refused: {reason}");
            assert_eq!(error.to_string(), text, "{}", engine.name);
            assert!(matches!(error, Error::Partly { made: 20, .. }));
            expected.steps(20);
            assert_same_bits(engine.name, &model.params(0), &expected.params(0));
            assert_eq!(model.report(0), expected.report(0));
            // No step is made, so the error is only the reason.
            assert_eq!(model.optimizer.steps(steps).expect_err("an eps of 0").to_string(), reason);
        }
    }
}

#[test]
fn settings_that_only_the_start_uses_cannot_change() {
    for (rule, setting) in [
        (Box::from(Rprop::default()) as Box<dyn AnyRule>, "lr"),
        (Box::from(Adagrad::default()), "initial_accumulator_value"),
        (Box::from(Adagrad::keras()), "initial_accumulator_value"),
    ] {
        let name = rule.name();
        let recipes = [
            (Recipe::new(rule.clone()).scale(setting, 0.5), "a scale", "", 1),
            (Recipe::new(rule.clone()).schedule(setting, 0.5), "a schedule", "", 1),
            (grouped([rule.clone(), rule.clone()]).scale_group(GROUPS[1], setting, 0.5), "a scale", " in group 'group 1'", 2),
        ];
        for (recipe, what, of, groups) in recipes {
            let tensors: [(&str, &[usize]); 2] = [("x", &[1]), ("y of group 1", &[1])];
            let error = Optimizer::new(&Cpu::<f32>::default(), recipe, &tensors[..groups]).expect_err("no effect").to_string();
            let reason = format!("only the start of a run uses {setting}");
            assert_eq!(error, format!("{what} of {setting}{of} cannot be combined with {name}: {reason}"));
        }
        let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(rule), &[("x", &[1])]).expect("an optimizer");
        for _ in 0..2 {
            let error = optimizer.set("default", setting, 0.25).expect_err("no effect").to_string();
            assert_eq!(
                error,
                format!("{setting} = 0.25 cannot be combined with {name}: only the start of a run uses {setting}")
            );
            optimizer.step().expect("a step");
        }
    }
    let mut optimizer = Optimizer::new(&Cpu::<f32>::default(), Recipe::new(Adagrad::default()), &[("x", &[1])]).expect("one");
    optimizer.set("default", "lr", 0.25).expect("a rate");
}
