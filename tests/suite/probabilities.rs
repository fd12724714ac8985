//! Probabilities of classes, compared with values that were computed by hand.

use thalweg::data::{Fold, KFold};
use thalweg::train::Probabilities;

/// Logits whose softmax is these probabilities.
fn of(rows: &[[f64; 2]]) -> Probabilities {
    let logits: Vec<f64> = rows.iter().flatten().map(|share| share.ln()).collect();
    Probabilities::of_logits(&logits, 2).expect("probabilities")
}

fn near(found: f64, expected: f64) {
    assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
}

#[test]
fn scores_are_those_of_their_formulas() {
    let model = of(&[[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.45, 0.55]]);
    let labels = [0, 1, 1, 0];
    near(model.accuracy(&labels).expect("accuracy"), 0.5);
    near(model.log_loss(&labels).expect("loss"), -(0.9_f64.ln() + 0.2_f64.ln() + 0.7_f64.ln() + 0.45_f64.ln()) / 4.0);
    near(model.brier(&labels).expect("score"), (0.02 + 1.28 + 0.18 + 0.605) / 4.0);
    // Bins of a tenth: 0.55 wrong, 0.7 right, 0.8 wrong, 0.9 right.
    near(model.calibration_error(&labels, 10).expect("error"), (0.55 + 0.3 + 0.8 + 0.1) / 4.0);
    // One bin: half are right, and the mean probability is 0.7375.
    near(model.calibration_error(&labels, 1).expect("error"), 0.2375);
    // A half belongs to the lower of two bins, not to the upper one.
    let half = of(&[[0.5, 0.5], [0.9, 0.1]]);
    near(half.calibration_error(&[1, 0], 2).expect("error"), (0.5 + 0.1) / 2.0);
    assert_eq!(model.predicted(), [0, 0, 1, 1]);
    // Equal probabilities: the first class.
    assert_eq!(Probabilities::of_logits(&[1.0_f32, 1.0], 2).expect("two").predicted(), [0]);
    // Large logits do not overflow, and a probability of 0 has a finite loss.
    let sure = Probabilities::of_logits(&[1e30_f32, 0.0], 2).expect("two");
    near(sure.row(0)[0], 1.0);
    near(sure.log_loss(&[1]).expect("loss"), -(1e-15_f64.ln()));
}

#[test]
fn an_ensemble_is_the_mean_of_probabilities() {
    let both = Probabilities::mean(&[of(&[[0.9, 0.1]]), of(&[[0.3, 0.7]]), of(&[[0.6, 0.4]])]).expect("three");
    near(both.row(0)[0], 0.6);
    near(both.row(0)[1], 0.4);
    assert!(Probabilities::mean(&[]).is_err());
    let wrong = Probabilities::mean(&[of(&[[0.9, 0.1]]), of(&[[0.3, 0.7], [0.5, 0.5]])]).expect_err("rows");
    assert_eq!(wrong.to_string(), "probabilities of a model: 2 rows of 2 found, 1 rows of 2 expected");
}

#[test]
fn every_row_gets_what_a_model_says_that_has_not_seen_it() {
    let folds = KFold { folds: 3, shuffle: Some(1), ..Default::default() }.split(7).expect("folds");
    // The probability of class 0 identifies the row.
    let share = |row: usize| (row as f64 + 1.0) / 10.0;
    let parts: Vec<(&Fold, Probabilities)> = folds
        .iter()
        .map(|fold| (fold, of(&fold.validation.iter().map(|&row| [share(row), 1.0 - share(row)]).collect::<Vec<_>>())))
        .collect();
    let all = Probabilities::out_of_fold(7, &parts).expect("all rows");
    (0..7).for_each(|row| near(all.row(row)[0], share(row)));
    let refused =
        |rows: usize, parts: &[(&Fold, Probabilities)]| Probabilities::out_of_fold(rows, parts).expect_err("rows").to_string();
    assert!(refused(7, &parts[1..]).contains("in one of the folds"));
    assert!(refused(6, &parts).contains("below 6 and in one fold only"));
    assert!(refused(7, &[parts.clone(), parts.clone()].concat()).contains("in one fold only"));
    assert!(refused(7, &[(parts[0].0, of(&[[0.5, 0.5]]))]).starts_with("probabilities of a fold: 1 rows of 2 found"));
    assert!(Probabilities::out_of_fold(7, &[]).is_err());
}

#[test]
fn invalid_probabilities_are_errors() {
    let model = of(&[[0.9, 0.1]]);
    assert_eq!(model.accuracy(&[2]).unwrap_err().to_string(), "label = 2 is out of range: below 2");
    assert_eq!(model.log_loss(&[0, 0]).unwrap_err().to_string(), "labels: 2 found, 1 expected");
    assert_eq!(model.calibration_error(&[0], 0).unwrap_err().to_string(), "bins = 0 is out of range: at least 1");
    assert_eq!(
        Probabilities::of_logits(&[1.0, f64::NAN], 2).unwrap_err().to_string(),
        "logit of class 1 in row 0 = NaN is out of range: finite"
    );
    assert!(Probabilities::of_logits(&[1.0_f32; 3], 2).is_err() && Probabilities::of_logits::<f32>(&[], 0).is_err());
    assert!(Probabilities::of_logits::<f32>(&[], 2).expect("no rows").accuracy(&[]).is_err());
}
