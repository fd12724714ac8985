//! Schedules of learning rates: against the trajectories of other libraries, and each against itself.

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

/// Torch's own trajectories.
mod torch {
    use super::*;

    fn cases() -> Result<Vec<Value>> {
        let path = std::env::var_os("THALWEG_GOLDEN").map_or_else(|| golden("torch.jsonl"), PathBuf::from);
        Ok(lines(&path)?.into_iter().filter(|line| line["kind"] == "schedule").collect())
    }

    fn numbers(case: &Value, field: &str) -> Result<Vec<f64>> {
        Args(case).numbers(field)
    }

    /// The learning rate of a case, and its momentum if it moves.
    fn schedule(case: &Value) -> Result<(Schedule, Option<Schedule>)> {
        let (lr, args) = (Args(case).number("base_lr")?, Args(&case["kwargs"]));
        let schedule = match case["name"].as_str().context("name")? {
            "StepLR" => Step { from: lr, steps: args.count("step_size")?, gamma: args.number("gamma")? }.into(),
            "MultiStepLR" => {
                MultiStep { from: lr, milestones: args.counts("milestones")?, gamma: args.number("gamma")? }.into()
            }
            "ConstantLR" => Constant { value: lr, factor: args.number("factor")?, steps: args.count("total_iters")? }.into(),
            "LinearLR" => LinearRamp {
                value: lr,
                start_factor: args.number("start_factor")?,
                end_factor: args.number("end_factor")?,
                steps: args.count("total_iters")?,
            }
            .into(),
            "ExponentialLR" => Exponential::new(lr, args.number("gamma")?).into(),
            "PolynomialLR" => {
                let (steps, power) = (args.count("total_iters")?, args.number("power")?);
                Polynomial { power, ..Polynomial::new(lr, steps) }.into()
            }
            "CosineAnnealingLR" => {
                let (steps, end) = (args.count("T_max")?, args.number("eta_min")?);
                Cosine { to: end, rises: true, ..Cosine::new(lr, steps) }.into()
            }
            "CosineAnnealingWarmRestarts" => {
                let (steps, growth, end) = (args.count("T_0")?, args.number("T_mult")?, args.number("eta_min")?);
                CosineRestarts { growth, to: end, ..CosineRestarts::new(lr, steps) }.into()
            }
            "CyclicLR" => {
                let (mode, gamma) = match args.text("mode") {
                    "exp_range" => (Mode::ExpRange, args.number("gamma")?),
                    "triangular2" => (Mode::Triangular2, 1.0),
                    _ => (Mode::Triangular, 1.0),
                };
                let cyclic = Cyclic {
                    from: args.number("base_lr")?,
                    peak: args.number("max_lr")?,
                    up: args.count("step_size_up")?,
                    down: Some(args.count("step_size_down")?),
                    mode,
                    gamma,
                };
                return Ok((cyclic.clone().into(), Some(cyclic.momentum(0.8, 0.9).into())));
            }
            "OneCycleLR" => {
                let usual = OneCycle::new(1.0, 0);
                let cycle = OneCycle {
                    peak: args.number("max_lr")?,
                    steps: args.count("total_steps")?,
                    pct_start: args.number_or("pct_start", usual.pct_start)?,
                    div: args.number_or("div_factor", usual.div)?,
                    final_div: args.number_or("final_div_factor", usual.final_div)?,
                    shape: if args.text("anneal_strategy") == "linear" { Shape::Linear } else { usual.shape },
                    three_phase: args.flag("three_phase"),
                };
                return Ok((cycle.clone().into(), Some(cycle.momentum(0.85, 0.95).into())));
            }
            other => anyhow::bail!("unknown schedule {other}"),
        };
        Ok((schedule, None))
    }

    fn plateau(case: &Value) -> Result<Plateau> {
        let args = Args(&case["kwargs"]);
        let settings = ReduceLrOnPlateau {
            goal: if args.text("mode") == "max" { Extreme::Max } else { Extreme::Min },
            factor: args.number("factor")?,
            patience: args.count("patience")?,
            threshold: Threshold::Factor(args.number("threshold")?),
            cooldown: args.count("cooldown")?,
            to: args.number("min_lr")?,
            ..ReduceLrOnPlateau::new(Args(case).number("base_lr")?)
        };
        Ok(settings.start()?)
    }

    #[test]
    fn every_step_is_torchs() -> Result<()> {
        let cases = cases()?;
        assert_eq!(cases.len(), 16);
        let mut momenta = 0;
        for case in &cases {
            let expected = numbers(case, "lr")?;
            if case["name"] == "ReduceLROnPlateau" {
                let mut plateau = plateau(case)?;
                let got: Vec<f64> = numbers(case, "metric")?.into_iter().map(|metric| plateau.step(metric)).collect();
                assert_eq!(mismatch(&got, &expected), None, "{}", case["kwargs"]);
                continue;
            }
            let (lr, momentum) = schedule(case)?;
            let steps = 0..expected.len() as u64;
            // Torch's line, start + (end - start) · q, ends at max_lr / 250 000 as a difference of rates near max_lr.
            let line = case["kwargs"]["anneal_strategy"] == "linear";
            let rounding = if line { f64::EPSILON * lr.bound() } else { 0.0 };
            let mismatch_lr = mismatch_but_for(&values(&lr, steps.clone())?, &expected, rounding);
            assert_eq!(mismatch_lr, None, "{} {}", case["name"], case["kwargs"]);
            assert_eq!(momentum.is_some(), !case["momentum"].is_null());
            if let Some(momentum) = momentum {
                let (got, expected) = (values(&momentum, steps)?, numbers(case, "momentum")?);
                assert_eq!(mismatch(&got, &expected), None, "momentum of {} {}", case["name"], case["kwargs"]);
                momenta += 1;
            }
        }
        assert_eq!(momenta, 7);
        Ok(())
    }

    #[test]
    fn a_shifted_step_is_detected() -> Result<()> {
        for case in cases()?.iter().filter(|case| case["name"] != "ReduceLROnPlateau") {
            let (lr, momentum) = schedule(case)?;
            for (field, schedule) in [("lr", Some(lr)), ("momentum", momentum)] {
                let Some(schedule) = schedule else { continue };
                let expected = numbers(case, field)?;
                let late = values(&schedule, 1..=expected.len() as u64)?;
                assert!(mismatch(&late, &expected).is_some(), "{field} of {} {}", case["name"], case["kwargs"]);
            }
        }
        Ok(())
    }

    #[test]
    fn a_rate_that_is_off_by_a_billionth_is_detected() -> Result<()> {
        for case in cases()?.iter().filter(|case| case["name"] != "ReduceLROnPlateau") {
            let expected = numbers(case, "lr")?;
            let schedule = schedule(case)?.0.scale(1.0 + 1e-9);
            let (got, rounding) = (values(&schedule, 0..expected.len() as u64)?, f64::EPSILON * schedule.bound());
            assert!(mismatch_but_for(&got, &expected, rounding).is_some(), "{}", case["name"]);
        }
        Ok(())
    }

    #[test]
    fn a_plateau_with_other_settings_is_detected() -> Result<()> {
        let cases = cases()?;
        let case = cases.iter().find(|case| case["name"] == "ReduceLROnPlateau").context("no plateau")?;
        let (metric, expected) = (numbers(case, "metric")?, numbers(case, "lr")?);
        for (field, value) in [("patience", 3.0), ("cooldown", 2.0), ("factor", 0.4), ("min_lr", 0.01), ("threshold", 0.2)] {
            let mut other = case.clone();
            other["kwargs"][field] = if value >= 1.0 { Value::from(value as u64) } else { Value::from(value) };
            let mut plateau = plateau(&other)?;
            let got: Vec<f64> = metric.iter().map(|&metric| plateau.step(metric)).collect();
            assert!(mismatch(&got, &expected).is_some(), "{field}");
        }
        Ok(())
    }
}

/// Equations of Keras, optax and the papers, computed by another program.
mod equations {
    use super::*;

    fn schedule(case: &Value) -> Result<Schedule> {
        let args = Args(&case["kwargs"]);
        Ok(match case["name"].as_str().context("name")? {
            "SWALR" => {
                let (lr, end, steps) = (args.number("lr")?, args.number("swa_lr")?, args.count("anneal_epochs")?);
                match args.text("anneal_strategy") {
                    "cos" => Cosine { to: end, ..Cosine::new(lr, steps) }.into(),
                    _ => Polynomial { to: end, ..Polynomial::new(lr, steps) }.into(),
                }
            }
            "SequentialLR" => {
                let (lr, gamma) = (args.number("lr")?, args.number("gamma")?);
                let first = Schedule::from(lr * args.number("factor")?);
                let parts = vec![first, Exponential::new(lr, gamma).into()];
                Sequence { parts, milestones: vec![args.count("milestone")?] }.into()
            }
            "ChainedScheduler" => {
                let constant = Constant { value: 1.0, factor: args.number("factor")?, steps: args.count("total_iters")? };
                let (lr, gamma) = (args.number("lr")?, args.number("gamma")?);
                Schedule::from(Exponential::new(lr, gamma)).times(constant)
            }
            "LambdaLR" => {
                let lr = args.number("lr")?;
                Piecewise::sampled(5001, |t| lr * (2.0 + (t as f64).cos())).into()
            }
            "ExponentialDecay" => Exponential {
                steps: args.count("decay_steps")?,
                staircase: args.flag("staircase"),
                ..Exponential::new(args.number("initial_learning_rate")?, args.number("decay_rate")?)
            }
            .into(),
            "InverseTimeDecay" => InverseTime {
                from: args.number("initial_learning_rate")?,
                gamma: args.number("decay_rate")?,
                steps: args.count("decay_steps")?,
                staircase: args.flag("staircase"),
            }
            .into(),
            "PiecewiseConstantDecay" => {
                Piecewise { boundaries: args.counts("boundaries")?, values: args.numbers("values")? }.into()
            }
            "PolynomialDecay" => Polynomial {
                to: args.number("end_learning_rate")?,
                power: args.number("power")?,
                cycle: args.flag("cycle"),
                ..Polynomial::new(args.number("initial_learning_rate")?, args.count("decay_steps")?)
            }
            .into(),
            "CosineDecay" => {
                let start = args.number("initial_learning_rate")?;
                let lr = args.number_or("warmup_target", start)?;
                let (steps, end) = (args.count("decay_steps")?, lr * args.number("alpha")?);
                let cosine = Cosine { to: end, ..Cosine::new(lr, steps) };
                Schedule::from(cosine).warmup(args.count_or("warmup_steps", 0)?, start)
            }
            "CosineDecayRestarts" => {
                let lr = args.number("initial_learning_rate")?;
                CosineRestarts {
                    from: lr,
                    to: lr * args.number("alpha")?,
                    steps: args.count("first_decay_steps")?,
                    growth: args.number("t_mul")?,
                    shrink: args.number("m_mul")?,
                }
                .into()
            }
            "linear_schedule" | "polynomial_schedule" => Polynomial {
                to: args.number("end_value")?,
                power: args.number_or("power", 1.0)?,
                begin: args.count("transition_begin")?,
                ..Polynomial::new(args.number("init_value")?, args.count("transition_steps")?)
            }
            .into(),
            name @ ("exponential_decay" | "warmup_exponential_decay_schedule") => {
                let warm = name.starts_with("warmup");
                let schedule = Schedule::from(Exponential {
                    from: args.number(if warm { "peak_value" } else { "init_value" })?,
                    gamma: args.number("decay_rate")?,
                    steps: args.count("transition_steps")?,
                    begin: args.count_or("transition_begin", 0)?,
                    staircase: args.flag("staircase"),
                    to: args.number_or("end_value", 0.0)?,
                });
                if warm { schedule.warmup(args.count("warmup_steps")?, args.number("init_value")?) } else { schedule }
            }
            "cosine_decay_schedule" => {
                let lr = args.number("init_value")?;
                let (end, power) = (lr * args.number("alpha")?, args.number("exponent")?);
                Cosine { from: lr, to: end, power, steps: args.count("decay_steps")?, rises: false }.into()
            }
            "warmup_constant_schedule" => {
                let peak = Schedule::from(args.number("peak_value")?);
                peak.warmup(args.count("warmup_steps")?, args.number("init_value")?)
            }
            "warmup_cosine_decay_schedule" => {
                let (lr, end, warmup) = (args.number("peak_value")?, args.number("end_value")?, args.count("warmup_steps")?);
                let cosine = Cosine { to: end, ..Cosine::new(lr, args.count("decay_steps")? - warmup) };
                Schedule::from(cosine).warmup(warmup, args.number("init_value")?)
            }
            "join_schedules" => {
                let falling = Exponential { steps: 10, ..Exponential::new(0.5, 0.5) };
                let line = Polynomial::new(0.4, 20);
                let parts = vec![falling.into(), 0.25.into(), line.into()];
                Sequence { parts, milestones: args.counts("boundaries")? }.into()
            }
            "piecewise_constant_schedule" => {
                let (first, scales) = (args.number("init_value")?, args.numbers("scales")?);
                let values = [first, first * scales[0], first * scales[0] * scales[1]];
                Sequence { parts: values.map(Schedule::from).into(), milestones: args.counts("boundaries")? }.into()
            }
            "noam" => Noam { factor: args.number("factor")?, model_size: args.count("d")?, warmup: args.count("w")? }.into(),
            "fairseq_inverse_sqrt" => {
                let warmup = args.count("w")?;
                let decay = InverseSqrt { from: args.number("lr")?, timescale: warmup };
                Schedule::from(decay).warmup(warmup, args.number("init")?)
            }
            "transformers_inverse_sqrt" => {
                let decay = InverseSqrt { from: args.number("lr")?, timescale: args.count("timescale")? };
                Schedule::from(decay).warmup(args.count("w")?, 0.0)
            }
            "wsd" => Wsd {
                peak: args.number("lr")?,
                warmup: args.count("w")?,
                stable: args.count("s")?,
                decay: args.count("d")?,
                to: args.number("end")?,
                shape: match args.text("shape") {
                    "linear" => Shape::Linear,
                    "cosine" => Shape::Cosine,
                    _ => Shape::OneMinusSqrt,
                },
            }
            .into(),
            other => anyhow::bail!("unknown schedule {other}"),
        })
    }

    /// Name, schedule, steps and values.
    type Case = (String, Schedule, Vec<u64>, Vec<f64>);

    fn cases() -> Result<Vec<Case>> {
        let mut cases = Vec::new();
        for case in lines(&golden("schedules.jsonl"))? {
            let args = Args(&case);
            let name = format!("{} {} {}", args.text("library"), args.text("name"), case["kwargs"]);
            cases.push((name, schedule(&case)?, args.counts("steps")?, args.numbers("value")?));
        }
        Ok(cases)
    }

    #[test]
    fn every_value_follows_its_equation() -> Result<()> {
        let cases = cases()?;
        assert_eq!(cases.len(), 34);
        for (name, schedule, steps, expected) in cases {
            ensure!(expected.len() > 60);
            assert_eq!(mismatch(&values(&schedule, steps)?, &expected), None, "{name}");
        }
        Ok(())
    }

    #[test]
    fn a_shifted_step_is_detected() -> Result<()> {
        for (name, schedule, steps, expected) in cases()? {
            let late = values(&schedule, steps.iter().map(|step| step + 1))?;
            assert!(mismatch(&late, &expected).is_some(), "{name}");
        }
        Ok(())
    }

    #[test]
    fn a_rate_that_is_off_by_a_billionth_is_detected() -> Result<()> {
        for (name, schedule, steps, expected) in cases()? {
            assert!(mismatch(&values(&schedule.scale(1.0 + 1e-9), steps)?, &expected).is_some(), "{name}");
        }
        Ok(())
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

mod restarts {
    use super::*;

    /// Starts of periods as whole numbers of steps, or the last whole number before: sums of steps · (p/q)ⁱ in whole numbers.
    /// Each with whether it is exact.
    fn starts(steps: u128, p: u128, q: u128, count: u32) -> Vec<(u64, bool)> {
        let mut starts = vec![(0, true)];
        // start = sum / qⁱ
        let (mut sum, mut term, mut scale) = (0u128, steps, 1u128);
        for _ in 0..count {
            sum += term;
            starts.push(((sum / scale) as u64, sum % scale == 0));
            let grown = (|| Some((term.checked_mul(p)?, sum.checked_mul(q)?, scale.checked_mul(q)?)))();
            let Some(grown) = grown.filter(|(term, sum, _)| *term < 1 << 126 && *sum < 1 << 126) else { break };
            (term, sum, scale) = grown;
        }
        starts
    }

    /// Every period starts at the first whole step at or after its start, and with the full value if the start is exact.
    fn check(steps: u64, p: u64, q: u64) -> Result<usize> {
        let growth = p as f64 / q as f64;
        let schedule = Schedule::from(CosineRestarts { growth, shrink: 0.5, ..CosineRestarts::new(1.0, steps) });
        schedule.check()?;
        let mut exact_ones = 0;
        for (i, (start, exact)) in
            starts(steps.into(), p.into(), q.into(), 40).into_iter().enumerate().take_while(|(_, (start, _))| *start < 1 << 50)
        {
            let height = 0.5f64.powi(i as i32);
            let before = schedule.value(if exact { start.wrapping_sub(1) } else { start });
            let value = schedule.value(if exact { start } else { start + 1 });
            let what = format!("{steps} steps, growth {p}/{q}, period {i} at {start}, exactly {exact}: {before} and {value}");
            // The first step of a period is in its upper half, the last one before it in the lower half of the period before.
            if exact {
                ensure!(value == height, "{what}");
                exact_ones += 1;
            }
            ensure!(value <= height && value > 0.5 * height || steps < 3, "{what}");
            ensure!(i == 0 || steps < 3 || before < height, "{what}");
        }
        Ok(exact_ones)
    }

    #[test]
    fn begin_where_the_sum_of_lengths_says() -> Result<()> {
        // 10 + 13, which the binary 1.3 exceeds.
        let schedule = Schedule::from(CosineRestarts { growth: 1.3, ..CosineRestarts::new(1.0, 10) });
        assert_eq!([10, 23].map(|t| schedule.value(t)), [1.0; 2]);
        assert!(schedule.value(22) < 0.02 && schedule.value(39) < 0.02 && schedule.value(40) > 0.99);
        let mut random = fastrand::Rng::with_seed(7);
        let mut exact = 0;
        for _ in 0..3_000 {
            let q = [1, 2, 3, 5, 7, 10, 20, 64, 100, 1_000, 4_096, 99_991][random.usize(..12)];
            let p = q + random.u64(1..=3 * q);
            let steps = random.u64(3..50) * if random.bool() { q.pow(random.u32(0..3)).min(1 << 40) } else { 1 };
            exact += check(steps, p, q)?;
        }
        assert!(exact > 10_000, "{exact} exact starts were tried");
        Ok(())
    }

    #[test]
    fn of_hardly_growing_lengths_are_as_far_apart_as_they_should() -> Result<()> {
        // Lengths of 1000, 1001, 1002.001, …: the first fractions of a step add up slowly.
        for (steps, p, q) in [(1_000, 1_001, 1_000), (10_000_000, 10_000_001, 10_000_000), (3, (1 << 52) + 1, 1 << 52)] {
            check(steps, p, q)?;
        }
        Ok(())
    }
}

mod every_schedule {
    use super::*;

    const FAR: [u64; 9] =
        [1 << 20, (1 << 32) + 1, 1 << 52, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, 1 << 63, u64::MAX - 1, u64::MAX];

    #[test]
    fn is_finite_not_negative_and_within_its_bound_at_any_step() -> Result<()> {
        for schedule in all() {
            let bound = schedule.bound();
            for (t, value) in (0..2000).chain(FAR).zip(values(&schedule, (0..2000).chain(FAR))?) {
                // Interpolation may exceed its larger end by a rounding error.
                ensure!(value >= 0.0 && value <= bound * (1.0 + 4.0 * f64::EPSILON), "{value} at {t} of {schedule:?}");
            }
        }
        Ok(())
    }

    #[test]
    fn is_the_same_in_any_order() -> Result<()> {
        let mut steps: Vec<u64> = (0..500).chain(FAR).collect();
        let mut random = fastrand::Rng::with_seed(3);
        for schedule in all() {
            let forward: Vec<(u64, f64)> = steps.iter().map(|&t| (t, schedule.value(t))).collect();
            random.shuffle(&mut steps);
            let copy = schedule.clone();
            for (t, value) in forward {
                ensure!(copy.value(t).to_bits() == value.to_bits(), "step {t} of {schedule:?}");
            }
            assert!(steps.iter().all(|&t| copy.value(t).to_bits() == schedule.value(t).to_bits()));
            assert_eq!(copy, schedule);
        }
        Ok(())
    }

    #[test]
    fn differs_from_every_other() {
        let all = all();
        for (i, one) in all.iter().enumerate() {
            assert!(all[..i].iter().all(|other| other != one), "{one:?}");
        }
    }

    #[test]
    fn with_settings_that_fail_the_check_does_not_panic() {
        let broken: [Schedule; 14] = [
            Step::new(1.0, 0).into(),
            Piecewise::default().into(),
            LinearRamp { start_factor: f64::NAN, ..LinearRamp::new(1.0, 0) }.into(),
            Polynomial { cycle: true, ..Polynomial::new(1.0, 0) }.into(),
            Exponential { steps: 0, staircase: true, ..Exponential::new(1.0, 0.0) }.into(),
            InverseTime { steps: 0, staircase: true, ..InverseTime::new(1.0, 0.0) }.into(),
            Cosine { rises: true, ..Cosine::new(1.0, 0) }.into(),
            CosineRestarts { growth: 0.5, ..CosineRestarts::new(1.0, 0) }.into(),
            Cyclic { up: 0, down: Some(0), ..Cyclic::new(0.0, 1.0) }.into(),
            OneCycle { pct_start: f64::NAN, div: 0.0, ..OneCycle::new(1.0, 0) }.into(),
            Noam { warmup: 0, model_size: 0, ..Default::default() }.into(),
            Wsd::new(1.0, 0).into(),
            Sequence { parts: Vec::new(), milestones: vec![4] }.into(),
            Schedule::from(1.0).clamp(2.0, f64::NAN),
        ];
        for schedule in broken {
            assert!(schedule.check().is_err(), "{schedule:?}");
            for t in (0..30).chain(FAR) {
                schedule.value(t);
            }
        }
    }
}

mod nothing {
    use super::*;

    #[test]
    fn a_line_or_a_decay_of_no_steps_is_over_at_once() -> Result<()> {
        let line = LinearRamp { value: 0.5, start_factor: 0.1, end_factor: 0.8, steps: 0 };
        assert_eq!(values(&line.into(), [0, 1, 9, u64::MAX])?, [0.4; 4]);
        let decay = Polynomial { to: 0.1, power: 2.0, ..Polynomial::new(0.5, 0) };
        assert_eq!(values(&decay.clone().into(), [0, 1, 9])?, [0.1; 3]);
        assert_eq!(values(&Polynomial { begin: 2, ..decay.clone() }.into(), [0, 1, 2, 3])?, [0.5, 0.5, 0.1, 0.1]);
        let error = Schedule::from(Polynomial { cycle: true, ..decay }).check().expect_err("no length to repeat");
        assert_eq!(error.to_string(), "steps = 0 is out of range: at least 1 with cycle");
        // A factor for a warm-up of 0 steps, with which a configuration switches it off.
        let plain = Schedule::from(Cosine::new(0.3, 9));
        let warmed = plain.clone().times(LinearRamp { start_factor: 0.0, ..LinearRamp::new(1.0, 0) });
        assert_eq!(values(&warmed, 0..20)?, values(&plain, 0..20)?);
        Ok(())
    }

    #[test]
    fn what_a_file_leaves_out_and_has_no_default_is_an_error() -> Result<()> {
        for (text, field, example) in [
            (r#"{"linear": {"value": 1}}"#, "the schedule needs steps", "steps: 1000"),
            (r#"{"polynomial": {"from": 1}}"#, "the schedule needs steps", "steps: 1000"),
            (r#"{"constant": {}}"#, "a schedule needs value", "value = 0.001"),
            (r#"{"linear": {"steps": 3}}"#, "a schedule needs value", "value = 0.001"),
            (r#"{"step": {"steps": 3}}"#, "a schedule needs from", "from = 0.001"),
            (r#"{"multi_step": {"milestones": [3]}}"#, "a schedule needs from", "from = 0.001"),
            (r#"{"polynomial": {"steps": 3}}"#, "a schedule needs from", "from = 0.001"),
            (r#"{"exponential": {"gamma": 0.5}}"#, "a schedule needs from", "from = 0.001"),
            (r#"{"inverse_time": {"gamma": 0.5}}"#, "a schedule needs from", "from = 0.001"),
            (r#"{"inverse_sqrt": {}}"#, "a schedule needs from", "from = 0.001"),
            (r#"{"cosine": {"steps": 3}}"#, "a schedule needs from", "from = 0.001"),
            (r#"{"cosine_restarts": {"steps": 3}}"#, "a schedule needs from", "from = 0.001"),
            (r#"{"cyclic": {"peak": 1}}"#, "a schedule needs from", "from = 0.001"),
            (r#"{"cyclic": {"from": 0}}"#, "a schedule needs peak", "peak = 0.001"),
            (r#"{"one_cycle": {"steps": 3}}"#, "a schedule needs peak", "peak = 0.001"),
            (r#"{"wsd": {"decay": 3}}"#, "a schedule needs peak", "peak = 0.001"),
            (r#"{"warmup": {"start": 0, "steps": 1, "then": {"cosine": {"steps": 3}}}}"#, "needs from", "from = 0.001"),
        ] {
            let error = serde_json::from_str::<Schedule>(text)?.check().expect_err(text).to_string();
            assert!(error.contains(field) && error.ends_with(example), "{text}: {error}");
        }
        Ok(())
    }

    #[test]
    fn a_gamma_above_1_grows_at_each_milestone() -> Result<()> {
        let growing = Schedule::from(MultiStep { from: 0.25, milestones: vec![2, 5, 5], gamma: 2.0 });
        assert_eq!(values(&growing, [0, 1, 2, 4, 5, 99])?, [0.25, 0.25, 0.5, 0.5, 2.0, 2.0]);
        assert_eq!(growing.bound(), 2.0);
        let error = Schedule::from(MultiStep { from: 1.0, milestones: (0..2_000).collect(), gamma: 2.0 }).check();
        assert_eq!(error.expect_err("infinity").to_string(), "bound = inf is out of range: finite");
        Ok(())
    }
}

mod composition {
    use super::*;

    fn same(left: &Schedule, right: &Schedule) -> Result<()> {
        assert_eq!(values(left, 0..300)?, values(right, 0..300)?, "{left:?} and {right:?}");
        Ok(())
    }

    #[test]
    fn neutral_elements_change_nothing() -> Result<()> {
        for schedule in all() {
            same(&schedule.clone().warmup(0, 0.7), &schedule)?;
            same(&schedule.clone().scale(1.0), &schedule)?;
            same(&schedule.clone().clamp(0.0, 1e9), &schedule)?;
            same(&schedule.clone().times(1.0), &schedule)?;
            same(&Product(vec![schedule.clone()]).into(), &schedule)?;
            same(&Sequence { parts: vec![schedule.clone()], milestones: Vec::new() }.into(), &schedule)?;
        }
        Ok(())
    }

    #[test]
    fn a_factor_of_a_constant_is_a_scale() -> Result<()> {
        for schedule in all() {
            same(&Schedule::from(0.3).times(schedule.clone()), &schedule.scale(0.3))?;
        }
        Ok(())
    }

    #[test]
    fn a_warmup_is_a_line_and_then_the_rest_from_its_start() -> Result<()> {
        for schedule in all() {
            let line = Polynomial { to: schedule.value(0), ..Polynomial::new(0.02, 17) };
            let joined = Sequence { parts: vec![line.into(), schedule.clone()], milestones: vec![17] };
            same(&schedule.warmup(17, 0.02), &joined.into())?;
        }
        Ok(())
    }

    #[test]
    fn sequences_nest() -> Result<()> {
        let [a, b, c] = [0.1, 0.2, 0.3].map(|lr| Schedule::from(Exponential::new(lr, 0.9)));
        let flat = Sequence { parts: vec![a.clone(), b.clone(), c.clone()], milestones: vec![10, 25] };
        let later = Sequence { parts: vec![b, c], milestones: vec![15] };
        same(&Sequence { parts: vec![a, later.into()], milestones: vec![10] }.into(), &flat.into())
    }

    #[test]
    fn a_chain_is_the_product_of_its_values() -> Result<()> {
        for pair in all().windows(2) {
            let product = pair[0].clone().times(pair[1].clone());
            let expected: Vec<f64> = (0..300).map(|t| pair[0].value(t) * pair[1].value(t)).collect();
            assert_eq!(values(&product, 0..300)?, expected);
        }
        Ok(())
    }
}

/// The steps before, at and after a boundary.
mod boundaries {
    use super::*;

    #[track_caller]
    fn around(schedule: impl Into<Schedule>, boundary: u64, expected: [f64; 3]) {
        let got = values(&schedule.into(), boundary - 1..=boundary + 1).unwrap_or_default();
        assert_eq!(mismatch(&got, &expected), None, "{got:?} against {expected:?}");
    }

    #[test]
    fn torchs_jumps_are_in_force_at_the_boundary() {
        around(Step { from: 1.0, steps: 10, gamma: 0.5 }, 10, [1.0, 0.5, 0.5]);
        around(Step { from: 1.0, steps: 10, gamma: 0.5 }, 20, [0.5, 0.25, 0.25]);
        around(MultiStep { from: 1.0, milestones: vec![10], gamma: 0.5 }, 10, [1.0, 0.5, 0.5]);
        around(MultiStep { from: 1.0, milestones: vec![20, 10, 20], gamma: 0.5 }, 20, [0.5, 0.125, 0.125]);
        around(Constant { value: 1.0, factor: 0.5, steps: 10 }, 10, [0.5, 1.0, 1.0]);
        around(Sequence { parts: vec![0.1.into(), 0.2.into()], milestones: vec![10] }, 10, [0.1, 0.2, 0.2]);
    }

    #[test]
    fn keras_boundaries_belong_to_the_value_before() {
        around(Piecewise { boundaries: vec![10], values: vec![0.1, 0.2] }, 10, [0.1, 0.1, 0.2]);
    }

    #[test]
    fn a_staircase_jumps_at_the_boundary() {
        let stairs = Exponential { steps: 10, staircase: true, ..Exponential::new(1.0, 0.5) };
        around(stairs.clone(), 10, [1.0, 0.5, 0.5]);
        around(Exponential { begin: 5, ..stairs }, 15, [1.0, 0.5, 0.5]);
        around(InverseTime { from: 1.0, gamma: 1.0, steps: 10, staircase: true }, 10, [1.0, 0.5, 0.5]);
    }

    #[test]
    fn ends_are_reached_and_held() {
        around(LinearRamp { value: 1.0, start_factor: 0.0, end_factor: 1.0, steps: 10 }, 10, [0.9, 1.0, 1.0]);
        around(Polynomial { to: 0.5, ..Polynomial::new(1.0, 10) }, 10, [0.55, 0.5, 0.5]);
        around(Polynomial { cycle: true, ..Polynomial::new(1.0, 10) }, 10, [0.1, 0.0, 0.45]);
        let cosine = Cosine::new(1.0, 3);
        around(cosine.clone(), 3, [0.25, 0.0, 0.0]);
        around(Cosine { rises: true, ..cosine }, 3, [0.25, 0.0, 0.25]);
        around(Wsd { shape: Shape::Linear, ..Wsd::new(1.0, 4) }, 4, [0.25, 0.0, 0.0]);
    }

    #[test]
    fn a_restart_has_the_full_rate() {
        around(CosineRestarts::new(1.0, 3), 3, [0.25, 1.0, 0.75]);
        around(
            CosineRestarts { growth: 2.0, ..CosineRestarts::new(1.0, 3) },
            9,
            [0.5 - 0.1875_f64.sqrt(), 1.0, { 0.5 + 0.5 * (std::f64::consts::PI / 12.0).cos() }],
        );
        around(CosineRestarts { shrink: 0.5, ..CosineRestarts::new(1.0, 3) }, 3, [0.25, 0.5, 0.375]);
    }

    #[test]
    fn the_first_restarts_are_found_for_any_growth() -> Result<()> {
        for growth in [1.0, 1.25, 1.5, 2.0, 3.0, 7.0, 10.0] {
            let schedule = Schedule::from(CosineRestarts { growth, ..CosineRestarts::new(1.0, 64) });
            let (mut start, mut length) = (0.0, 64.0);
            // Starts are whole numbers as long as the lengths are.
            while length % 1.0 == 0.0 && start < 1e12 {
                assert_eq!(schedule.value(start as u64), 1.0, "{start} of {growth}");
                assert!(start == 0.0 || schedule.value(start as u64 - 1) < 0.01, "before {start} of {growth}");
                (start, length) = (start + length, length * growth);
                if growth == 1.0 && start > 1e5 {
                    break;
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_restart_is_found_where_its_logarithm_rounds_up() {
        let restart = (1 << 53) - 1;
        let schedule = Schedule::from(CosineRestarts { growth: 2.0, ..CosineRestarts::new(1.0, 1) });
        assert!(schedule.value(restart - 1) < 1e-9);
        assert_eq!(schedule.value(restart), 1.0);
    }

    #[test]
    fn warmups_end_where_the_rest_begins() {
        around(Schedule::from(1.0).warmup(4, 0.0), 4, [0.75, 1.0, 1.0]);
        around(Wsd { warmup: 4, stable: 9, ..Wsd::new(1.0, 1) }, 4, [0.75, 1.0, 1.0]);
        around(Wsd { warmup: 4, stable: 9, shape: Shape::Linear, ..Wsd::new(1.0, 2) }, 13, [1.0, 1.0, 0.5]);
    }

    #[test]
    fn a_cycle_turns_at_its_top_and_at_its_foot() {
        let cyclic = Cyclic { up: 4, down: Some(2), ..Cyclic::new(0.0, 1.0) };
        around(cyclic.clone(), 4, [0.75, 1.0, 0.5]);
        around(cyclic.clone(), 6, [0.5, 0.0, 0.25]);
        around(Cyclic { mode: Mode::Triangular2, ..cyclic.clone() }, 10, [0.375, 0.5, 0.25]);
        around(Cyclic { down: None, ..cyclic }, 8, [0.25, 0.0, 0.25]);
    }

    #[test]
    fn one_cycle_holds_its_last_rate_where_torch_raises() {
        let cycle = OneCycle { div: 2.0, final_div: 5.0, shape: Shape::Linear, ..OneCycle::new(1.0, 10) };
        around(cycle.clone(), 2, [0.75, 1.0, 1.0 - 0.9 / 7.0]);
        around(cycle.clone(), 9, [0.1 + 0.9 / 7.0, 0.1, 0.1]);
        around(OneCycle { three_phase: true, ..cycle }, 4, [0.75, 0.5, 0.42]);
    }
}

/// Settings out of range, and their errors.
mod errors {
    use super::*;

    #[track_caller]
    fn says(schedule: impl Into<Schedule>, expected: &str) {
        let text = schedule.into().check().err().map_or("no error".into(), |error| error.to_string());
        assert_eq!(text, expected);
    }

    /// Sets one field at a time to each of the bad values.
    macro_rules! refuse {
        ($base:expr => $($field:ident: $allowed:literal [$($bad:expr),*]),* $(,)?) => {
            let base = $base;
            assert_eq!(Schedule::from(base.clone()).check(), Ok(()));
            $($({
                let mut bad = base.clone();
                bad.$field = $bad;
                let shown = bad.$field.to_string();
                says(bad, &format!(concat!(stringify!($field), " = {} is out of range: ", $allowed), shown));
            })*)*
        };
    }

    const NAN: f64 = f64::NAN;
    const INF: f64 = f64::INFINITY;

    #[test]
    fn stairs() {
        refuse!(Constant::new(1.0) =>
            value: "finite and at least 0" [-0.1, NAN, INF], factor: "finite and at least 0" [-0.1, NAN, INF]);
        refuse!(Step::new(1.0, 1) =>
            from: "finite and at least 0" [-0.1, NAN, INF], steps: "at least 1" [0],
            gamma: "above 0 and at most 1" [0.0, -0.5, 1.1, NAN, INF]);
        let multi = MultiStep::new(1.0, vec![3]);
        refuse!(multi.clone() =>
            from: "finite and at least 0" [-0.1, NAN, INF], gamma: "finite and above 0" [0.0, -0.5, NAN, INF]);
        says(MultiStep { milestones: Vec::new(), ..multi }, "milestones is empty");
        let piecewise = Piecewise { boundaries: vec![2, 5], values: vec![0.1, 0.2, 0.3] };
        says(
            Piecewise { boundaries: vec![5, 2], ..piecewise.clone() },
            "boundaries = [5, 2] is out of range: each larger than the one before",
        );
        says(
            Piecewise { boundaries: vec![5, 5], ..piecewise.clone() },
            "boundaries = [5, 5] is out of range: each larger than the one before",
        );
        says(Piecewise { boundaries: vec![5], ..piecewise.clone() }, "values: 3 found, 2 expected");
        for bad in [-0.1, NAN, INF] {
            let expected = format!("values[1] = {bad} is out of range: finite and at least 0");
            says(Piecewise { values: vec![0.1, bad, 0.3], ..piecewise.clone() }, &expected);
        }
    }

    #[test]
    fn decays() {
        refuse!(LinearRamp::new(1.0, 1) =>
            value: "finite and at least 0" [-0.1, NAN, INF], start_factor: "finite and at least 0" [-0.1, NAN, INF],
            end_factor: "finite and at least 0" [-0.1, NAN, INF]);
        refuse!(Polynomial { cycle: true, ..Polynomial::new(1.0, 1) } =>
            from: "finite and at least 0" [-0.1, NAN, INF], to: "finite and at least 0" [-0.1, NAN, INF],
            steps: "at least 1 with cycle" [0], power: "finite and above 0" [0.0, -1.0, NAN, INF]);
        let exponential = Exponential::new(1.0, 0.5);
        refuse!(exponential.clone() =>
            from: "finite and at least 0" [-0.1, NAN, INF], gamma: "finite and above 0" [0.0, -0.5, NAN, INF],
            steps: "at least 1" [0], to: "finite and at least 0" [-0.1, NAN, INF],
            to: "at least 0 and at most from, 1, since gamma is at most 1" [1.1]);
        refuse!(Exponential { gamma: 1.5, to: 2.0, ..exponential } =>
            to: "finite and at least from, 1, since gamma is above 1" [0.0, 0.9]);
        refuse!(InverseTime::new(1.0, 0.5) =>
            from: "finite and at least 0" [-0.1, NAN, INF], gamma: "finite and above 0" [0.0, -0.5, NAN, INF],
            steps: "at least 1" [0]);
    }

    #[test]
    fn cosines_and_cycles() {
        refuse!(Cosine::new(1.0, 1) =>
            from: "finite and at least 0" [-0.1, NAN, INF], to: "finite and at least 0" [-0.1, NAN, INF],
            steps: "at least 1" [0], power: "finite and above 0" [0.0, -1.0, NAN, INF]);
        refuse!(CosineRestarts::new(1.0, 1) =>
            from: "finite and at least 0" [-0.1, NAN, INF], to: "finite and at least 0" [-0.1, NAN, INF],
            steps: "at least 1" [0], growth: "finite and at least 1" [0.9, NAN, INF],
            shrink: "above 0 and at most 1" [0.0, -0.5, 1.1, NAN]);
        refuse!(Cyclic::new(0.0, 1.0) =>
            from: "finite and at least 0" [-0.1, NAN, INF], peak: "finite and at least 0" [-0.1, NAN, INF],
            up: "at least 1" [0], gamma: "1 unless mode is exp_range" [0.9, NAN]);
        refuse!(Cyclic { mode: Mode::ExpRange, ..Cyclic::new(0.0, 1.0) } => gamma: "above 0 and at most 1" [0.0, 1.1, NAN]);
        let cycle = OneCycle::new(1.0, 1);
        refuse!(cycle.clone() =>
            peak: "finite and at least 0" [-0.1, NAN, INF], steps: "at least 1" [0],
            pct_start: "above 0 and at most 1" [0.0, -0.1, 1.1, NAN],
            div: "finite and above 0" [0.0, -1.0, NAN, INF], final_div: "finite and above 0" [0.0, -1.0, NAN, INF]);
        refuse!(OneCycle { three_phase: true, ..cycle } =>
            pct_start: "above 0 and at most 0.5, since there are three phases" [0.0, 0.6, NAN]);
    }

    #[test]
    fn papers() {
        refuse!(Noam::default() =>
            factor: "finite and at least 0" [-0.1, NAN, INF], model_size: "at least 1" [0], warmup: "at least 1" [0]);
        refuse!(InverseSqrt::new(1.0) => from: "finite and at least 0" [-0.1, NAN, INF], timescale: "at least 1" [0]);
        refuse!(Wsd::new(1.0, 1) =>
            peak: "finite and at least 0" [-0.1, NAN, INF], decay: "at least 1" [0],
            to: "finite and at least 0" [-0.1, NAN, INF]);
    }

    #[test]
    fn compositions_name_the_path() {
        let one = || Schedule::from(1.0);
        let bad = || Schedule::from(Step::new(1.0, 0));
        says(one().warmup(3, -1.0), "start = -1 is out of range: finite and at least 0");
        says(one().scale(NAN), "factor = NaN is out of range: finite and at least 0");
        says(one().clamp(-1.0, 1.0), "min = -1 is out of range: finite and at least 0");
        says(one().clamp(0.5, 0.4), "max = 0.4 is out of range: finite and at least min, 0.5");
        says(one().clamp(0.5, INF), "max = inf is out of range: finite and at least min, 0.5");
        says(Product(Vec::new()), "parts is empty");
        says(Sequence { parts: Vec::new(), milestones: Vec::new() }, "parts is empty");
        says(Sequence { parts: vec![one(), one()], milestones: vec![] }, "milestones: 0 found, 1 expected");
        says(
            Sequence { parts: vec![one(), one(), one()], milestones: vec![9, 9] },
            "milestones = [9, 9] is out of range: each larger than the one before",
        );
        says(one().times(bad()), "parts[1].steps = 0 is out of range: at least 1");
        says(bad().warmup(3, 0.0).scale(2.0), "of.then.steps = 0 is out of range: at least 1");
        says(bad().clamp(0.0, 1.0), "of.steps = 0 is out of range: at least 1");
        let parts = vec![one(), Piecewise::default().into()];
        says(Sequence { parts: parts.clone(), milestones: vec![9] }, "parts[1].values: 0 found, 1 expected");
        says(one().times(MultiStep::new(1.0, [])), "parts[1].milestones is empty");
    }

    #[test]
    fn values_that_could_overflow_are_refused() {
        says(Schedule::from(1e200).scale(1e200), "bound = inf is out of range: finite");
        says(Schedule::from(1e200).times(1e200), "bound = inf is out of range: finite");
        says(Schedule::from(1e200).times(1e200).scale(1.0), "of.bound = inf is out of range: finite");
        says(LinearRamp { start_factor: 1e200, ..LinearRamp::new(1e200, 1) }, "bound = inf is out of range: finite");
        says(OneCycle { div: 1e-30, ..OneCycle::new(1e300, 1) }, "bound = inf is out of range: finite");
    }

    #[test]
    fn plateaus() {
        let text = |settings: ReduceLrOnPlateau| settings.start().err().map_or("no error".into(), |error| error.to_string());
        let with = || ReduceLrOnPlateau::new(1.0);
        for bad in [-0.1, NAN, INF] {
            let expected = |field: &str| format!("{field} = {bad} is out of range: finite and at least 0");
            assert_eq!(text(ReduceLrOnPlateau { from: bad, ..with() }), expected("from"));
            assert_eq!(text(ReduceLrOnPlateau { to: bad, ..with() }), expected("to"));
            assert_eq!(text(ReduceLrOnPlateau { eps: bad, ..with() }), expected("eps"));
            assert_eq!(text(ReduceLrOnPlateau { threshold: Threshold::Absolute(bad), ..with() }), expected("threshold"));
            assert_eq!(text(ReduceLrOnPlateau { threshold: Threshold::Relative(bad), ..with() }), expected("threshold"));
        }
        for bad in [0.0, -0.5, 1.0, NAN] {
            let expected = format!("factor = {bad} is out of range: above 0 and below 1");
            assert_eq!(text(ReduceLrOnPlateau { factor: bad, ..with() }), expected);
        }
    }
}

mod plateau {
    use super::*;

    fn rates(settings: ReduceLrOnPlateau, metrics: &[f64]) -> Result<Vec<f64>> {
        let mut plateau = settings.start()?;
        Ok(metrics.iter().map(|&metric| plateau.step(metric)).collect())
    }

    fn quick() -> ReduceLrOnPlateau {
        ReduceLrOnPlateau { factor: 0.5, patience: 1, ..ReduceLrOnPlateau::new(1.0) }
    }

    #[test]
    fn nan_counts_as_bad_and_never_as_best() -> Result<()> {
        let nan = f64::NAN;
        assert_eq!(rates(quick(), &[nan, nan, 3.0, nan, nan, 2.0])?, [1.0, 0.5, 0.5, 0.5, 0.25, 0.25]);
        let mut plateau = quick().start()?;
        plateau.step(nan);
        assert_eq!(plateau.best(), None);
        plateau.step(3.0);
        assert_eq!(plateau.best(), Some(3.0));
        Ok(())
    }

    #[test]
    fn the_goal_turns_the_comparison_around() -> Result<()> {
        let max = ReduceLrOnPlateau { goal: Extreme::Max, ..quick() };
        assert_eq!(rates(max, &[1.0, 2.0, 3.0, 4.0])?, [1.0; 4]);
        assert_eq!(rates(quick(), &[1.0, 2.0, 3.0, 4.0])?, [1.0, 1.0, 0.5, 0.5]);
        Ok(())
    }

    #[test]
    fn thresholds_are_fractions_or_amounts() -> Result<()> {
        let metrics = [10.0, 9.4, 8.9, 8.4];
        let with = |threshold| ReduceLrOnPlateau { threshold, ..quick() };
        assert_eq!(rates(with(Threshold::Relative(0.05)), &metrics)?, [1.0; 4]);
        assert_eq!(rates(with(Threshold::Relative(0.2)), &metrics)?, [1.0, 1.0, 0.5, 0.5]);
        assert_eq!(rates(with(Threshold::Absolute(0.4)), &metrics)?, [1.0; 4]);
        assert_eq!(rates(with(Threshold::Absolute(2.0)), &metrics)?, [1.0, 1.0, 0.5, 0.5]);
        Ok(())
    }

    #[test]
    fn the_rate_stays_above_its_end_and_small_reductions_are_not_made() -> Result<()> {
        let low = ReduceLrOnPlateau { patience: 0, to: 0.3, ..quick() };
        assert_eq!(rates(low, &[1.0; 4])?, [1.0, 0.5, 0.3, 0.3]);
        let coarse = ReduceLrOnPlateau { patience: 0, eps: 0.25, ..quick() };
        assert_eq!(rates(coarse, &[1.0; 4])?, [1.0, 0.5, 0.5, 0.5]);
        let below = ReduceLrOnPlateau { from: 0.1, patience: 0, to: 0.3, ..quick() };
        assert_eq!(rates(below, &[1.0; 3])?, [0.1; 3]);
        Ok(())
    }

    #[test]
    fn a_copy_goes_on_alike() -> Result<()> {
        let mut plateau = quick().start()?;
        plateau.step(1.0);
        plateau.step(1.0);
        let mut copy = plateau.clone();
        assert_eq!(copy, plateau);
        assert_eq!(copy.step(1.0), plateau.step(1.0));
        assert_eq!((copy.value(), plateau.value()), (0.5, 0.5));
        Ok(())
    }

    #[test]
    fn negative_metrics_get_better_downwards_but_for_torch() -> Result<()> {
        let patient =
            |threshold, goal| ReduceLrOnPlateau { factor: 0.5, patience: 0, threshold, goal, ..ReduceLrOnPlateau::new(1.0) };
        let (same, falling) = ([-8.0; 4], [-8.0, -9.0, -10.0, -11.0]);
        let relative = Threshold::Relative(0.05);
        assert_eq!(rates(patient(relative, Extreme::Min), &same)?, [1.0, 0.5, 0.25, 0.125]);
        assert_eq!(rates(patient(relative, Extreme::Min), &falling)?, [1.0; 4]);
        assert_eq!(rates(patient(relative, Extreme::Max), &falling)?, [1.0, 0.5, 0.25, 0.125]);
        assert_eq!(rates(patient(relative, Extreme::Max), &falling.map(|x| -19.0 - x))?, [1.0; 4]);
        // The values of torch 2.15: the threshold is at −8 · 0.95 = −7.6, above the best, and from then on it rises.
        let torch = Threshold::Factor(0.05);
        assert_eq!(rates(patient(torch, Extreme::Min), &same)?, [1.0; 4]);
        assert_eq!(rates(patient(torch, Extreme::Min), &[-8.0, -7.7, -7.4, -7.0])?, [1.0, 1.0, 1.0, 0.5]);
        assert_eq!(rates(patient(torch, Extreme::Max), &same)?, [1.0; 4]);
        // A fraction of 0 is 0.
        for threshold in [relative, torch] {
            assert_eq!(rates(patient(threshold, Extreme::Min), &[0.0, 0.0, -1e-9])?, [1.0, 0.5, 0.5]);
        }
        Ok(())
    }

    #[test]
    fn thresholds_agree_on_positive_metrics() -> Result<()> {
        let mut random = fastrand::Rng::with_seed(5);
        for goal in [Extreme::Min, Extreme::Max] {
            let metrics: Vec<f64> = (0..500).map(|_| 0.5 + random.f64()).collect();
            let with = |threshold| ReduceLrOnPlateau { goal, threshold, ..quick() };
            assert_eq!(rates(with(Threshold::Relative(0.01)), &metrics)?, rates(with(Threshold::Factor(0.01)), &metrics)?);
        }
        Ok(())
    }

    #[test]
    fn nothing_is_better_than_infinitely_good() -> Result<()> {
        for (goal, best) in [(Extreme::Min, f64::NEG_INFINITY), (Extreme::Max, f64::INFINITY)] {
            for threshold in
                [Threshold::Relative(0.1), Threshold::Relative(0.0), Threshold::Absolute(0.1), Threshold::Factor(1.0)]
            {
                let mut plateau =
                    ReduceLrOnPlateau { goal, threshold, patience: 0, factor: 0.5, ..ReduceLrOnPlateau::new(1.0) }.start()?;
                assert_eq!([-best, best, best, 0.0, best].map(|metric| plateau.step(metric)), [0.5, 0.5, 0.25, 0.125, 0.0625]);
                assert_eq!(plateau.best(), Some(best));
            }
        }
        Ok(())
    }
}

mod registry {
    use super::*;

    #[track_caller]
    fn says(name: &str, settings: &[(&str, &str)], expected: &str) {
        let text = factor_by_name(name, settings).err().map_or("no error".into(), |error| error.to_string());
        assert_eq!(text, expected);
    }

    /// A value for each setting that has to be given.
    fn required(listing: &Listing) -> Vec<(&'static str, &'static str)> {
        let value = |name| match name {
            "milestones" => "5,20",
            "values" => "0.5,0.1",
            "gamma" => "0.5",
            _ => "30",
        };
        let missing = listing.settings.iter().filter(|(_, default)| default.is_none());
        missing.map(|&(name, _)| (name, value(name))).collect()
    }

    /// What makes a schedule of a name and settings.
    type Make = fn(&str, &[(&str, &str)]) -> thalweg::Result<Schedule>;

    /// Schedules and factors, each with what makes them.
    fn made() -> impl Iterator<Item = (Listing, Make)> {
        let schedules = schedules().into_iter().map(|listing| (listing, schedule_by_name as Make));
        schedules.chain(factors().into_iter().map(|listing| (listing, factor_by_name as Make)))
    }

    #[test]
    fn every_name_makes_a_schedule_from_its_required_settings() -> Result<()> {
        assert_eq!(made().count(), 30);
        for (listing, make) in made() {
            let given = required(&listing);
            assert_eq!(make(listing.name, &given).map(|_| ()), Ok(()), "{}", listing.name);
            assert!(!listing.formula.is_empty());
            for missing in &given {
                let others: Vec<_> = given.iter().filter(|other| other != &missing).copied().collect();
                let error = make(listing.name, &others).expect_err(missing.0);
                let names = matches!(&error, Error::Missing { setting, .. } if setting == missing.0);
                assert!(names, "{} without {missing:?}: {error}", listing.name);
            }
        }
        Ok(())
    }

    #[test]
    fn listed_defaults_are_the_defaults() -> Result<()> {
        for (listing, make) in made() {
            let mut given = required(&listing);
            let short = make(listing.name, &given)?;
            given.extend(listing.settings.iter().filter_map(|(name, default)| Some((*name, default.as_deref()?))));
            assert_eq!(make(listing.name, &given)?, short, "{}", listing.name);
        }
        Ok(())
    }

    /// A forgotten setting must not lead to training at a rate of 1. So the start value or the peak of a schedule has to be
    /// given in every form. Noam is the exception: its factor 1 gives the rates of its paper.
    #[test]
    fn a_value_is_given_and_a_factor_is_at_most_one() -> Result<()> {
        for (schedule, factor) in schedules().into_iter().zip(factors()) {
            let given = required(&schedule);
            let values: Vec<&str> =
                ["value", "from", "peak"].into_iter().filter(|name| given.iter().any(|(own, _)| own == name)).collect();
            assert_eq!(values.is_empty(), ["noam", "piecewise"].contains(&schedule.name), "{}: {values:?}", schedule.name);
            let of_factor = required(&factor);
            assert!(of_factor.iter().all(|given| !values.contains(&given.0)), "{}", factor.name);
            let made = factor_by_name(factor.name, &of_factor)?;
            let highest = (0..100_000).step_by(7).map(|step| made.value(step)).fold(0.0, f64::max);
            assert!(highest > 0.0 && highest <= 1.0, "{}: {highest}", factor.name);
        }
        let plateau = ReduceLrOnPlateau::from_settings(&[("factor", "0.5")]).expect_err("no value").to_string();
        assert_eq!(plateau, "plateau needs from, for example from=0.001");
        assert_eq!(ReduceLrOnPlateau::factor_from_settings(&[])?, ReduceLrOnPlateau::new(1.0));
        assert_eq!(ReduceLrOnPlateau::listing().settings[0], ("from", None));
        Ok(())
    }

    /// Name, settings and what they make.
    type Case = (&'static str, &'static [(&'static str, &'static str)], Schedule);

    #[test]
    fn every_setting_arrives() -> Result<()> {
        let cases: [Case; 8] = [
            ("multi_step", &[("milestones", "3, 9"), ("gamma", "0.2")], {
                MultiStep { gamma: 0.2, ..MultiStep::new(1.0, vec![3, 9]) }.into()
            }),
            ("piecewise", &[("values", "0.1,1e-2"), ("boundaries", "7")], {
                Piecewise { boundaries: vec![7], values: vec![0.1, 0.01] }.into()
            }),
            (
                "cyclic",
                &[("down", "5"), ("mode", "exp_range"), ("gamma", "0.9"), ("up", "4"), ("from", "0.1"), ("peak", "2")],
                { Cyclic { from: 0.1, peak: 2.0, up: 4, down: Some(5), mode: Mode::ExpRange, gamma: 0.9 }.into() },
            ),
            ("cosine", &[("steps", "9"), ("rises", "true"), ("from", "0.5"), ("to", "0.1"), ("power", "2")], {
                Cosine { steps: 9, rises: true, from: 0.5, to: 0.1, power: 2.0 }.into()
            }),
            ("one_cycle", &[("steps", "9"), ("shape", "linear"), ("three_phase", "true"), ("div", "3"), ("final_div", "7")], {
                let cycle = OneCycle { shape: Shape::Linear, three_phase: true, ..OneCycle::new(1.0, 9) };
                OneCycle { div: 3.0, final_div: 7.0, ..cycle }.into()
            }),
            ("wsd", &[("decay", "4"), ("warmup", "2"), ("stable", "3"), ("to", "0.1"), ("shape", "cosine")], {
                Wsd { warmup: 2, stable: 3, to: 0.1, shape: Shape::Cosine, ..Wsd::new(1.0, 4) }.into()
            }),
            ("step", &[("steps", "4"), ("warmup", "2"), ("warmup_start", "0.1")], {
                Schedule::from(Step::new(1.0, 4)).warmup(2, 0.1)
            }),
            ("noam", &[("warmup", "2"), ("model_size", "3"), ("factor", "4")], {
                Noam { warmup: 2, model_size: 3, factor: 4.0 }.into()
            }),
        ];
        for (name, settings, expected) in cases {
            assert_eq!(factor_by_name(name, settings)?, expected);
        }
        Ok(())
    }

    #[test]
    fn an_unknown_name_is_an_error_that_lists_the_known() {
        says(
            "cos",
            &[],
            "unknown schedule 'cos'; known: constant, step, multi_step, piecewise, linear, polynomial, exponential, inverse_time, \
             cosine, cosine_restarts, cyclic, one_cycle, noam, inverse_sqrt, wsd",
        );
        says("step", &[("T_max", "3")], "unknown setting 'T_max'; known: steps, from, gamma, warmup, warmup_start");
        says("noam", &[("warmup_start", "3")], "unknown setting 'warmup_start'; known: factor, model_size, warmup");
        says("step", &[("steps", "3"), ("steps", "4")], "setting 'steps' is given twice");
        says("step", &[("steps", "3.5")], "steps = 3.5 is out of range: a whole number");
        says("step", &[("from", "fast")], "from = fast is out of range: a number");
        says("cosine", &[("rises", "yes")], "rises = yes is out of range: true or false");
        says("cyclic", &[("down", "half")], "down = half is out of range: a whole number or none");
        says("cyclic", &[("mode", "round")], "mode = round is out of range: triangular, triangular2 or exp_range");
        says("wsd", &[("shape", "round")], "shape = round is out of range: cosine, linear or one_minus_sqrt");
        says("multi_step", &[("milestones", "3;4")], "milestones = 3;4 is out of range: numbers separated by commas");
        says("step", &[], "step needs steps, for example steps=1000");
        says("step", &[("steps", "0")], "steps = 0 is out of range: at least 1");
        says("exponential", &[], "exponential needs gamma, for example gamma=0.99");
        says("piecewise", &[("values", "1,0.1")], "piecewise needs boundaries, for example boundaries=500");
        says("step", &[("steps", "3"), ("from", "NaN")], "from = NaN is out of range: finite and at least 0");
        says(
            "step",
            &[("steps", "3"), ("warmup", "3"), ("warmup_start", "-1")],
            "warmup_start = -1 is out of range: finite and at least 0",
        );
    }
}

mod serde {
    use super::*;

    #[test]
    fn every_schedule_survives_a_round_trip() -> Result<()> {
        for schedule in all() {
            let text = serde_json::to_string(&schedule)?;
            assert_eq!(serde_json::from_str::<Schedule>(&text)?, schedule, "{text}");
        }
        let mut plateau = ReduceLrOnPlateau::new(1.0).start()?;
        assert_eq!(serde_json::from_str::<Plateau>(&serde_json::to_string(&plateau)?)?, plateau);
        plateau.step(0.5);
        assert_eq!(serde_json::from_str::<Plateau>(&serde_json::to_string(&plateau)?)?, plateau);
        Ok(())
    }

    #[test]
    fn settings_left_out_have_their_defaults_and_unknown_ones_are_refused() -> Result<()> {
        let schedule: Schedule = serde_json::from_str(r#"{"cosine": {"from": 1, "steps": 9}}"#)?;
        assert_eq!(schedule, Cosine::new(1.0, 9).into());
        assert!(serde_json::from_str::<Schedule>(r#"{"cosine": {"step": 9}}"#).is_err());
        Ok(())
    }

    #[test]
    fn an_infinite_best_metric_survives() -> Result<()> {
        for (goal, best) in [(Extreme::Min, f64::NEG_INFINITY), (Extreme::Max, f64::INFINITY)] {
            let mut plateau = ReduceLrOnPlateau { goal, patience: 1, factor: 0.5, ..ReduceLrOnPlateau::new(1.0) }.start()?;
            for metric in [1.0, best, 0.0, best, -best, f64::NAN] {
                let text = serde_json::to_string(&plateau)?;
                let mut copy: Plateau = serde_json::from_str(&text)?;
                assert_eq!(copy, plateau, "{text}");
                assert_eq!(copy.step(metric), plateau.step(metric), "{text}");
                assert_eq!(copy.best(), plateau.best());
                let value: Plateau = serde_json::from_value(serde_json::to_value(&plateau)?)?;
                assert_eq!(value, plateau);
            }
        }
        let plateau = serde_json::to_string(&ReduceLrOnPlateau::new(1.0).start()?)?;
        assert!(plateau.contains(r#""best":null"#), "{plateau}");
        assert!(serde_json::from_str::<Plateau>(&plateau.replace(r#""best":null"#, r#""best":3"#))?.best() == Some(3.0));
        let error =
            serde_json::from_str::<Plateau>(&plateau.replace(r#""best":null"#, r#""best":"good""#)).expect_err("a word");
        assert!(error.to_string().contains("a number, inf, -inf or nothing"), "{error}");
        Ok(())
    }
}
