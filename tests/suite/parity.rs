//! Every rule on every engine against the oracle, parameters and planes after every step.

use crate::common::compare::assert_close;
use crate::common::engines::{self, AnyEngine, AnyProgram};
use crate::common::model::Model;
use crate::common::numbers::{STEPS, gradient, numbers};
use crate::common::options::options;
use crate::common::oracle::{EPSILON, Oracle};
use thalweg::plan::CHUNK;
use thalweg::{AnyRule, Recipe, Report};

/// One tensor, and several with one among them that is empty; with clipping and without.
fn variants(len: usize) -> Vec<(Vec<usize>, bool)> {
    let (one, several) = (vec![len], vec![len / 3, 0, len / 2, len - len / 3 - len / 2]);
    match len {
        0..100_000 => vec![(one.clone(), false), (several.clone(), false), (one, true), (several, true)],
        _ => vec![(one, false), (several, true)],
    }
}

fn engines_agree_with_the_oracle(engines: &[AnyEngine], sizes: &[usize]) {
    engines_agree_with(engines, sizes, |_| true);
}

/// With those sets of options whose index is wanted.
fn engines_agree_with(engines: &[AnyEngine], sizes: &[usize], wanted: impl Fn(usize) -> bool) {
    for &len in sizes {
        let (params, grads) = (numbers(1, len), (1..=STEPS).map(|t| gradient(2, t, len)).collect::<Vec<_>>());
        for (_, (name, rule)) in options().into_iter().enumerate().filter(|(index, _)| wanted(*index)) {
            for (tensors, clip) in variants(len) {
                let recipe = Recipe::new(rule.clone());
                // The norm of most gradients is above this; that of the zero gradient is below.
                let recipe = if clip { recipe.clip_norm((len as f64).sqrt().max(0.1)) } else { recipe };
                let what = format!("{name}, tensors {tensors:?}, clip {clip}");
                compare(engines, &recipe, &*rule, &tensors, (&params, &grads), &what);
            }
        }
    }
}

fn compare(
    engines: &[AnyEngine],
    recipe: &Recipe,
    rule: &dyn AnyRule,
    tensors: &[usize],
    (params, grads): (&[f32], &[Vec<f32>]),
    what: &str,
) {
    let mut oracle = Oracle::new(recipe, rule, tensors, params);
    let mut models: Vec<Model<AnyProgram>> =
        engines.iter().map(|engine| Model::new(engine, recipe.clone(), rule, tensors)).collect();
    models.iter_mut().for_each(|model| model.set_params(0, params));
    for (t, grads) in (1..).zip(grads) {
        oracle.step(grads);
        let expected = oracle.model.report(0);
        for (engine, model) in engines.iter().zip(&mut models) {
            let what = format!("{}, {what}, step {t}", engine.name);
            model.set_grads(0, grads);
            model.step();
            oracle.agrees(model).unwrap_or_else(|error| panic!("{what}, {error}"));
            let found = model.report(0);
            let counts = |report: &Report| [report.applied, report.skipped, report.clipped];
            assert_eq!(counts(&found), counts(&expected), "{what}");
            // A norm is a tree of sums under a root, so its cost hardly grows with its length.
            let scalars = [expected.norm, expected.coefficient];
            assert_close(&what, &[found.norm, found.coefficient], &scalars, |i| 8.0 * EPSILON * scalars[i]);
        }
    }
}

#[test]
fn engines_agree_around_a_block() {
    engines_agree_with_the_oracle(&engines::all_and_small(), &[0, 1, 63, 64, 65, 255, 257]);
}

#[test]
fn engines_agree_below_a_chunk() {
    engines_agree_with_the_oracle(&engines::all_and_small(), &[4095]);
}

#[test]
fn engines_agree_above_a_chunk() {
    engines_agree_with_the_oracle(&engines::all(), &[3 * CHUNK + 1]);
    // More than such a binding holds.
    engines_agree_with_the_oracle(&[engines::small_bindings()], &[8 * CHUNK + 1]);
}

/// The CPU engine shares the work from 32,768 elements on.
#[test]
fn shared_work_agrees() {
    engines_agree_with_the_oracle(&[engines::cpu()], &[70_001]);
}

/// Two tests, since these are the longest of all and run side by side; each compares both engines with one oracle.
#[test]
fn engines_agree_above_a_million_with_every_second_set_of_options() {
    engines_agree_with(&[engines::cpu(), engines::gpu()], &[(1 << 20) + 3], |index| index % 2 == 0);
}

#[test]
fn engines_agree_above_a_million_with_the_other_sets_of_options() {
    engines_agree_with(&[engines::cpu(), engines::gpu()], &[(1 << 20) + 3], |index| index % 2 == 1);
}
