//! The importance of parameters, on functions whose shares of variance are known.

use thalweg::sweep::{Goal, Outcome, SearchSpace, Sobol, Study, Trial, importance};

fn trials(space: &SearchSpace, n: usize, function: impl Fn(&dyn Fn(&str) -> f64) -> f64) -> Vec<Trial> {
    let mut study = Study::new(space.clone(), Goal::Minimize, Sobol { seed: 1 });
    for trial in study.ask(n).expect("trials") {
        let value = |name: &str| trial.point.get(name).and_then(|value| value.as_f64()).unwrap_or(0.0);
        study.tell(trial.id, function(&value)).expect("a running trial");
    }
    study.trials().to_vec()
}

#[test]
fn shares_of_variance_are_found() {
    let space: SearchSpace = "a=uniform:0:1; b=log:1e-3:1; c=int:1:9; d=uniform:0:1".parse().expect("a space");
    // Variances: of 3 u 9/12, of 2 u in the logarithm 4/12, of 0.5 times a product of centred ones 16 · 0.25/144.
    let sum = trials(&space, 512, |x| 3.0 * x("a") + 2.0 * (x("b").ln() / 1000.0_f64.ln()));
    let found = importance(&space, Goal::Minimize, &sum, 0).expect("importances");
    for (found, expected) in found.iter().zip([9.0 / 13.0, 4.0 / 13.0, 0.0, 0.0]) {
        assert!((found - expected).abs() < 0.03, "{found:?}");
    }
    // A product of centred values: no parameter explains anything by itself.
    let product = trials(&space, 512, |x| (x("a") - 0.5) * (x("d") - 0.5));
    let found = importance(&space, Goal::Minimize, &product, 0).expect("importances");
    assert!(found.iter().all(|&found| found < 0.1), "{found:?}");
}

#[test]
fn choices_and_conditions_count() {
    let space: SearchSpace = "rule=choice:adam,sgd; lr=log:1e-3:1; momentum=uniform:0:1 if rule=sgd".parse().expect("a space");
    // The rule decides whether the mean is 0 or 1/2, and in one of its branches the momentum matters: variances of 3/48 and
    // 1/48, of 5/48 in all.
    let trials = trials(&space, 256, |x| x("momentum"));
    let found = importance(&space, Goal::Maximize, &trials, 3).expect("importances");
    for (found, expected) in found.iter().zip([0.6, 0.0, 0.2]) {
        assert!((found - expected).abs() < 0.08, "{found:?}");
    }
    assert_eq!(importance(&space, Goal::Maximize, &trials, 3), Ok(found.clone()));
    assert_ne!(importance(&space, Goal::Maximize, &trials, 4), Ok(found));
}

#[test]
fn an_importance_without_evidence_is_reported() {
    let space: SearchSpace = "a=uniform:0:1; b=uniform:0:1".parse().expect("a space");
    let same = trials(&space, 30, |_| 0.3);
    assert_eq!(importance(&space, Goal::Minimize, &same, 0), Ok(vec![0.0, 0.0]));
    let mut few = trials(&space, 5, |x| x("a"));
    few[1].outcome = Outcome::Failed;
    assert!(importance(&space, Goal::Minimize, &few, 0).is_ok());
    few[2].outcome = Outcome::Stopped { step: 3, metric: 1.0 };
    let error = importance(&space, Goal::Minimize, &few, 0).unwrap_err().to_string();
    assert_eq!(error, "trials that were trained to the end = 3 is out of range: at least 4");
}
