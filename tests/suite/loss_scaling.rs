//! Loss scaling against a plain model of `torch.amp.GradScaler`, and against runs without it.

use crate::common::compare::assert_same_bits;
use crate::common::engines::{self, AnyEngine};
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::{options, siblings};
use fastrand::Rng;
use thalweg::cpu::Cpu;
use thalweg::plan::{Engine, LossScale, NormKind};
use thalweg::{AnyRule, Clip, Layerwise, Real, Recipe, Sgd};

const LEN: usize = 100;

/// `torch.amp.GradScaler.update`, in the engine's floats: one product, rounded once.
struct Scaler<F> {
    scale: F,
    good: u32,
    rule: LossScale,
}

impl<F: Real> Scaler<F> {
    fn new(rule: LossScale) -> Self {
        Self { scale: F::of(rule.init), good: 0, rule }
    }

    fn update(&mut self, found_inf: bool) {
        if found_inf {
            let min = F::of(self.rule.min);
            self.scale = if self.scale > min { (self.scale * F::of(self.rule.backoff)).max(min) } else { self.scale };
            self.good = 0;
            return;
        }
        self.good += 1;
        if self.good == self.rule.interval {
            let grown = self.scale * F::of(self.rule.growth);
            if grown.is_finite() {
                self.scale = grown;
            }
            self.good = 0;
        }
    }
}

/// Makes steps, some of which are bad in each lane, and compares the scale after every one.
fn follow<E: Engine>(engine: &E, rule: LossScale, lanes: &[Vec<bool>]) -> Vec<E::Float> {
    let sgd = Sgd::default();
    let recipe = Recipe::population(lanes.iter().map(|_| sgd.clone())).loss_scale(rule);
    let mut model = Model::new(engine, recipe, &sgd, &[LEN]);
    let mut scalers: Vec<Scaler<E::Float>> = lanes.iter().map(|_| Scaler::new(rule)).collect();
    let scale = |scaler: &Scaler<E::Float>| scaler.scale.as_f64();
    assert_eq!(model.report(0).loss_scale, scale(&scalers[0]), "{}: before the first step", engine.describe());
    for t in 0..lanes[0].len() {
        for (lane, bad) in lanes.iter().enumerate() {
            let mut grads = [1.0; LEN];
            grads[t % LEN] = if bad[t] { [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][t % 3] } else { 1.0 };
            model.set_grads(lane, &grads);
        }
        model.step();
        for (lane, (scaler, bad)) in scalers.iter_mut().zip(lanes).enumerate() {
            scaler.update(bad[t]);
            let report = model.report(lane);
            let what = format!("{}, {rule:?}, lane {lane} after step {t}", engine.describe());
            assert_eq!(report.loss_scale, scale(scaler), "{what}");
            let skipped = bad[..=t].iter().filter(|&&bad| bad).count();
            assert_eq!((report.applied as usize, report.skipped as usize), (t + 1 - skipped, skipped), "{what}");
        }
    }
    scalers.iter().map(|scaler| scaler.scale).collect()
}

/// On every engine and on the oracle; the last scales of the f32 engines.
fn follow_all(rule: LossScale, lanes: &[Vec<bool>]) -> Vec<f64> {
    follow(&Cpu::<f64>::default(), rule, lanes);
    let last = engines::all_and_small().into_iter().map(|engine| follow(&engine, rule, lanes));
    last.last().expect("an engine").into_iter().map(f64::from).collect()
}

#[test]
fn the_scale_follows_the_scaler_of_pytorch() {
    let mut rng = Rng::with_seed(7);
    // One step in 2, 4 and 12 is bad; lanes keep scales of their own.
    let lanes = [2, 4, 12].map(|n| (0..150).map(|_| rng.usize(0..n) == 0).collect());
    for interval in [1, 2, 3, 7] {
        follow_all(LossScale { interval, ..Default::default() }, &lanes);
    }
    // Not powers of two: the product is rounded.
    follow_all(LossScale { init: 1000.1, growth: 1.5, backoff: 0.375, interval: 2, ..Default::default() }, &lanes);
}

#[test]
fn the_scale_grows_after_an_interval_of_good_steps_in_a_row() {
    let rule = LossScale { interval: 3, ..Default::default() };
    let after = |bad: &[bool]| follow_all(rule, &[bad.to_vec()])[0] / rule.init;
    assert_eq!(after(&[false; 2]), 1.0);
    assert_eq!(after(&[false; 3]), 2.0);
    assert_eq!(after(&[false; 5]), 2.0, "the counter starts again after growth");
    assert_eq!(after(&[false; 6]), 4.0);
    assert_eq!(after(&[false, false, true, false, false]), 0.5, "the counter starts again after a bad step");
    assert_eq!(after(&[false, false, true, false, false, false]), 1.0);
}

#[test]
fn a_scale_that_would_be_infinite_stays() {
    let rule = LossScale { init: 1.5 * 2f64.powi(126), interval: 2, ..Default::default() };
    // It doubles once. Two further attempts leave it as it is, but still set the counter to 0.
    assert_eq!(follow_all(rule, &[vec![false; 6]]), [1.5 * 2f64.powi(127)]);
    assert_eq!(follow_all(rule, &[vec![false, false, false, false, true, false, false, false]]), [1.5 * 2f64.powi(127)]);
    let largest = LossScale { init: f64::from(f32::MAX), interval: 1, ..Default::default() };
    assert_eq!(follow_all(largest, &[vec![false; 3]]), [f64::from(f32::MAX)]);
}

/// The default bound is 2⁻¹⁶. A scale that would fall below it stops at the bound, and one that is already below stays.
#[test]
fn bad_steps_shrink_the_scale_down_to_its_bound() {
    let rule = LossScale::default();
    assert_eq!(follow_all(rule, &[vec![true; 170]]), [1.0 / 65_536.0]);
    let rule = LossScale { init: 48.0, min: 1.0, interval: 2, ..rule };
    assert_eq!(follow_all(rule, &[vec![true; 5]]), [1.5]);
    assert_eq!(follow_all(rule, &[[vec![true; 9], vec![false; 4]].concat()]), [4.0]);
    assert_eq!(follow_all(LossScale { init: 0.25, ..rule }, &[vec![true; 3]]), [0.25]);
}

/// 142 bad steps in a row; then a good one still finds its gradient.
#[test]
fn without_a_smallest_scale_there_is_no_lower_bound() {
    let rule = LossScale { min: 0.0, ..Default::default() };
    assert_eq!(follow_all(rule, &[vec![true; 142]]), [f64::from(f32::MIN_POSITIVE)]);
    let smallest = LossScale { init: f64::from(f32::MIN_POSITIVE), ..rule };
    let grads: Vec<f32> = numbers(1, LEN).into_iter().map(|g| g * 2.0).collect();
    let scaled: Vec<f32> = grads.iter().map(|g| g * f32::MIN_POSITIVE).collect();
    for engine in engines::all_and_small() {
        let run = |recipe: Recipe, grads: &[f32]| {
            let mut model = Model::new(&engine, recipe, &Sgd::default(), &[LEN]);
            model.set_grads(0, grads);
            model.step();
            model.params(0)
        };
        let plain = Recipe::new(Sgd::default());
        assert_same_bits(engine.name, &run(plain.clone().loss_scale(smallest), &scaled), &run(plain, &grads));
    }
}

/// Below the range of the float type the scale is 0, and so is every scaled gradient. 0 / 0 must not reach the parameters.
#[test]
fn a_scale_of_zero_takes_no_step() {
    fn check<E: Engine>(engine: &E) {
        let rule = LossScale { init: f64::from(f32::MIN_POSITIVE), backoff: 1e-30, min: 0.0, ..Default::default() };
        let sgd = Sgd { momentum: 0.9, ..Default::default() };
        for clip in [None, Some(Clip::Norm { max: 1.0, kind: NormKind::L2 }), Some(Clip::Value(1.0))] {
            let recipe = Recipe::new(sgd.clone()).loss_scale(rule);
            let mut model = Model::new(engine, clip.iter().fold(recipe, |recipe, &clip| recipe.clip(clip)), &sgd, &[LEN]);
            model.set_params(0, &numbers(1, LEN));
            let before = model.arrays(0);
            model.set_grads(0, &[f32::NAN; LEN]);
            model.steps(11);
            assert_eq!(model.report(0).loss_scale, 0.0, "{}", engine.describe());
            model.set_grads(0, &[0.0; LEN]);
            model.step();
            let report = model.report(0);
            assert_eq!((report.applied, report.skipped), (0, 12), "{}, {clip:?}", engine.describe());
            for ((name, found), (_, expected)) in model.arrays(0).iter().zip(&before) {
                assert_same_bits(&format!("{}, {clip:?}, {name}", engine.describe()), found, expected);
            }
        }
    }
    check(&Cpu::<f64>::default());
    engines::all_and_small().iter().for_each(check);
}

/// A power of two takes no bits from a gradient and gives none. The scale grows every third step.
#[test]
fn scaled_gradients_make_the_steps_of_unscaled_ones() {
    fn check<E: Engine>(engine: &E, name: &str, rule: &dyn AnyRule) {
        let rules = siblings(rule);
        let scale = LossScale { interval: 3, ..Default::default() };
        let clips =
            [None, Some(Clip::Norm { max: 5.0, kind: NormKind::L2 }), Some(Clip::Norm { max: 50.0, kind: NormKind::L1 })];
        let clips = clips.into_iter().chain([Some(Clip::Norm { max: 1.0, kind: NormKind::Max }), Some(Clip::Value(1.0))]);
        // A rule that takes norms of the gradients allows no other norm, and no bound on elements.
        let allowed = if rule.layerwise() != Layerwise::Before { 5 } else { 2 };
        for clip in clips.take(allowed) {
            let recipe = Recipe::population(rules.iter().cloned());
            let recipe = clip.iter().fold(recipe, |recipe, &clip| recipe.clip(clip));
            let mut plain = Model::new(engine, recipe.clone(), rule, &[LEN / 3, LEN - LEN / 3]);
            let mut scaled = Model::new(engine, recipe.loss_scale(scale), rule, &[LEN / 3, LEN - LEN / 3]);
            for lane in 0..rules.len() {
                plain.set_params(lane, &numbers(lane as u64, LEN));
                scaled.set_params(lane, &numbers(lane as u64, LEN));
            }
            let what = format!("{}, {name}, {clip:?}", engine.describe());
            for t in 0..10 {
                for lane in 0..rules.len() {
                    let grads = numbers(10 * t + lane as u64, LEN);
                    let scale = scaled.report(lane).loss_scale as f32;
                    plain.set_grads(lane, &grads);
                    scaled.set_grads(lane, &grads.iter().map(|g| g * scale).collect::<Vec<_>>());
                }
                plain.step();
                scaled.step();
            }
            for lane in 0..rules.len() {
                for ((name, found), (_, expected)) in scaled.arrays(lane).iter().zip(plain.arrays(lane)) {
                    assert_same_bits(&format!("{what}, lane {lane}, {name}"), found, &expected);
                }
                let (found, expected) = (scaled.report(lane), plain.report(lane));
                assert_eq!((found.clipped, found.coefficient), (expected.clipped, expected.coefficient), "{what}");
                assert!(clip.is_none() || found.norm == expected.norm, "{what}: {} and {}", found.norm, expected.norm);
                assert_eq!((found.loss_scale, expected.loss_scale), (8.0 * 65_536.0, 1.0), "{what}");
            }
        }
    }
    let engines: Vec<AnyEngine> = vec![engines::cpu(), engines::gpu(), engines::small_bindings()];
    for (name, rule) in options() {
        check(&Cpu::<f64>::default(), &name, &*rule);
        engines.iter().for_each(|engine| check(engine, &name, &*rule));
    }
}
