//! Settings that follow a schedule, by the device's own count of applied steps.

mod common;

use common::compare::{assert_close, assert_same_bits};
use common::engines;
use common::model::Model;
use thalweg::cpu::Cpu;
use thalweg::schedule::{Exponential, MultiStep, Schedule};
use thalweg::{AdamW, Recipe, Sgd};

fn halving() -> Schedule {
    MultiStep { milestones: vec![3, 5], gamma: 0.5, ..Default::default() }.into()
}

fn sgd() -> Sgd {
    Sgd { lr: 0.25, ..Default::default() }
}

#[test]
fn each_step_uses_the_schedules_value_times_the_settings() {
    let recipe = Recipe::new(sgd()).schedule("lr", halving().warmup(2, 0.5));
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
    let decay = || Exponential { gamma: 0.9, ..Default::default() };
    for engine in engines::all() {
        let recipe = || Recipe::new(AdamW::default()).schedule("lr", decay()).schedule("weight_decay", halving()).skip_bad();
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

/// What is said of a recipe with a schedule.
fn refused(setting: &str, schedule: impl Into<Schedule>) -> String {
    let recipe = Recipe::new(AdamW::default()).schedule(setting, schedule);
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
    assert_eq!(refused("amsgrad", halving()), "schedule of amsgrad = given is out of range: only for numbers");
    assert_eq!(refused("lr", -1.0), "lr = -1 is out of range: finite and at least 0");
    assert_eq!(refused("lr", f64::NAN), "lr = NaN is out of range: finite and at least 0");
    assert_eq!(refused("beta1", 2.0), "beta1 = 1.8 is out of range: at least 0 and below 1");
    assert_eq!(refused("lr", halving()), "no error");
}
