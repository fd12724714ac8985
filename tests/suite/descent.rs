//! Every rule reaches a known result with the settings of `crates/thalweg-catalogue`: the minimum of two functions, and a test
//! accuracy on the digits. Parity cannot see a mistake that engine and oracle share, but a wrong rule does not reach the
//! minimum.

use crate::common::compare::assert_close;
use crate::common::engines;
use std::collections::BTreeSet;
use std::ops::RangeBounds;
use thalweg::Result;
use thalweg::cpu::Cpu;
use thalweg::plan::Engine;
use thalweg_catalogue::descent::{
    Path, QUADRATIC, ROSENBROCK, SIZE, distance, product, quadratic, quadratic_value, rosenbrock, rosenbrock_gradient,
    rosenbrock_value,
};
use thalweg_catalogue::{CATALOGUE, Entry, entries, entry};

/// The distance to the minimum at which a rule has arrived. The starts are 2.2 and 6 away.
const NEAR: f64 = 3e-2;
/// Runs of more steps have tests of their own on the GPU, since software drivers take long for them.
const LONG: usize = 7_000;

fn arrived(path: &Path, to: &[f64]) -> std::result::Result<(), String> {
    let distance = distance(path, to);
    if distance <= NEAR { Ok(()) } else { Err(format!("{distance} from the minimum")) }
}

/// Runs a task's runs whose length is in the range, and fails with the rules that did not arrive, or if no run was in the
/// range.
fn all_arrive(
    length: impl Fn(&Entry) -> usize,
    range: impl RangeBounds<usize>,
    to: &[f64],
    run: impl Fn(&Entry) -> Result<Path>,
) -> Result<()> {
    let chosen: Vec<&Entry> = entries().into_iter().filter(|entry| range.contains(&length(entry))).collect();
    assert!(!chosen.is_empty(), "no rule was run");
    let mut lost = Vec::new();
    for entry in chosen {
        if let Err(error) = arrived(&run(entry)?, to) {
            lost.push(format!("{} after {} steps: {error}", entry.rule, length(entry)));
        }
    }
    assert!(lost.is_empty(), "{}", lost.join("\n"));
    Ok(())
}

fn all_descend_the_valley<E: Engine>(engine: &E, range: impl RangeBounds<usize>) -> Result<()> {
    all_arrive(|entry| entry.rosenbrock.length, range, &ROSENBROCK, |entry| rosenbrock(engine, entry, 1))
}

fn all_descend_the_quadratic<E: Engine>(engine: &E, range: impl RangeBounds<usize>) -> Result<()> {
    all_arrive(|entry| entry.quadratic.length, range, &QUADRATIC, |entry| quadratic(engine, entry, 1))
}

#[test]
fn rosenbrocks_valley_on_the_cpu() -> Result<()> {
    all_descend_the_valley(&Cpu::<f32>::default(), ..)
}

#[test]
fn rosenbrocks_valley_on_the_gpu() -> Result<()> {
    all_descend_the_valley(&engines::gpu(), ..=LONG)
}

#[test]
fn rosenbrocks_valley_on_the_gpu_in_many_steps() -> Result<()> {
    all_descend_the_valley(&engines::gpu(), LONG + 1..)
}

#[test]
fn a_quadratic_of_condition_10000_on_the_cpu() -> Result<()> {
    all_descend_the_quadratic(&Cpu::<f32>::default(), ..)
}

#[test]
fn a_quadratic_of_condition_10000_on_the_gpu() -> Result<()> {
    all_descend_the_quadratic(&engines::gpu(), ..=LONG)
}

#[test]
fn a_quadratic_of_condition_10000_on_the_gpu_in_many_steps() -> Result<()> {
    all_descend_the_quadratic(&engines::gpu(), LONG + 1..)
}

#[test]
fn the_digits_are_told_apart() -> Result<()> {
    let mut short = Vec::new();
    for entry in entries() {
        let epochs = thalweg_catalogue::digits::train(&Cpu::<f32>::default(), entry)?;
        let accuracy = epochs[epochs.len() - 1].test.accuracy.expect("an accuracy");
        if !(accuracy >= 0.95) {
            short.push(format!("{}: {accuracy} after {} epochs", entry.rule, epochs.len()));
        }
    }
    assert!(short.is_empty(), "{}", short.join("\n"));
    Ok(())
}

#[test]
fn every_entry_is_of_one_rule() {
    let rules: BTreeSet<&str> = thalweg::rules().iter().map(|rule| rule.name()).collect();
    let entries: BTreeSet<&str> = CATALOGUE.iter().map(|entry| entry.rule).collect();
    assert_eq!((entries.len(), &entries), (CATALOGUE.len(), &rules));
}

#[test]
fn a_rule_without_an_entry_is_noticed() {
    assert_eq!(entry("sgd").map(|entry| entry.rule), Ok("sgd"));
    assert_eq!(entry("sgdd").unwrap_err(), "rule sgdd has no entry in crates/thalweg-catalogue/src/entries.rs");
}

#[test]
fn standing_still_stopping_early_and_going_astray_do_not_arrive() -> Result<()> {
    let cpu = Cpu::<f32>::default();
    for entry in entries() {
        let valley = rosenbrock(&cpu, entry, 20)?;
        assert!(arrived(&vec![valley[0].clone()], &ROSENBROCK).is_err(), "{}", entry.rule);
        assert!(arrived(&valley[..=1].to_vec(), &ROSENBROCK).is_err(), "{}", entry.rule);
        let quadratic = quadratic(&cpu, entry, 20)?;
        assert!(arrived(&vec![quadratic[0].clone()], &QUADRATIC).is_err(), "{}", entry.rule);
        assert!(arrived(&quadratic[..=1].to_vec(), &QUADRATIC).is_err(), "{}", entry.rule);
    }
    assert_eq!(arrived(&vec![(1, vec![1.0, f64::NAN])], &ROSENBROCK), Err("NaN from the minimum".into()));
    assert!(arrived(&vec![(1, vec![1.0, 1.04])], &ROSENBROCK).is_err());
    assert_eq!(arrived(&vec![(1, vec![1.0, 1.02])], &ROSENBROCK), Ok(()));
    Ok(())
}

#[test]
fn the_functions_are_what_they_say() {
    assert_eq!((rosenbrock_value(&ROSENBROCK), rosenbrock_gradient(&ROSENBROCK)), (0.0, [0.0, 0.0]));
    let at = [-1.2, 1.0];
    let difference = |i: usize| {
        let moved = |by: f64| rosenbrock_value(&std::array::from_fn::<f64, 2, _>(|j| at[j] + if i == j { by } else { 0.0 }));
        (moved(1e-4) - moved(-1e-4)) / 2e-4
    };
    // A fourth-degree polynomial's central difference is off by its third derivative, 2,880, times a sixth of the step's
    // square.
    assert_close("gradient", &rosenbrock_gradient(&at), &[difference(0), difference(1)], |_| 1e-5);

    assert_eq!(quadratic_value(&QUADRATIC), 0.0);
    for k in 0..SIZE {
        // The columns of the reflection are the eigenvectors.
        let column: Vec<f64> = (0..SIZE).map(|i| f64::from(u8::from(i == k)) - 2.0 / SIZE as f64).collect();
        let eigenvalue = 10f64.powf(k as f64 / 2.0) / 100.0;
        let expected: Vec<f64> = column.iter().map(|x| eigenvalue * x).collect();
        assert_close("eigenvector", &product(&column), &expected, |_| 1e-13);
        let part = column.iter().zip(QUADRATIC).map(|(x, minimum)| x * minimum).sum::<f64>().abs();
        assert!((0.7..1.3).contains(&part), "{part}");
    }
}
