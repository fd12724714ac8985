//! Schedules in files.

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
    let error = serde_json::from_str::<Plateau>(&plateau.replace(r#""best":null"#, r#""best":"good""#)).expect_err("a word");
    assert!(error.to_string().contains("a number, inf, -inf or nothing"), "{error}");
    Ok(())
}
