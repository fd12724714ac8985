//! The changes to a gradient before a rule gets it, in this order: scale, bound, penalties. `d = clamp(s·g, ±c) + λ·x +
//! l1·sign(x)`.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::{STEPS, gradient, numbers};
use crate::common::options::options;
use crate::common::oracle::{EPSILON, Oracle};
use thalweg::cpu::Cpu;
use thalweg::plan::{
    Blueprint, CHUNK, Engine, Layout, LossScale, NormKind, Op, Plan, PlanId, Program, Span, Stream, StreamOf, Update,
};
use thalweg::{AnyRule, Clip, HyperRow, Layerwise, Real, Recipe, Sgd};

const LEN: usize = 300;

/// Each term alone, and all together. The penalties are smaller than the gradients of size 1 and their bound, so that nothing
/// cancels and the oracle's bound means something.
fn recipes(rule: &dyn AnyRule) -> Vec<(&'static str, Recipe)> {
    let plain = Recipe::new(rule.boxed());
    let all = plain.clone().grad_scale(1.5).l1(0.1);
    let mut recipes = vec![
        ("grad_scale", plain.clone().grad_scale(4.0 / 3.0)),
        ("l1", plain.clone().l1(0.1)),
        ("guard", plain.clone().skip_bad()),
    ];
    // A rule that takes norms of the gradients allows no other norm, and no bound on elements.
    if rule.layerwise() != Layerwise::Before {
        recipes.extend([
            ("value", plain.clip(Clip::Value(1.0))),
            ("all, value", all.clone().clip(Clip::Value(1.0))),
            ("all, norm", all.clip(Clip::Norm { max: 1e6, kind: NormKind::L1 })),
        ]);
    }
    recipes
}

#[test]
fn every_rule_with_every_term_agrees_with_the_oracle() {
    let engines = engines::all_and_small();
    let tensors = [65, 0, CHUNK + 1, 100];
    let len = tensors.iter().sum();
    for (name, rule) in options() {
        for (term, recipe) in recipes(&*rule) {
            let params = numbers(1, len);
            let mut oracle = Oracle::new(&recipe, &*rule, &tensors, &params);
            let mut models: Vec<_> =
                engines.iter().map(|engine| Model::new(engine, recipe.clone(), &*rule, &tensors)).collect();
            models.iter_mut().for_each(|model| model.set_params(0, &params));
            for t in 1..=STEPS {
                let grads = gradient(2, t, len);
                oracle.step(&grads);
                for (engine, model) in engines.iter().zip(&mut models) {
                    model.set_grads(0, &grads);
                    model.step();
                    oracle.agrees(model).unwrap_or_else(|error| panic!("{}, {name}, {term}, step {t}, {error}", engine.name));
                }
            }
        }
    }
}

/// One step of SGD against the formula, on every engine; zeros of both signs among the parameters.
fn is_the_formula(sgd: &Sgd, recipe: &Recipe, loss_scale: f64, d: impl Fn(f64, f64) -> f64) {
    fn check<E: Engine>(engine: &E, sgd: &Sgd, recipe: &Recipe, loss_scale: f64, epsilon: f64, d: &dyn Fn(f64, f64) -> f64) {
        let (mut params, mut grads) = (numbers(1, LEN), numbers(2, LEN));
        params.iter_mut().step_by(6).for_each(|x| *x = 0.0);
        params.iter_mut().skip(3).step_by(6).for_each(|x| *x = -0.0);
        grads.iter_mut().step_by(4).for_each(|g| *g = 0.0);
        grads.iter_mut().skip(1).step_by(4).for_each(|g| *g *= 10.0);
        let mut model = Model::new(engine, recipe.clone(), sgd, &[LEN / 3, LEN - LEN / 3]);
        model.set_params(0, &params);
        model.set_grads(0, &grads.iter().map(|g| g * loss_scale as f32).collect::<Vec<_>>());
        model.step();
        let pairs = || params.iter().zip(&grads).map(|(&x, &g)| (f64::from(x), f64::from(g)));
        let expected: Vec<f64> = pairs().map(|(x, g)| x - sgd.lr * d(x, g)).collect();
        // A product or a sum per term, with scalars rounded once: 8 roundings, relative to the sum of sizes.
        let size: Vec<f64> = pairs().map(|(x, g)| x.abs() + sgd.lr * (20.0 * g.abs() + x.abs() + 1.0)).collect();
        assert_close(&engine.describe(), &model.params(0), &expected, |i| 8.0 * epsilon * size[i]);
        let still: Vec<usize> = (0..LEN).step_by(12).collect();
        assert!(still.iter().all(|&i| model.params(0)[i] == E::Float::of(0.0)), "{}: zero is a fixed point", engine.describe());
    }
    check(&Cpu::<f64>::default(), sgd, recipe, loss_scale, f64::EPSILON, &d);
    for engine in engines::all_and_small() {
        check(&engine, sgd, recipe, loss_scale, EPSILON, &d);
    }
}

fn sign(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { x.signum() }
}

#[test]
fn l1_pulls_towards_zero_and_leaves_zero_alone() {
    let sgd = Sgd { lr: 0.1, ..Default::default() };
    let recipe = Recipe::new(sgd.clone()).l1(0.7);
    is_the_formula(&sgd, &recipe, 1.0, |x, g| g + 0.7 * sign(x));
    // A penalty is not part of the gradient: neither maximising nor a bound nor a scale changes it.
    let sgd = Sgd { lr: 0.1, maximize: true, weight_decay: 0.3, ..Default::default() };
    let recipe = Recipe::new(sgd.clone()).l1(0.7).grad_scale(0.5).clip(Clip::Value(0.4));
    is_the_formula(&sgd, &recipe, 1.0, |x, g| (-0.5 * g).clamp(-0.4, 0.4) + 0.3 * x + 0.7 * sign(x));
}

#[test]
fn a_bound_holds_for_the_unscaled_gradient_before_weight_decay() {
    let loss_scale = LossScale { init: 1024.0, ..Default::default() };
    for maximize in [false, true] {
        let sgd = Sgd { lr: 0.1, maximize, weight_decay: 0.3, ..Default::default() };
        let direction = if maximize { -1.0 } else { 1.0 };
        let recipe = Recipe::new(sgd.clone()).clip(Clip::Value(0.8));
        is_the_formula(&sgd, &recipe, 1.0, |x, g| (direction * g).clamp(-0.8, 0.8) + 0.3 * x);
        let recipe = recipe.loss_scale(loss_scale);
        is_the_formula(&sgd, &recipe, 1024.0, |x, g| (direction * g).clamp(-0.8, 0.8) + 0.3 * x);
        let recipe = recipe.grad_scale(2.0);
        is_the_formula(&sgd, &recipe, 1024.0, |x, g| (direction * 2.0 * g).clamp(-0.8, 0.8) + 0.3 * x);
    }
}

/// The factors of a tensor are on both sides of the bound: `r·(clamp(f·s·g, ±c) + λ·x)`. No recipe uses both, but a plan may.
#[test]
fn a_bound_on_elements_comes_before_a_tensors_trust() {
    let (f, r, bound, sgd) = (0.5, 4.0, 0.75, Sgd { lr: 1.0, weight_decay: 0.25, ..Default::default() });
    let mut layout = Layout::new(1);
    let [params, grads] = ["params", "grads"].map(|name| layout.floats(name, 64));
    let (current, factors) = (layout.floats("current", HyperRow::LEN), layout.floats("factors", 2));
    let mut plan = Plan::default();
    let streams = vec![Stream::new(StreamOf::Params, params), Stream::new(StreamOf::Grads, grads)];
    let mut update = Update::new(sgd.clone(), streams, current, vec![Span::new(0, 64, 0, 0)]);
    (update.extras.max_value, update.extras.factors) = (true, Some(factors));
    plan.push(Op::Update(update));
    let mut row = AnyRule::hyper_row(&sgd, 1).0;
    row[HyperRow::MAX_VALUE] = bound;
    let (x, g) = (numbers(1, 64), numbers(2, 64));
    let expected: Vec<f64> = x
        .iter()
        .zip(&g)
        .map(|(&x, &g)| f64::from(x) - r * ((f * f64::from(g)).clamp(-bound, bound) + 0.25 * f64::from(x)))
        .collect();
    let bounded = g.iter().filter(|g| f * f64::from(g.abs()) > bound).count();
    assert!((1..64).contains(&bounded), "{bounded} elements at the bound");
    for engine in engines::all() {
        let mut program = engine.load(&Blueprint::of(&layout, std::slice::from_ref(&plan))).expect("a program");
        program.write(params, 0, 0, &x).expect("parameters");
        program.write(grads, 0, 0, &g).expect("gradients");
        program.write(current, 0, 0, &row.map(|scalar| scalar as f32)).expect("a row");
        program.write(factors, 0, 0, &[f as f32, r as f32]).expect("factors");
        program.run(PlanId::FIRST, 1).expect("a step");
        let found = program.read(params, 0).expect("parameters");
        // Three roundings of numbers of size 10.
        assert_close(engine.name, &found, &expected, |_| 3.0 * EPSILON * 10.0);
    }
}

/// `clip_value` does not count as clipped, and its norm is the largest element.
#[test]
fn a_bound_on_elements_reports_the_largest() {
    for engine in engines::all_and_small() {
        let mut model = Model::new(&engine, Recipe::new(Sgd::default()).clip(Clip::Value(1.0)), &Sgd::default(), &[3]);
        model.set_grads(0, &[1.5, -8.0, 4.0]);
        model.step();
        let report = model.report(0);
        assert_eq!((report.norm, report.coefficient, report.clipped), (8.0, 1.0, 0), "{}", engine.name);
    }
}

/// The sum of four micro-batches is taken in f32, and a quarter of it is exact. With three, the result is within the bound of
/// the oracle.
#[test]
fn a_scale_of_one_over_n_makes_the_mean_of_n_micro_batches() {
    let sum = |t: u64, n: u64| {
        (0..n).map(|batch| numbers(100 * t + batch, LEN)).fold(vec![0.0; LEN], |mut sum, grads| {
            sum.iter_mut().zip(grads).for_each(|(sum, g)| *sum += g);
            sum
        })
    };
    for engine in engines::all_and_small() {
        for (name, rule) in options() {
            let clips = [None, Some(Clip::Norm { max: 3.0, kind: NormKind::L2 }), Some(Clip::Value(0.5))];
            // A rule that takes norms of the gradients allows no bound on elements.
            let allowed = if rule.layerwise() != Layerwise::Before { 3 } else { 2 };
            for clip in clips.into_iter().take(allowed) {
                let plain = clip.iter().fold(Recipe::new(rule.clone()), |recipe, &clip| recipe.clip(clip));
                let mut of_sums = Model::new(&engine, plain.clone().grad_scale(0.25), &*rule, &[LEN]);
                let mut of_means = Model::new(&engine, plain, &*rule, &[LEN]);
                for t in 1..=5 {
                    let sum = sum(t, 4);
                    of_sums.set_grads(0, &sum);
                    of_sums.step();
                    of_means.set_grads(0, &sum.iter().map(|g| g / 4.0).collect::<Vec<_>>());
                    of_means.step();
                }
                for ((array, found), (_, expected)) in of_sums.arrays(0).iter().zip(of_means.arrays(0)) {
                    assert_same_bits(&format!("{}, {name}, {clip:?}, {array}", engine.name), found, &expected);
                }
            }
        }
        let sgd = Sgd { lr: 0.1, ..Default::default() };
        let mut thirds = Model::new(&engine, Recipe::new(sgd.clone()).grad_scale(1.0 / 3.0), &sgd, &[LEN]);
        thirds.set_grads(0, &sum(1, 3));
        thirds.step();
        let batches: Vec<Vec<f32>> = (0..3).map(|batch| numbers(100 + batch, LEN)).collect();
        let of = |i: usize| batches.iter().map(move |batch| f64::from(batch[i]));
        let expected: Vec<f64> = (0..LEN).map(|i| -0.1 * of(i).sum::<f64>() / 3.0).collect();
        // Two sums and two products with rounded factors; terms of both signs may cancel.
        let bound = |i: usize| 4.0 * EPSILON * 0.1 * of(i).map(f64::abs).sum::<f64>();
        assert_close(engine.name, &thirds.params(0), &expected, bound);
    }
}
