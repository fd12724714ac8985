//! A value that is not finite is found wherever it is, and no finite value is taken for one.

use crate::common::compare::assert_same_bits;
use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::with;
use fastrand::Rng;
use thalweg::cpu::Cpu;
use thalweg::plan::{CHUNK, Engine, LossScale, NormKind, Program};
use thalweg::{Clip, Real, Recipe, Sgd};

const TENSORS: [usize; 7] = [1, CHUNK - 1, 63, 2 * CHUNK + 1, 0, 3700, CHUNK + 4];
const SITES: usize = 1000;
const BAD: [f32; 3] = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
const L2: Clip = Clip::Norm { max: 10.0, kind: NormKind::L2 };
const L1: Clip = Clip::Norm { max: 10.0, kind: NormKind::L1 };
const MAX: Clip = Clip::Norm { max: 10.0, kind: NormKind::Max };

fn len() -> usize {
    TENSORS.iter().sum()
}

/// The recipes that look for values that are not finite.
fn guards() -> Vec<(String, Recipe)> {
    let plain = Recipe::new(with("adam", "lr=0.01"));
    let clips = [L2, L1, MAX, Clip::Value(1.0)].map(|clip| (format!("{clip:?}"), plain.clone().clip(clip)));
    let others = [("skip_bad", plain.clone().skip_bad()), ("loss scale", plain.loss_scale(LossScale::default()))];
    others.map(|(name, recipe)| (name.into(), recipe)).into_iter().chain(clips).collect()
}

/// Sets one element of the gradient.
fn set_grad<P: Program>(model: &mut Model<P>, grads: &[f32], site: usize) {
    let mut start = 0;
    for (tensor, len) in TENSORS.into_iter().enumerate() {
        if (start..start + len).contains(&site) {
            let values: Vec<P::Float> = grads[start..start + len].iter().map(|&g| Real::of(f64::from(g))).collect();
            model.optimizer.set_grads(&format!("tensor {tensor}"), &values).expect("gradients that fit");
        }
        start += len;
    }
}

/// One bad element at a time, in turn NaN and the infinities, at random places, with a good step before and after. The bad
/// steps leave parameters and planes as they were.
fn every_site_is_found<E: Engine>(engine: &E, guard: &str, recipe: &Recipe, sites: usize) {
    let mut model = Model::new(engine, recipe.clone(), &*with("adam", "lr=0.01"), &TENSORS);
    model.set_params(0, &numbers(1, len()));
    let mut grads = numbers(2, len());
    model.set_grads(0, &grads);
    model.step();
    let before = model.arrays(0);
    let mut rng = Rng::with_seed(3);
    for i in 0..sites {
        let site = rng.usize(..len());
        let good = std::mem::replace(&mut grads[site], BAD[i % 3]);
        set_grad(&mut model, &grads, site);
        model.step();
        let report = model.report(0);
        let what = format!("{}, {guard}: {} at {site}", engine.describe(), BAD[i % 3]);
        assert_eq!((report.applied, report.skipped as usize), (1, i + 1), "{what}");
        assert!(!report.norm.is_finite(), "{what}");
        // A step that was made would stay visible, so comparing now and then is enough.
        if i % 10 == 0 || i + 1 == sites {
            for ((name, found), (_, expected)) in model.arrays(0).iter().zip(&before) {
                assert_same_bits(&format!("{what}, {name}"), found, expected);
            }
        }
        grads[site] = good;
        set_grad(&mut model, &grads, site);
    }
    model.step();
    assert_eq!(model.report(0).applied, 2, "{}, {guard}: all gradients are good again", engine.describe());
}

#[test]
fn a_bad_element_is_found_at_a_thousand_sites() {
    assert!(len() > 20_000);
    let (name, guard) = guards().swap_remove(0);
    every_site_is_found(&Cpu::<f64>::default(), &name, &guard, SITES);
    for engine in [engines::cpu(), engines::gpu(), engines::small_bindings()] {
        every_site_is_found(&engine, &name, &guard, SITES);
    }
}

#[test]
fn every_guard_finds_a_bad_element() {
    for (name, guard) in guards() {
        every_site_is_found(&Cpu::<f64>::default(), &name, &guard, 30);
        engines::all_and_small().iter().for_each(|engine| every_site_is_found(engine, &name, &guard, 30));
    }
}

/// The smallest and largest numbers of f32, zeros of both signs, denormals: at random sites, some at once.
#[test]
fn what_is_finite_is_no_false_alarm() {
    let extremes = [f32::MAX, f32::MIN, 0.0, -0.0, 1e-45, -1e-45, 1e-40, f32::MIN_POSITIVE, -1.1e-38, 3.4e38];
    fn check<E: Engine>(engine: &E, extremes: &[f32]) {
        let sgd = Sgd::default();
        let mut model = Model::new(engine, Recipe::new(sgd.clone()).skip_bad(), &sgd, &TENSORS);
        let (mut grads, mut rng) = (numbers(2, len()), Rng::with_seed(4));
        model.set_grads(0, &grads);
        for i in 0..SITES {
            let site = rng.usize(..len());
            grads[site] = extremes[i % extremes.len()];
            set_grad(&mut model, &grads, site);
            model.step();
        }
        let report = model.report(0);
        let counts = (report.applied as usize, report.skipped, report.clipped);
        assert_eq!(counts, (SITES, 0, 0), "{}", engine.describe());
        assert_eq!((report.norm, report.coefficient), (f64::from(f32::MAX), 1.0), "{}", engine.describe());
    }
    check(&Cpu::<f64>::default(), &extremes);
    [engines::cpu(), engines::gpu(), engines::small_bindings()].iter().for_each(|engine| check(engine, &extremes));
}

/// The squares of 1e19 fit into f32, but their sum does not: no guard takes that for a bad gradient.
#[test]
fn a_sum_of_squares_beyond_f32_is_no_false_alarm() {
    let sgd = Sgd { lr: 1.0, ..Default::default() };
    let grads = vec![1e19; len()];
    fn counts<E: Engine>(engine: &E, recipe: Recipe, grads: &[f32]) -> (u32, u32, u32) {
        let mut model = Model::new(engine, recipe, &Sgd::default(), &TENSORS);
        model.set_params(0, &numbers(1, grads.len()));
        model.set_grads(0, grads);
        model.step();
        let report = model.report(0);
        if report.skipped > 0 {
            let start: Vec<E::Float> = numbers(1, grads.len()).into_iter().map(|x| Real::of(f64::from(x))).collect();
            assert_same_bits(&engine.describe(), &model.params(0), &start);
        }
        (report.applied, report.skipped, report.clipped)
    }
    let plain = Recipe::new(sgd);
    assert_eq!(counts(&Cpu::<f64>::default(), plain.clone().clip(L2), &grads), (1, 0, 1));
    for engine in engines::all_and_small() {
        assert_eq!(counts(&engine, plain.clone().clip(L2), &grads), (1, 0, 1), "{}", engine.name);
        assert_eq!(counts(&engine, plain.clone().clip(L1), &grads), (1, 0, 1), "{}", engine.name);
        assert_eq!(counts(&engine, plain.clone().clip(MAX), &grads), (1, 0, 1), "{}", engine.name);
        assert_eq!(counts(&engine, plain.clone().skip_bad(), &grads), (1, 0, 0), "{}", engine.name);
    }
}

/// A finite gradient that its scale makes infinite is bad; a clip coefficient of 0 must not hide it.
#[test]
fn a_gradient_that_its_scale_makes_infinite_is_skipped() {
    for engine in engines::all_and_small() {
        for (name, guard) in guards() {
            let mut model = Model::new(&engine, guard.grad_scale(4.0), &*with("adam", "lr=0.01"), &[100]);
            // A loss scale takes 2^16 out of it again.
            let loss_scale = model.report(0).loss_scale;
            let mut grads = numbers(1, 100);
            grads[50] = f32::MAX / 2.0;
            model.set_grads(0, &grads);
            model.step();
            let report = model.report(0);
            let expected = if loss_scale > 1.0 { (1, 0) } else { (0, 1) };
            assert_eq!((report.applied, report.skipped), expected, "{}, {name}", engine.name);
        }
    }
}

/// Without a guard, the bad value has to reach the parameters, where it is seen.
#[test]
fn without_a_guard_what_is_not_finite_reaches_the_parameters() {
    fn check<E: Engine>(engine: &E) {
        for (name, settings) in [("sgd", "lr=0.1 momentum=0.9"), ("adam", "lr=0.1"), ("adagrad", "lr=0.1")] {
            for bad in BAD {
                let rule = with(name, settings);
                let mut model = Model::new(engine, Recipe::new(rule.clone()), &*rule, &[100]);
                let mut grads = numbers(1, 100);
                grads[50] = bad;
                model.set_grads(0, &grads);
                model.step();
                let params = model.params(0);
                let places: Vec<usize> = (0..100).filter(|&i| !params[i].as_f64().is_finite()).collect();
                assert_eq!(places, [50], "{}, {name}, {bad}: {}", engine.describe(), params[50]);
                let report = model.report(0);
                assert_eq!((report.applied, report.skipped), (1, 0), "{}, {name}, {bad}", engine.describe());
            }
        }
    }
    check(&Cpu::<f64>::default());
    engines::all_and_small().iter().for_each(check);
}
