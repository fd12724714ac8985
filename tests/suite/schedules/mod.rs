//! Schedules of learning rates: against the trajectories of other libraries, and each against itself.

mod boundaries;
mod composition;
mod equations;
mod errors;
mod every_schedule;
mod nothing;
mod plateau;
mod registry;
mod restarts;
mod serde;
mod torch;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use thalweg::Error;
use thalweg::schedule::*;

/// The largest relative error compared with another implementation in f64.
const RELATIVE: f64 = 1e-12;

/// The first step at which two lists of values differ. NaN and infinity differ from everything.
fn mismatch(got: &[f64], expected: &[f64]) -> Option<String> {
    mismatch_but_for(got, expected, 0.0)
}

/// [`mismatch`] with an absolute error on top, for the rounding of an expected value that is a difference of larger ones.
fn mismatch_but_for(got: &[f64], expected: &[f64], rounding: f64) -> Option<String> {
    if got.len() != expected.len() || expected.is_empty() {
        return Some(format!("{} values against {}", got.len(), expected.len()));
    }
    let differ = |(got, expected): (&f64, &f64)| {
        let bound = RELATIVE * expected.abs() + rounding;
        !(bound.is_finite() && (got - expected).abs() <= bound)
    };
    let i = got.iter().zip(expected).position(differ)?;
    Some(format!("entry {i}: {:e} against {:e}", got[i], expected[i]))
}

/// Values of a schedule that passes its check.
fn values(schedule: &Schedule, steps: impl IntoIterator<Item = u64>) -> Result<Vec<f64>> {
    schedule.check()?;
    Ok(steps.into_iter().map(|t| schedule.value(t)).collect())
}

fn lines(path: &Path) -> Result<Vec<Value>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden").join(name)
}

/// A case's keyword arguments.
struct Args<'a>(&'a Value);

impl Args<'_> {
    fn has(&self, name: &str) -> bool {
        !self.0[name].is_null()
    }

    fn number(&self, name: &str) -> Result<f64> {
        self.0[name].as_f64().with_context(|| format!("{name} of {}", self.0))
    }

    fn number_or(&self, name: &str, default: f64) -> Result<f64> {
        if self.has(name) { self.number(name) } else { Ok(default) }
    }

    fn count(&self, name: &str) -> Result<u64> {
        self.0[name].as_u64().with_context(|| format!("{name} of {}", self.0))
    }

    fn count_or(&self, name: &str, default: u64) -> Result<u64> {
        if self.has(name) { self.count(name) } else { Ok(default) }
    }

    fn flag(&self, name: &str) -> bool {
        self.0[name] == true
    }

    fn text(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_default()
    }

    fn counts(&self, name: &str) -> Result<Vec<u64>> {
        let list = self.0[name].as_array().context(name.to_owned())?;
        list.iter().map(|item| item.as_u64().context(name.to_owned())).collect()
    }

    fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        let list = self.0[name].as_array().context(name.to_owned())?;
        list.iter().map(|item| item.as_f64().context(name.to_owned())).collect()
    }
}

mod comparison {
    use super::*;

    #[test]
    fn different_values_are_a_mismatch() {
        let right = [0.1, 0.2];
        for wrong in [&[0.1, 0.2 + 1e-11][..], &[f64::NAN, 0.2], &[0.1], &[0.1, f64::INFINITY], &[0.1, 0.2, 0.2]] {
            assert!(mismatch(wrong, &right).is_some(), "{wrong:?}");
            assert!(mismatch(&right, wrong).is_some(), "{wrong:?}");
        }
        assert!(mismatch(&[], &[]).is_some());
        assert!(mismatch(&[1e-300], &[0.0]).is_some());
        assert_eq!(mismatch(&right, &right), None);
    }
}

/// One schedule of each kind, with settings that change the value often in the first 200 steps.
pub fn all() -> Vec<Schedule> {
    let lr = 0.3;
    let cyclic = Cyclic { up: 7, down: Some(5), ..Cyclic::new(0.1, lr) };
    let exp_range = Cyclic { mode: Mode::ExpRange, gamma: 0.97, ..cyclic.clone() };
    let cycle = OneCycle::new(lr, 90);
    let cosine = Cosine { to: 0.01, ..Cosine::new(lr, 40) };
    let wsd = Wsd { warmup: 10, stable: 20, ..Wsd::new(lr, 60) };
    vec![
        Constant { value: lr, factor: 0.3, steps: 9 }.into(),
        Step { from: lr, steps: 8, gamma: 0.6 }.into(),
        MultiStep { from: lr, milestones: vec![40, 9, 9, 77], gamma: 0.3 }.into(),
        MultiStep { from: lr, milestones: vec![40, 9, 9, 77], gamma: 1.5 }.into(),
        LinearRamp::new(lr, 0).into(),
        Polynomial { to: 0.2, begin: 4, ..Polynomial::new(lr, 0) }.into(),
        Piecewise { boundaries: vec![3, 50], values: vec![0.1, 0.0, 0.2] }.into(),
        LinearRamp::new(lr, 30).into(),
        Polynomial { power: 0.7, begin: 4, ..Polynomial::new(lr, 30) }.into(),
        Polynomial { to: 0.9, cycle: true, ..Polynomial::new(lr, 30) }.into(),
        Exponential { to: 0.01, ..Exponential::new(lr, 0.9) }.into(),
        Exponential { to: 10.0, steps: 7, staircase: true, ..Exponential::new(lr, 1.5) }.into(),
        Exponential { to: 10.0, ..Exponential::new(0.0, 1.5) }.into(),
        InverseTime { from: lr, gamma: 0.2, steps: 3, staircase: true }.into(),
        cosine.clone().into(),
        Cosine { rises: true, power: 2.0, ..cosine.clone() }.into(),
        Cosine { from: 0.0, to: 0.7, ..cosine.clone() }.into(),
        CosineRestarts::new(lr, 13).into(),
        CosineRestarts { from: lr, steps: 6, growth: 1.3, shrink: 0.9, to: 0.02 }.into(),
        CosineRestarts { growth: f64::MAX, ..CosineRestarts::new(lr, 6) }.into(),
        CosineRestarts { growth: 1.0 + f64::EPSILON, ..CosineRestarts::new(lr, 6) }.into(),
        cyclic.clone().into(),
        Cyclic { mode: Mode::Triangular2, down: None, ..cyclic.clone() }.into(),
        exp_range.momentum(0.8, 0.9).into(),
        Cyclic { down: Some(0), ..cyclic }.into(),
        cycle.clone().into(),
        OneCycle { three_phase: true, shape: Shape::OneMinusSqrt, ..cycle.clone() }.into(),
        OneCycle { pct_start: 0.001, shape: Shape::Linear, ..cycle.clone() }.into(),
        OneCycle { pct_start: 1.0, steps: 1, ..cycle.clone() }.into(),
        cycle.momentum(0.85, 0.95).into(),
        Noam { warmup: 30, ..Default::default() }.into(),
        InverseSqrt { from: lr, timescale: 20 }.into(),
        wsd.clone().into(),
        Wsd { shape: Shape::Linear, to: 0.5, ..wsd.clone() }.into(),
        Schedule::from(cosine.clone()).warmup(9, 0.02),
        Schedule::from(cosine.clone()).scale(0.3).clamp(0.02, 0.05),
        Schedule::from(cosine.clone()).times(wsd.clone()).times(InverseSqrt { from: 0.1, timescale: 3 }),
        Sequence { parts: vec![wsd.into(), 0.2.into(), cosine.into()], milestones: vec![12, 60] }.into(),
    ]
}
