//! The signed-rank test against SciPy's (tests/golden/signed_rank.jsonl, written by tests/golden/signed_rank.py).

use thalweg::sweep::signed_rank;

use crate::common::golden_lines;

#[test]
fn probabilities_are_those_of_scipy() {
    let cases = golden_lines("signed_rank");
    assert_eq!(cases.len(), 45);
    for case in cases {
        let differences: Vec<f64> = case["differences"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect();
        let (found, expected) = (signed_rank(&differences), case["p"].as_f64().expect("a probability"));
        assert!((found - expected).abs() <= 1e-12, "{found} for {expected}: {differences:?}");
    }
}

#[test]
fn nothing_and_nan_show_nothing() {
    assert_eq!((signed_rank(&[]), signed_rank(&[1.0, f64::NAN, 2.0])), (1.0, 1.0));
}
