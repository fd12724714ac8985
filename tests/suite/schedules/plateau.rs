//! A rate that falls when a loss no longer does.

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
        for threshold in [Threshold::Relative(0.1), Threshold::Relative(0.0), Threshold::Absolute(0.1), Threshold::Factor(1.0)]
        {
            let mut plateau =
                ReduceLrOnPlateau { goal, threshold, patience: 0, factor: 0.5, ..ReduceLrOnPlateau::new(1.0) }.start()?;
            assert_eq!([-best, best, best, 0.0, best].map(|metric| plateau.step(metric)), [0.5, 0.5, 0.25, 0.125, 0.0625]);
            assert_eq!(plateau.best(), Some(best));
        }
    }
    Ok(())
}
