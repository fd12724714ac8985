//! Random cases from seeds: rules, settings, recipes, tensors, lanes, groups, gradients and operations. Their right values are
//! not known, but several runs of each must agree: the oracle with both engines, a lane with a model alone, borrowed memory
//! with the optimizer's own, many steps at once with single steps. A case that fails is reduced and printed.
//!
//! A short run is part of the suite; `scripts/fuzz` runs for as long as you like.

mod case;
mod relations;
mod shrink;
mod subject;

use crate::common::engines::open;
use case::Case;
use relations::{Engines, Failure, Relation, Tally, check};
use shrink::shrink;
use std::time::{Duration, Instant};
use thalweg::cpu::Cpu;
use thalweg::gpu::GpuOptions;

/// Tries to make a failing case small.
const TRIES: usize = 400;

fn engines() -> Engines {
    Engines { oracle: Cpu::default(), cpu: Cpu::default(), gpu: open(GpuOptions::default()) }
}

/// The case of a seed. If it is refused, modifiers are removed until it is accepted, or else all rules but one.
fn case_of(seed: u64) -> Case {
    let mut case = Case::random(seed);
    while case.refusal().is_some() && case.modifiers.pop().is_some() {}
    if case.refusal().is_some() {
        case.rules = vec![case.rules[0].clone(); case.groups];
        case.own.iter_mut().for_each(Vec::clear);
    }
    case
}

/// The first relation that fails.
fn failure(case: &Case, relations: &[Relation], engines: &Engines, tally: &mut Tally) -> Option<Failure> {
    relations.iter().find_map(|&relation| check(case, relation, engines, tally).err())
}

/// The report of a failing case: what fails, the small case, and how to see it again.
fn report(seed: u64, case: &Case, failure: &Failure, engines: &Engines) -> String {
    let fails =
        |case: &Case| case.refusal().is_none() && check(case, failure.relation, engines, &mut Tally::default()).is_err();
    let small = shrink(case, TRIES, fails);
    let what = check(&small, failure.relation, engines, &mut Tally::default())
        .err()
        .map_or_else(|| failure.what.clone(), |found| found.what);
    format!("seed {seed}: {:?} fails: {what}\n{small}again: scripts/fuzz --seed {seed} --cases 1\n", failure.relation)
}

/// Runs the cases of seeds from `first` on. Every second goes to the GPU as well, whose kernels have to be compiled.
fn fuzz(first: u64, mut more: impl FnMut(u64) -> bool, mut found: impl FnMut(String)) -> (u64, Tally) {
    let (engines, mut tally) = (engines(), Tally::default());
    let mut cases = 0;
    while more(cases) {
        let seed = first + cases;
        let case = case_of(seed);
        let relations = Relation::ALL.into_iter().filter(|relation| !relation.is_of_gpu() || seed.is_multiple_of(2));
        let relations: Vec<Relation> = relations.collect();
        if case.refusal().is_none()
            && let Some(failure) = failure(&case, &relations, &engines, &mut tally)
        {
            found(report(seed, &case, &failure, &engines));
        }
        cases += 1;
    }
    (cases, tally)
}

#[test]
fn a_short_run_finds_nothing() {
    let (_, tally) = fuzz(0, |cases| cases < 80, |report| panic!("{report}"));
    assert!(tally.bounded > 10 * tally.unbounded.max(10_000), "too few values have a bound: {tally:?}");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name}={value} is no whole number")))
}

/// For `THALWEG_FUZZ_MINUTES` minutes, or `THALWEG_FUZZ_CASES` cases, from `THALWEG_FUZZ_SEED` on.
#[test]
#[ignore = "as long as one likes: scripts/fuzz"]
fn a_long_run_finds_nothing() {
    let minutes = Duration::from_secs(60 * number("THALWEG_FUZZ_MINUTES").unwrap_or(10));
    let (most, first) = (number("THALWEG_FUZZ_CASES").unwrap_or(u64::MAX), number("THALWEG_FUZZ_SEED").unwrap_or(0));
    let (start, mut findings) = (Instant::now(), 0);
    let more = |cases: u64| {
        if cases.is_multiple_of(500) {
            eprintln!("{cases} cases after {} s", start.elapsed().as_secs());
        }
        cases < most && start.elapsed() < minutes
    };
    let (cases, tally) = fuzz(first, more, |report| {
        eprintln!("{report}");
        findings += 1;
    });
    eprintln!("{cases} cases, {findings} findings, {tally:?}");
    assert_eq!(findings, 0, "of {cases} cases");
}
