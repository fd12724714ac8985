//! Equations of Keras, optax and the papers, computed by another program.

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
