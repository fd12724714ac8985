//! Rules with a jump: near the jump an engine may be on the other side than the oracle, but only in elements that are near.

use crate::common::engines;
use crate::common::model::Model;
use thalweg::cpu::Cpu;
use thalweg::plan::Engine;
use thalweg::{AnyRule, Lion, Real, Recipe, Rprop};

const LEN: usize = 2_000;

/// The movement of each element in the second of two steps.
fn second_step<E: Engine>(engine: &E, rule: &dyn AnyRule, grads: [&[f32]; 2]) -> Vec<f64> {
    let mut model = Model::new(engine, Recipe::new(rule.boxed()), rule, &[grads[0].len()]);
    let after = grads.map(|grads| {
        model.set_grads(0, grads);
        model.step();
        model.params(0)
    });
    after[1].iter().zip(&after[0]).map(|(x, before)| x.as_f64() - before.as_f64()).collect()
}

/// The elements in which an engine differs from the oracle by more than rounding. Each of them must be `near` the jump.
fn flips(rule: &dyn AnyRule, grads: [&[f32]; 2], near: impl Fn(usize) -> bool, allowed: usize) {
    let oracle = second_step(&Cpu::<f64>::default(), rule, grads);
    let count = (0..oracle.len()).filter(|&i| near(i)).count();
    assert!((1..=allowed).contains(&count), "{}: {count} inputs near the switch, {allowed} stated", rule.name());
    for engine in engines::all_and_small() {
        let found = second_step(&engine, rule, grads);
        let differs = |i: &usize| !((found[*i] - oracle[*i]).abs() <= 1e-5 * oracle[*i].abs());
        let far: Vec<usize> = (0..oracle.len()).filter(differs).filter(|&i| !near(i)).collect();
        assert!(far.is_empty(), "{}, {}: {far:?} are far from the switch", engine.name, rule.name());
    }
}

/// Lion steps by the sign of β₁·m + (1 − β₁)·g. Here the two terms cancel except for `i − 1000` quarters of f32's resolution.
/// Three roundings and those of β₁ and m may change the sign where less than six units are left.
#[test]
fn lion_turns_only_where_its_sum_cancels() {
    let rule = Lion { lr: 1.0, weight_decay: 0.0, ..Default::default() };
    let (beta1, beta2) = rule.betas;
    let epsilon = f64::from(f32::EPSILON);
    let first: Vec<f32> = (0..LEN).map(|i| [1.0, -1.0][i % 2] * (0.5 + (i * 7 % 100) as f32 / 50.0)).collect();
    let m = |i: usize| (1.0 - beta2) * f64::from(first[i]);
    let off = |i: usize| 0.25 * (i as f64 - 1000.0) * epsilon;
    let second: Vec<f32> = (0..LEN).map(|i| (-beta1 * m(i) / (1.0 - beta1) * (1.0 + off(i))) as f32).collect();
    let near = |i: usize| {
        let terms = [beta1 * m(i), (1.0 - beta1) * f64::from(second[i])];
        (terms[0] + terms[1]).abs() < 6.0 * epsilon * terms[0].abs()
    };
    flips(&rule, [&first, &second], near, 60);
}

/// Rprop uses the sign of the product of two gradients, which f32 loses only below its least normal number.
#[test]
fn rprop_turns_only_where_its_product_vanishes() {
    let rule = Rprop { lr: 0.5, ..Default::default() };
    let gradient = |i: usize, power: usize| [1.0, -1.0][i % 2] * 10f32.powi(-(power as i32));
    let first: Vec<f32> = (0..LEN).map(|i| gradient(i, i % 31)).collect();
    let second: Vec<f32> = (0..LEN).map(|i| gradient(i / 2, i / 31 % 31)).collect();
    let near = |i: usize| (f64::from(first[i]) * f64::from(second[i])).abs() < 1.1 * f64::from(f32::MIN_POSITIVE);
    flips(&rule, [&first, &second], near, 600);
}

/// The comparison must be able to fail: it fails for a rule that changes its sign elsewhere.
#[test]
#[should_panic(expected = "are far from the switch")]
fn a_turn_elsewhere_is_found() {
    let rule = Lion { lr: 1.0, weight_decay: 0.0, ..Default::default() };
    // Both terms cancel in all elements, and only the first is called near.
    let first = vec![1.0; 200];
    let (beta1, beta2) = rule.betas;
    let second: Vec<f32> =
        (0..200).map(|i| (-beta1 * (1.0 - beta2) / (1.0 - beta1) * (1.0 + (i as f64 - 100.0) * 2e-8)) as f32).collect();
    flips(&rule, [&first, &second], |i| i == 0, 1);
}
