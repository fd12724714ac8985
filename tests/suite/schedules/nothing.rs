//! Schedules of no steps.

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
