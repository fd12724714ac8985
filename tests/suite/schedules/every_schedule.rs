//! What every schedule does.

use super::*;

const FAR: [u64; 9] = [1 << 20, (1 << 32) + 1, 1 << 52, (1 << 53) - 1, 1 << 53, (1 << 53) + 1, 1 << 63, u64::MAX - 1, u64::MAX];

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
