//! Schedules of learning rates: against the trajectories of other libraries, and each against itself.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use thalweg::Error;
use thalweg::schedule::*;

/// Largest relative error against another implementation in f64.
const RELATIVE: f64 = 1e-12;
/// A library that computes `large − large · q` for a small result leaves a few roundings of the large number in it.
const ROUNDINGS: f64 = 4.0 * f64::EPSILON;

/// The first step at which two courses differ. NaN differs from everything.
fn mismatch(got: &[f64], expected: &[f64]) -> Option<String> {
    if got.len() != expected.len() || expected.is_empty() {
        return Some(format!("{} values against {}", got.len(), expected.len()));
    }
    let scale = expected.iter().fold(0.0_f64, |scale, value| scale.max(value.abs()));
    let differ = |(got, expected): (&f64, &f64)| {
        let bound = RELATIVE * expected.abs() + ROUNDINGS * scale;
        !((got - expected).abs() <= bound)
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
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
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
            "StepLR" => Step { lr, steps: args.count("step_size")?, gamma: args.number("gamma")? }.into(),
            "MultiStepLR" => {
                MultiStep { lr, milestones: args.counts("milestones")?, gamma: args.number("gamma")? }.into()
            }
            "ConstantLR" => Constant { lr, factor: args.number("factor")?, steps: args.count("total_iters")? }.into(),
            "LinearLR" => Linear {
                lr,
                start_factor: args.number("start_factor")?,
                end_factor: args.number("end_factor")?,
                steps: args.count("total_iters")?,
            }
            .into(),
            "ExponentialLR" => Exponential { lr, gamma: args.number("gamma")?, ..Default::default() }.into(),
            "PolynomialLR" => {
                let (steps, power) = (args.count("total_iters")?, args.number("power")?);
                Polynomial { lr, steps, power, ..Default::default() }.into()
            }
            "CosineAnnealingLR" => {
                let (steps, end) = (args.count("T_max")?, args.number("eta_min")?);
                Cosine { lr, steps, end, rises: true, ..Default::default() }.into()
            }
            "CosineAnnealingWarmRestarts" => {
                let (steps, growth, end) = (args.count("T_0")?, args.number("T_mult")?, args.number("eta_min")?);
                CosineRestarts { lr, steps, growth, end, ..Default::default() }.into()
            }
            "CyclicLR" => {
                let (mode, gamma) = match args.text("mode") {
                    "exp_range" => (Mode::ExpRange, args.number("gamma")?),
                    "triangular2" => (Mode::Triangular2, 1.0),
                    _ => (Mode::Triangular, 1.0),
                };
                let cyclic = Cyclic {
                    lr: args.number("base_lr")?,
                    peak: args.number("max_lr")?,
                    up: args.count("step_size_up")?,
                    down: Some(args.count("step_size_down")?),
                    mode,
                    gamma,
                };
                return Ok((cyclic.clone().into(), Some(cyclic.momentum(0.8, 0.9).into())));
            }
            "OneCycleLR" => {
                let usual = OneCycle::default();
                let cycle = OneCycle {
                    lr: args.number("max_lr")?,
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
            lr: Args(case).number("base_lr")?,
            goal: if args.text("mode") == "max" { Goal::Max } else { Goal::Min },
            factor: args.number("factor")?,
            patience: args.count("patience")?,
            threshold: Threshold::Relative(args.number("threshold")?),
            cooldown: args.count("cooldown")?,
            end: args.number("min_lr")?,
            ..Default::default()
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
            assert_eq!(mismatch(&values(&lr, steps.clone())?, &expected), None, "{} {}", case["name"], case["kwargs"]);
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
            assert!(mismatch(&values(&schedule, 0..expected.len() as u64)?, &expected).is_some(), "{}", case["name"]);
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
                    "cos" => Cosine { lr, end, steps, ..Default::default() }.into(),
                    _ => Polynomial { lr, end, steps, ..Default::default() }.into(),
                }
            }
            "SequentialLR" => {
                let (lr, gamma) = (args.number("lr")?, args.number("gamma")?);
                let first = Schedule::from(lr * args.number("factor")?);
                let parts = vec![first, Exponential { lr, gamma, ..Default::default() }.into()];
                Sequence { parts, milestones: vec![args.count("milestone")?] }.into()
            }
            "ChainedScheduler" => {
                let constant = Constant { lr: 1.0, factor: args.number("factor")?, steps: args.count("total_iters")? };
                let (lr, gamma) = (args.number("lr")?, args.number("gamma")?);
                Schedule::from(Exponential { lr, gamma, ..Default::default() }).times(constant)
            }
            "LambdaLR" => {
                let lr = args.number("lr")?;
                Piecewise::sampled(5001, |t| lr * (2.0 + (t as f64).cos())).into()
            }
            "ExponentialDecay" => Exponential {
                lr: args.number("initial_learning_rate")?,
                gamma: args.number("decay_rate")?,
                steps: args.count("decay_steps")?,
                staircase: args.flag("staircase"),
                ..Default::default()
            }
            .into(),
            "InverseTimeDecay" => InverseTime {
                lr: args.number("initial_learning_rate")?,
                gamma: args.number("decay_rate")?,
                steps: args.count("decay_steps")?,
                staircase: args.flag("staircase"),
            }
            .into(),
            "PiecewiseConstantDecay" => {
                Piecewise { boundaries: args.counts("boundaries")?, values: args.numbers("values")? }.into()
            }
            "PolynomialDecay" => Polynomial {
                lr: args.number("initial_learning_rate")?,
                end: args.number("end_learning_rate")?,
                steps: args.count("decay_steps")?,
                power: args.number("power")?,
                cycle: args.flag("cycle"),
                ..Default::default()
            }
            .into(),
            "CosineDecay" => {
                let start = args.number("initial_learning_rate")?;
                let lr = args.number_or("warmup_target", start)?;
                let (steps, end) = (args.count("decay_steps")?, lr * args.number("alpha")?);
                let cosine = Cosine { lr, steps, end, ..Default::default() };
                Schedule::from(cosine).warmup(args.count_or("warmup_steps", 0)?, start)
            }
            "CosineDecayRestarts" => {
                let lr = args.number("initial_learning_rate")?;
                CosineRestarts {
                    lr,
                    end: lr * args.number("alpha")?,
                    steps: args.count("first_decay_steps")?,
                    growth: args.number("t_mul")?,
                    shrink: args.number("m_mul")?,
                }
                .into()
            }
            "linear_schedule" | "polynomial_schedule" => Polynomial {
                lr: args.number("init_value")?,
                end: args.number("end_value")?,
                steps: args.count("transition_steps")?,
                power: args.number_or("power", 1.0)?,
                begin: args.count("transition_begin")?,
                ..Default::default()
            }
            .into(),
            name @ ("exponential_decay" | "warmup_exponential_decay_schedule") => {
                let warm = name.starts_with("warmup");
                let schedule = Schedule::from(Exponential {
                    lr: args.number(if warm { "peak_value" } else { "init_value" })?,
                    gamma: args.number("decay_rate")?,
                    steps: args.count("transition_steps")?,
                    begin: args.count_or("transition_begin", 0)?,
                    staircase: args.flag("staircase"),
                    end: args.number_or("end_value", 0.0)?,
                });
                if warm { schedule.warmup(args.count("warmup_steps")?, args.number("init_value")?) } else { schedule }
            }
            "cosine_decay_schedule" => {
                let lr = args.number("init_value")?;
                let (end, power) = (lr * args.number("alpha")?, args.number("exponent")?);
                Cosine { lr, end, power, steps: args.count("decay_steps")?, rises: false }.into()
            }
            "warmup_constant_schedule" => {
                let peak = Schedule::from(args.number("peak_value")?);
                peak.warmup(args.count("warmup_steps")?, args.number("init_value")?)
            }
            "warmup_cosine_decay_schedule" => {
                let (lr, end, warmup) = (args.number("peak_value")?, args.number("end_value")?, args.count("warmup_steps")?);
                let cosine = Cosine { lr, end, steps: args.count("decay_steps")? - warmup, ..Default::default() };
                Schedule::from(cosine).warmup(warmup, args.number("init_value")?)
            }
            "join_schedules" => {
                let falling = Exponential { lr: 0.5, gamma: 0.5, steps: 10, ..Default::default() };
                let line = Polynomial { lr: 0.4, steps: 20, ..Default::default() };
                let parts = vec![falling.into(), 0.25.into(), line.into()];
                Sequence { parts, milestones: args.counts("boundaries")? }.into()
            }
            "piecewise_constant_schedule" => {
                let (first, scales) = (args.number("init_value")?, args.numbers("scales")?);
                let values = [first, first * scales[0], first * scales[0] * scales[1]];
                Sequence { parts: values.map(Schedule::from).into(), milestones: args.counts("boundaries")? }.into()
            }
            "noam" => {
                Noam { factor: args.number("factor")?, model_size: args.count("d")?, warmup: args.count("w")? }.into()
            }
            "fairseq_inverse_sqrt" => {
                let warmup = args.count("w")?;
                let decay = InverseSqrt { lr: args.number("lr")?, timescale: warmup };
                Schedule::from(decay).warmup(warmup, args.number("init")?)
            }
            "transformers_inverse_sqrt" => {
                let decay = InverseSqrt { lr: args.number("lr")?, timescale: args.count("timescale")? };
                Schedule::from(decay).warmup(args.count("w")?, 0.0)
            }
            "wsd" => Wsd {
                lr: args.number("lr")?,
                warmup: args.count("w")?,
                stable: args.count("s")?,
                decay: args.count("d")?,
                end: args.number("end")?,
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

    /// Schedule, steps and values of every case.
    fn cases() -> Result<Vec<(String, Schedule, Vec<u64>, Vec<f64>)>> {
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
    fn what_differs_is_a_mismatch() {
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
