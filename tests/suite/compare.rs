//! The comparators fail where they must: each test is a way in which a comparison could pass wrongly.

use crate::common::compare::{close, same_bits};

const ONE: fn(usize) -> f64 = |_| 1.0;

#[test]
fn equal_slices_agree_even_with_no_tolerance() {
    assert_eq!(close(&[1.0, 0.0, -2.5f32], &[1.0, 0.0, -2.5], |_| 0.0), Ok(()));
}

#[test]
fn an_error_at_the_bound_agrees_and_one_above_it_does_not() {
    assert_eq!(close(&[1.5], &[1.0], |_| 0.5), Ok(()));
    assert!(close(&[1.5], &[1.0], |_| 0.499).is_err());
}

#[test]
fn each_element_has_its_own_bound() {
    assert_eq!(close(&[10.0, 2.0], &[11.0, 2.0], |i| [1.0, 0.0][i]), Ok(()));
    assert!(close(&[10.0, 2.0], &[11.0, 2.0], |i| [0.0, 1.0][i]).is_err());
}

#[test]
fn nan_is_a_mismatch_on_either_side() {
    assert!(close(&[f64::NAN], &[1.0], ONE).is_err());
    assert!(close(&[1.0], &[f64::NAN], ONE).is_err());
    assert!(close(&[f64::NAN], &[f64::NAN], ONE).is_err());
}

#[test]
fn infinity_is_a_mismatch_on_either_side() {
    assert!(close(&[f64::INFINITY], &[1.0], ONE).is_err());
    assert!(close(&[1.0], &[f64::NEG_INFINITY], ONE).is_err());
    assert!(close(&[f64::INFINITY], &[f64::INFINITY], ONE).is_err());
}

#[test]
fn a_bound_that_is_not_finite_lets_nothing_pass() {
    for bound in [f64::NAN, f64::INFINITY] {
        assert!(close(&[1.0], &[1.0], |_| bound).is_err());
        assert!(close(&[f64::INFINITY], &[1.0], |_| bound).is_err());
    }
}

#[test]
fn a_value_where_zero_is_expected_is_a_mismatch() {
    assert!(close(&[1e-30], &[0.0], |_| 0.0).is_err());
    assert!(close(&[1e-3], &[0.0], |_| 1e-4).is_err());
}

#[test]
fn one_bad_element_in_a_thousand_is_a_mismatch() {
    let expected = [1.0; 1000];
    for (bad, value) in [(0, 2.0), (500, f64::NAN), (999, 0.9)] {
        let mut found = expected;
        found[bad] = value;
        assert!(close(&found, &expected, |_| 1e-6).is_err(), "element {bad}");
    }
}

#[test]
fn nothing_to_compare_is_a_mismatch() {
    assert_eq!(close::<f32>(&[], &[], ONE), Err("nothing to compare".into()));
}

#[test]
fn unequal_lengths_are_a_mismatch() {
    assert_eq!(close(&[1.0], &[1.0, 1.0], ONE), Err("1 elements found, 2 expected".into()));
    assert_eq!(close(&[1.0, 1.0], &[1.0], ONE), Err("2 elements found, 1 expected".into()));
}

#[test]
fn the_message_names_index_found_expected_and_bound_of_the_worst() {
    let error = close(&[1.0, 1.5, 3.0], &[1.0, 1.0, 1.0], |_| 0.25).unwrap_err();
    assert_eq!(error, "2 of 3 elements differ; the worst is element 2: found 3, expected 1, bound 0.25");
    let error = close(&[9.0, f64::NAN], &[1.0, 1.0], |_| 0.25).unwrap_err();
    assert_eq!(error, "2 of 2 elements differ; the worst is element 1: found NaN, expected 1, bound 0.25");
}

#[test]
fn bits_that_differ_in_the_last_place_are_a_mismatch() {
    assert_eq!(same_bits(&[1.0f32, -0.0], &[1.0, -0.0]), Ok(()));
    assert!(same_bits(&[1.0f32], &[1.0 + f32::EPSILON]).is_err());
    assert!(same_bits(&[0.0f32], &[-0.0]).is_err());
}

#[test]
fn bits_are_not_the_same_if_there_are_none_or_not_as_many_or_not_finite() {
    assert!(same_bits::<f32>(&[], &[]).is_err());
    assert!(same_bits(&[1.0f32], &[1.0, 1.0]).is_err());
    assert!(same_bits(&[f32::NAN], &[f32::NAN]).is_err());
    assert!(same_bits(&[f32::INFINITY], &[f32::INFINITY]).is_err());
}
