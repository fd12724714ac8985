//! The norms that a gradient can be clipped by: L2, L1 and Max, on every engine, for tensors around a chunk, alone and in
//! lanes.

use crate::common::compare::{assert_close, assert_same_bits};
use crate::common::engines;
use crate::common::model::Model;
use crate::common::numbers::numbers;
use crate::common::oracle::EPSILON;
use thalweg::cpu::Cpu;
use thalweg::plan::{CHUNK, Engine, NormKind};
use thalweg::{Clip, Recipe, Report, Sgd};

const KINDS: [NormKind; 3] = [NormKind::L2, NormKind::L1, NormKind::Max];
/// With a learning rate of 1, SGD moves from 0 to minus the clipped gradient.
const RULE: Sgd =
    Sgd { lr: 1.0, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false, lr_inside: false, maximize: false };

/// How far a norm may be off in f32, in units of its resolution. A sum is a tree of three levels with at most 256 terms in a
/// row. Each is off by half a unit, in either direction, so a row is off by half the root of 256. The root of a sum of squares
/// halves that once more. A maximum is exact.
fn cost(kind: NormKind) -> f64 {
    match kind {
        NormKind::L2 => 8.0,
        NormKind::L1 => 16.0,
        NormKind::Max | NormKind::Count => 0.0,
    }
}

/// How far the quotient and two products of a clipped gradient may be off in addition.
const CLIP_COST: f64 = 4.0;

fn tensors() -> Vec<Vec<usize>> {
    let one = [1, 63, 64, 65, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK - 1, 2 * CHUNK + 1, 3 * CHUNK, 4 * CHUNK + 17];
    let several =
        [vec![CHUNK - 1, 0, 1, CHUNK + 1, 64, 2 * CHUNK + 8], vec![2 * CHUNK, 2 * CHUNK + 1, CHUNK - 3], vec![1; 300]];
    one.into_iter().map(|len| vec![len]).chain(several).collect()
}

/// The gradient of a lane: of size 1 with one large element, a thousandth of it, or zero.
fn gradient(lane: usize, len: usize) -> Vec<f32> {
    let mut g = numbers(lane as u64, len);
    g[len / 2] *= 7.0;
    g.iter_mut().for_each(|g| *g *= [1.0, 1e-3, 0.0][lane]);
    g
}

/// Parameters and report of each lane after one step from 0.
fn run<E: Engine>(engine: &E, clip: Clip, tensors: &[usize], grads: &[Vec<f32>]) -> Vec<(Vec<E::Float>, Report)> {
    let recipe = Recipe::population(grads.iter().map(|_| RULE)).clip(clip);
    let mut model = Model::new(engine, recipe, &RULE, tensors);
    grads.iter().enumerate().for_each(|(lane, grads)| model.set_grads(lane, grads));
    model.step();
    (0..grads.len()).map(|lane| (model.params(lane), model.report(lane))).collect()
}

#[test]
fn the_oracle_has_the_norms_of_their_formulas() {
    for tensors in tensors() {
        let grads = [gradient(0, tensors.iter().sum())];
        let sizes: Vec<f64> = grads[0].iter().map(|&g| f64::from(g).abs()).collect();
        let formulas =
            [sizes.iter().map(|g| g * g).sum::<f64>().sqrt(), sizes.iter().sum(), sizes.iter().fold(0.0, |a, &b| b.max(a))];
        for (kind, norm) in KINDS.into_iter().zip(formulas) {
            let (params, report) = run(&Cpu::<f64>::default(), Clip::Norm { max: 0.5, kind }, &tensors, &grads).swap_remove(0);
            let what = format!("{kind:?} of {tensors:?}");
            let coefficient = (0.5 / (norm + 1e-6)).min(1.0);
            // f64 resolves 2e-16, and sums have up to 20,477 terms.
            assert_close(&what, &[report.norm, report.coefficient], &[norm, coefficient], |_| 1e-13 * norm.max(1.0));
            let expected: Vec<f64> = grads[0].iter().map(|&g| -coefficient * f64::from(g)).collect();
            assert_close(&what, &params, &expected, |i| 1e-13 * expected[i].abs());
        }
    }
}

/// Lane 0 is clipped, lane 1 is or is not, and lane 2 is zero. Each has the bits that it has alone.
#[test]
fn every_engine_has_the_norms_of_the_oracle() {
    let engines = engines::all_and_small();
    for tensors in tensors() {
        let len = tensors.iter().sum();
        let grads = [0, 1, 2].map(|lane| gradient(lane, len));
        for kind in KINDS {
            let clip = Clip::Norm { max: 0.25, kind };
            let expected = run(&Cpu::<f64>::default(), clip, &tensors, &grads);
            for engine in &engines {
                let lanes = run(engine, clip, &tensors, &grads);
                for (lane, ((params, report), (oracle, expected))) in lanes.iter().zip(&expected).enumerate() {
                    let what = format!("{}, {kind:?} of {tensors:?}, lane {lane}", engine.name);
                    let scalars = [expected.norm, expected.coefficient];
                    let bounds = [cost(kind), cost(kind) + CLIP_COST].map(|cost| cost * EPSILON);
                    assert_close(&what, &[report.norm, report.coefficient], &scalars, |i| bounds[i] * scalars[i]);
                    assert_close(&what, params, oracle, |i| (bounds[1] + CLIP_COST * EPSILON) * oracle[i].abs());
                    assert_eq!((report.applied, report.clipped), (1, expected.clipped), "{what}");
                    let alone = run(engine, clip, &tensors, &grads[lane..=lane]).swap_remove(0);
                    assert_same_bits(&what, params, &alone.0);
                    assert_eq!(*report, alone.1, "{what}");
                }
            }
        }
    }
}

/// A norm that misses an element, or takes one twice, is off by it: one element is larger than all others together. Four long
/// chunks in a row are read side by side on the CPU.
#[test]
fn every_element_counts_once() {
    let tensors = [CHUNK - 1, 1, CHUNK + 1, 70, 2 * CHUNK, CHUNK - 30, CHUNK + 1, CHUNK];
    let mut places: Vec<usize> = Vec::new();
    let mut start = 0;
    for len in tensors {
        let edges = [0, 1, 63, 64, CHUNK - 2, CHUNK - 1, CHUNK].into_iter().filter(|&edge| edge < len);
        places.extend(edges.map(|edge| start + edge));
        start += len;
    }
    assert_eq!(places.len(), 5 + 1 + 7 + 4 + 7 + 4 + 7 + 6);
    let len = tensors.iter().sum();
    for engine in engines::all_and_small() {
        for kind in KINDS {
            let recipe = Recipe::new(RULE).clip(Clip::Norm { max: 1.0, kind });
            let mut model = Model::new(&engine, recipe, &RULE, &tensors);
            for (i, &place) in places.iter().enumerate() {
                let mut grads = vec![0.0; len];
                grads[place] = if i % 2 == 0 { 3.0 } else { -3.0 };
                model.set_grads(0, &grads);
                model.step();
                // There is no other term, and 3 is the root of 9, so this is exact.
                assert_eq!(model.report(0).norm, 3.0, "{}, {kind:?}, element {place}", engine.name);
            }
        }
    }
}

/// The norm is that of the gradient with its scale, whatever the sign of the step.
#[test]
fn the_norm_is_of_the_scaled_gradient() {
    let rule = Sgd { maximize: true, ..RULE };
    fn check<E: Engine>(engine: &E, rule: &Sgd) {
        for (kind, norm) in KINDS.into_iter().zip([13.0, 19.0, 12.0]) {
            let recipe = Recipe::new(rule.clone()).grad_scale(0.25).clip(Clip::Norm { max: norm / 2.0, kind });
            let mut model = Model::new(engine, recipe, rule, &[1, 1, 1]);
            model.set_grads(0, &[12.0, -16.0, 48.0]);
            model.step();
            let report = model.report(0);
            let what = format!("{}, {kind:?}", engine.describe());
            assert_eq!((report.norm, report.clipped), (norm, 1), "{what}");
            // The 1e-6 that is added to the norm, and the rounding of a quotient in f32.
            let expected = [1.5, -2.0, 6.0];
            assert_close(&what, &model.params(0), &expected, |i| (1e-6 / norm + 4.0 * EPSILON) * f64::abs(expected[i]));
        }
    }
    check(&Cpu::<f64>::default(), &rule);
    engines::all_and_small().iter().for_each(|engine| check(engine, &rule));
}
