//! Torch's own trajectories.

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
        "MultiStepLR" => MultiStep { from: lr, milestones: args.counts("milestones")?, gamma: args.number("gamma")? }.into(),
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
