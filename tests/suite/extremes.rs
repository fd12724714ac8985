//! Norms whose squares are out of the range of single precision: every finite gradient makes the step of the formula, on every
//! engine.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::options::with;
use crate::common::refusal::assert_error;
use thalweg::cpu::Cpu;
use thalweg::plan::{CHUNK, Engine, LossScale, NormKind};
use thalweg::{Adam, Clip, Error, Lbfgs, LbfgsSettings, LineSearch, Optimizer, Real, Recipe, Report, Result, Sgd};

/// With a learning rate of 1, SGD moves from 0 to minus the clipped gradient.
const RULE: Sgd =
    Sgd { lr: 1.0, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false, lr_inside: false, maximize: false };
/// Relative to the largest value: a norm in f32 is off by some 1e-6, and a coefficient below the normal range by as much again.
const TOLERANCE: f64 = 4e-6;

/// Numbers of the given size for each tensor.
fn sized(tensors: &[usize], sizes: &[f32]) -> Vec<f32> {
    let of = |(seed, (&len, &size)): (usize, (&usize, &f32))| numbers(seed as u64, len).into_iter().map(move |x| x * size);
    tensors.iter().zip(sizes).enumerate().flat_map(of).collect()
}

fn step<E: Engine>(engine: &E, recipe: &Recipe, tensors: &[usize], grads: &[f32]) -> (Vec<f64>, Report) {
    let mut model = Model::new(engine, recipe.clone(), &RULE, tensors);
    model.set_grads(0, grads);
    model.step();
    (model.params(0).into_iter().map(Real::as_f64).collect(), model.report(0))
}

#[test]
fn every_finite_gradient_is_clipped() {
    let tensors = [3, 2 * CHUNK + 17, CHUNK];
    let sizes = [1e-42, 1e-30, 1e-21, 1e-17, 1.0, 1.9e19, 1e30, 1e38];
    let mut cases: Vec<[f32; 3]> = sizes.map(|size| [size; 3]).into();
    cases.extend([
        [1e-20, 1.0, 1e-30],
        [1e25, 1.0, 1e-30],
        [1e-30, 1e-24, 1e-24],
        [1.0, 1e19, 0.0],
        [0.0, 1e-25, 1e22],
        [1e30, 0.0, 0.0],
    ]);
    let engines = engines::all_and_small();
    for sizes in cases {
        let grads = sized(&tensors, &sizes);
        for kind in [NormKind::L2, NormKind::L1] {
            let recipe = Recipe::new(RULE).clip(Clip::Norm { max: 1.0, kind });
            let (params, report) = step(&Cpu::<f64>::default(), &recipe, &tensors, &grads);
            let largest = params.iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            let norm = report.norm.min(f64::from(f32::MAX));
            for engine in &engines {
                let (found, own) = step(engine, &recipe, &tensors, &grads);
                let what = format!("{}, {kind:?} of {sizes:?}", engine.name);
                assert_eq!((own.applied, own.skipped, own.clipped), (1, 0, report.clipped), "{what}");
                assert_close(&what, &[own.norm], &[norm], |_| TOLERANCE * norm);
                // Below the normal range a coefficient is a multiple of 2^-149.
                let coarse = 2f64.powi(-149) / report.coefficient;
                assert_close(&what, &found, &params, |_| (TOLERANCE + coarse) * largest);
            }
        }
    }
}

/// Infinity and NaN are found beside large values.
#[test]
fn what_is_not_finite_is_found_beside_what_is_large() {
    let tensors = [3, CHUNK + 17];
    for engine in engines::all_and_small() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for site in [0, 2, 3, CHUNK, CHUNK + 19] {
                let mut grads = sized(&tensors, &[1e30, 1e25]);
                grads[site] = bad;
                let (params, report) = step(&engine, &Recipe::new(RULE).clip_norm(1.0), &tensors, &grads);
                let what = format!("{}, {bad} at {site}", engine.name);
                assert_eq!((report.applied, report.skipped), (0, 1), "{what}");
                assert!(!report.norm.is_finite() && params.iter().all(|&x| x == 0.0), "{what}");
            }
        }
    }
}

/// The step of each recipe that knows tensors by their norms, from parameters and gradients of a size.
#[test]
fn norms_of_tensors_are_known_over_the_whole_range() {
    fn params<E: Engine>(engine: &E, recipe: &Recipe, rule: &str, sizes: [f32; 2]) -> Vec<f64> {
        let tensors = [40, CHUNK + 9];
        let mut model = Model::new(engine, recipe.clone(), &*with(rule, ""), &tensors);
        let start = sized(&tensors, &[sizes[0], 1.0]);
        model.set_params(0, &start);
        model.set_grads(0, &sized(&tensors, &[sizes[1], 1.0]));
        if rule == "sgd" {
            model.optimizer.ascend().expect("an ascent");
        }
        model.step();
        model.params(0).into_iter().map(Real::as_f64).collect()
    }
    let plain = |rule: &str, settings: &str| Recipe::new(with(rule, settings));
    let lars = plain("lars", "lr=1 weight_decay=0.01");
    let cases = [
        ("lars", lars.clone()),
        ("lamb", plain("lamb", "lr=0.1 weight_decay=0.01")),
        ("adam", plain("adam", "lr=0.1").clip(Clip::Tensor { max: 1.0, kind: NormKind::L2 })),
        ("adam", plain("adam", "lr=0.1").clip(Clip::Normalise(NormKind::L2))),
        ("sgd", plain("sgd", "lr=0").sam(0.5)),
    ];
    for (rule, recipe) in cases {
        for sizes in [[1.0, 1.0], [1e25, 1e25], [1e21, 1.0], [1.0, 1e22], [1e-25, 1e-15], [1e30, 1e33]] {
            let expected = params(&Cpu::<f64>::default(), &recipe, rule, sizes);
            let largest = |range: std::ops::Range<usize>| expected[range].iter().fold(0.0, |a: f64, b| a.max(b.abs()));
            let bounds = [largest(0..40), largest(40..expected.len())];
            // Second moments are squares themselves.
            let inside = rule != "lamb" || sizes[1] < 1e18;
            for engine in engines::all_and_small().into_iter().filter(|_| inside) {
                let found = params(&engine, &recipe, rule, sizes);
                let what = format!("{}, {rule}, sizes {sizes:?}", engine.name);
                assert_close(&what, &found, &expected, |i| 2.0 * TOLERANCE * bounds[usize::from(i >= 40)]);
            }
        }
    }
}

#[test]
fn matrices_of_any_size_are_made_orthogonal() {
    fn params<E: Engine>(engine: &E, size: f32) -> Vec<f64> {
        let recipe = Recipe::new(with("muon", "lr=1 weight_decay=0 eps=1e-30"));
        let mut optimizer = Optimizer::new(engine, recipe, &[("w", &[3, 5])]).expect("an optimizer");
        let grads: Vec<E::Float> = numbers(5, 15).into_iter().map(|g| E::Float::of(f64::from(g * size))).collect();
        optimizer.set_grads("w", &grads).expect("gradients");
        optimizer.step().expect("a step");
        optimizer.params("w").expect("parameters").into_iter().map(Real::as_f64).collect()
    }
    for size in [1e-22, 1.0, 1e22, 1e35] {
        let expected = params(&Cpu::<f64>::default(), size);
        for engine in engines::all() {
            // Iterations amplify what the norm is off by.
            assert_close(&format!("{}, {size:e}", engine.name), &params(&engine, size), &expected, |_| 1e-4);
        }
    }
}

/// An inspection changes no bit, and skips no step.
#[test]
fn an_inspected_recipe_takes_the_same_steps() {
    fn check<E: Engine>(engine: &E) {
        let nan = [f32::NAN, 1.0, 2.0];
        let gradients = [nan, [3e19; 3], [1.0, -2.0, 0.5], [3e38; 3], [1e-30; 3], [f32::INFINITY, 0.0, 1.0]];
        let adam = || Recipe::new(Adam { lr: 0.1, ..Default::default() });
        let recipes =
            [Recipe::new(RULE), adam(), adam().skip_bad(), adam().clip_norm(1.0), adam().loss_scale(LossScale::default())];
        for (index, recipe) in recipes.into_iter().enumerate() {
            for grads in gradients {
                let [mut plain, mut looked] = [recipe.clone(), recipe.clone().inspect()]
                    .map(|recipe| Optimizer::new(engine, recipe, &[("a", &[1]), ("b", &[2])]).expect("an optimizer"));
                for optimizer in [&mut plain, &mut looked] {
                    let grads = grads.map(|g| E::Float::of(f64::from(g)));
                    optimizer.set_grads("a", &grads[..1]).expect("gradients");
                    optimizer.set_grads("b", &grads[1..]).expect("gradients");
                    optimizer.steps(2).expect("steps");
                }
                looked.step_inspected().expect("a step");
                plain.step().expect("a step");
                let what = format!("{}, recipe {index}, {grads:?}", engine.describe());
                for tensor in ["a", "b"] {
                    let [found, expected] = [&mut looked, &mut plain].map(|one| one.params(tensor).expect("parameters"));
                    assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{what}");
                }
                let [found, expected] = [&mut looked, &mut plain].map(|one| one.report().expect("a report"));
                assert_eq!((found.applied, found.skipped), (expected.applied, expected.skipped), "{what}");
            }
        }
    }
    check(&Cpu::<f64>::default());
    engines::all().iter().for_each(check);
}

/// A rule with norms does not skip a step by itself: without a guard, NaN reaches the parameters.
#[test]
fn rules_that_take_norms_hide_nothing() {
    fn check<E: Engine>(engine: &E) {
        for rule in ["lars", "novograd"] {
            for bad in [f32::NAN, f32::INFINITY] {
                for guarded in [false, true] {
                    let own = with(rule, "lr=0.1 weight_decay=0.01");
                    let recipe = Recipe::new(own.clone());
                    let mut model = Model::new(engine, if guarded { recipe.skip_bad() } else { recipe }, &*own, &[5, 4]);
                    model.set_params(0, &numbers(1, 9));
                    model.set_grads(0, &[1.0, bad, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]);
                    model.step();
                    let params: Vec<f64> = model.params(0).into_iter().map(Real::as_f64).collect();
                    let (seen, report) = (params[1].is_nan(), model.report(0));
                    let what = format!("{}, {rule}, {bad}: {params:?}", engine.describe());
                    assert_eq!(
                        (seen, report.applied, report.skipped),
                        if guarded { (false, 0, 1) } else { (true, 1, 0) },
                        "{what}"
                    );
                    assert!(params[5..].iter().all(|x| x.is_finite()), "{what}");
                }
            }
        }
    }
    check(&Cpu::<f64>::default());
    engines::all_and_small().iter().for_each(check);
}

/// Only lane 1 has bad gradients, first in 3 steps of 5, then always. Nothing waits for the device, so the error comes a few
/// steps later.
#[test]
fn too_many_bad_steps_in_a_row_are_an_error() {
    for engine in engines::all() {
        let recipe = Recipe::population([RULE, RULE]).skip_bad().max_bad_steps(4);
        let mut model = Model::new(&engine, recipe, &RULE, &[2]);
        model.set_grads(0, &[1.0, 1.0]);
        let step = |model: &mut Model<_>, g: f32| {
            model.set_grads(1, &[g, 1.0]);
            let done: Result<()> = model.optimizer.step();
            model.optimizer.flush().expect("no samples");
            done
        };
        for g in [1.0, f32::NAN, f32::NAN, f32::NAN, 1.0].repeat(4) {
            step(&mut model, g).expect("a step");
        }
        assert_eq!((model.report(1).skipped, model.report(1).bad_in_a_row), (12, 0), "{}", engine.name);
        let made = (0..9).take_while(|_| step(&mut model, f32::NAN).is_ok()).count();
        assert!((4..8).contains(&made), "{}: {made}", engine.name);
        assert_eq!(model.report(1).bad_in_a_row as usize, made, "{}", engine.name);
        // The step after it is made, and so are some more.
        let more = (0..9).take_while(|_| step(&mut model, f32::NAN).is_ok()).count();
        assert!((4..8).contains(&more), "{}: {more}", engine.name);
        assert_eq!((model.report(0).bad_in_a_row, model.report(0).skipped), (0, 0), "{}", engine.name);
        let told = (0..9).find_map(|_| step(&mut model, f32::NAN).err()).expect("an error");
        assert!(matches!(told, Error::BadSteps { lane: 1, allowed: 4, .. }), "{}: {told}", engine.name);
    }
    let refused = |recipe: Recipe| Optimizer::new(&Cpu::<f32>::default(), recipe, &[("x", &[1])]);
    let message = "max_bad_steps needs skip_bad in the recipe, for example Recipe::skip_bad()";
    assert_error(refused(Recipe::new(RULE).max_bad_steps(1)), message);
    assert_error(refused(Recipe::new(RULE).skip_bad().max_bad_steps(0)), "max_bad_steps = 0 is out of range: at least 1");
}

/// size · Σ x², whose gradient's squares are out of range. The scaled loss makes the same steps, except for the effect of the
/// tolerances.
#[test]
fn lbfgs_reaches_the_minimum_of_a_steep_loss() {
    fn run<E: Engine>(engine: &E, size: f64, n: usize, line_search: LineSearch) -> Vec<f64> {
        let settings =
            LbfgsSettings { line_search, max_iter: 40, tolerance_grad: 0.0, tolerance_change: 0.0, ..Default::default() };
        let mut lbfgs = Lbfgs::new(engine, settings, &[("x", &[n])]).expect("an L-BFGS");
        let start: Vec<E::Float> = (0..n).map(|i| E::Float::of(1.0 + i as f64 / n as f64)).collect();
        lbfgs.set_params("x", &start).expect("parameters");
        for _ in 0..2 {
            lbfgs
                .step(|point| {
                    let x: Vec<f64> = point.params("x")?.into_iter().map(Real::as_f64).collect();
                    let grads: Vec<E::Float> = x.iter().map(|x| E::Float::of(2.0 * size * x)).collect();
                    point.set_grads("x", &grads)?;
                    Ok(size * x.iter().map(|x| x * x).sum::<f64>())
                })
                .expect("a step");
        }
        lbfgs.params("x").expect("parameters").into_iter().map(Real::as_f64).collect()
    }
    for n in [1, 2, 7, CHUNK + 3] {
        for size in [1.0, 1e15, 1e20, 1e30, 1e34] {
            for search in [LineSearch::None, LineSearch::StrongWolfe] {
                let near = |what: String, found: Vec<f64>| assert_close(&what, &found, &vec![0.0; n], |_| 1e-5);
                near(format!("oracle, {size:e}, {n}, {search:?}"), run(&Cpu::<f64>::default(), size, n, search));
                for engine in [engines::cpu(), engines::gpu()] {
                    near(format!("{}, {size:e}, {n}, {search:?}", engine.name), run(&engine, size, n, search));
                }
            }
        }
    }
}

/// A zero gradient and one of ordinary size keep their bits beside others.
#[test]
fn ordinary_norms_keep_their_bits_beside_tiny_ones() {
    for engine in engines::all() {
        let recipe = Recipe::new(RULE).clip_norm(0.5);
        let (ordinary, _) = step(&engine, &recipe, &[70, CHUNK], &sized(&[70, CHUNK], &[1.0, 0.0]));
        let (beside, _) = step(&engine, &recipe, &[70, CHUNK], &sized(&[70, CHUNK], &[1.0, 1e-25]));
        assert_same_bits(engine.name, &beside[..70], &ordinary[..70]);
    }
}

/// The sum of a row's elements leaves the range; their mean does not.
#[test]
fn the_mean_of_a_row_is_known_over_the_whole_range() {
    let grads = [3e38, 2.5e38, 3e38, 1e38, -3e38, -3e38, 1e38, -2e38, 1.0, 2.0, 3.0, 6.0];
    let recipe = Recipe::new(RULE).centralise().skip_bad();
    fn step<E: Engine>(engine: &E, recipe: &Recipe, grads: &[f32]) -> (Vec<f64>, Report) {
        let mut optimizer = Optimizer::new(engine, recipe.clone(), &[("w", &[3, 4])]).expect("an optimizer");
        let grads: Vec<E::Float> = grads.iter().map(|&g| Real::of(g.into())).collect();
        optimizer.set_grads("w", &grads).expect("gradients");
        optimizer.step().expect("a step");
        (
            optimizer.params("w").expect("parameters").into_iter().map(Real::as_f64).collect(),
            optimizer.report().expect("a report"),
        )
    }
    let (expected, _) = step(&Cpu::<f64>::default(), &recipe, &grads);
    for engine in engines::all_and_small() {
        let (found, report) = step(&engine, &recipe, &grads);
        assert_eq!((report.applied, report.skipped), (1, 0), "{}", engine.name);
        assert_close(engine.name, &found, &expected, |i| TOLERANCE * f64::from(grads[i]).abs());
    }
}
