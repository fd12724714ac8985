//! The two comparators of the suite: one with tolerances, one for equal bits. Both fail on NaN, infinity, empty input and
//! unequal lengths.

use super::numbers::as_f64;
use thalweg::Real;
use thalweg_test_loops::outside;

/// Compares a result with the expected values, element by element: an error must be at most its `bound`, which the caller
/// derives from the movement or from the cost of the arithmetic.
///
/// NaN and infinity are errors on either side and in the bound, and so are empty input and unequal lengths.
pub fn close<F: Real>(found: &[F], expected: &[f64], bound: impl Fn(usize) -> f64) -> Result<(), String> {
    let bounds = if found.len() == expected.len() { (0..found.len()).map(bound).collect() } else { Vec::new() };
    close_within(found, expected, &bounds)
}

/// [`close`] with the bounds in a list.
pub fn close_within<F: Real>(found: &[F], expected: &[f64], bounds: &[f64]) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("{} elements found, {} expected", found.len(), expected.len()));
    }
    if found.is_empty() {
        return Err("nothing to compare".into());
    }
    assert_eq!(bounds.len(), expected.len(), "as many bounds as elements");
    let found = as_f64(found);
    let Some((bad, i)) = outside(&found, expected, bounds) else { return Ok(()) };
    let (len, found, expected, bound) = (found.len(), found[i], expected[i], bounds[i]);
    Err(format!("{bad} of {len} elements differ; the worst is element {i}: found {found}, expected {expected}, bound {bound}"))
}

/// [`close`], panicking with the name of what was compared.
#[track_caller]
pub fn assert_close<F: Real>(what: &str, found: &[F], expected: &[f64], bound: impl Fn(usize) -> f64) {
    close(found, expected, bound).unwrap_or_else(|error| panic!("{what}: {error}"));
}

/// Whether two results are finite and have the same bits.
pub fn same_bits<F: Real>(found: &[F], expected: &[F]) -> Result<(), String> {
    if found.len() != expected.len() {
        return Err(format!("{} elements found, {} expected", found.len(), expected.len()));
    }
    if found.is_empty() {
        return Err("nothing to compare".into());
    }
    let same = |i: usize| found[i].as_f64().to_bits() == expected[i].as_f64().to_bits() && found[i].is_finite();
    let bad: Vec<usize> = (0..found.len()).filter(|&i| !same(i)).collect();
    let Some(&i) = bad.first() else { return Ok(()) };
    let (bad, len, found, expected) = (bad.len(), found.len(), found[i], expected[i]);
    Err(format!("{bad} of {len} elements differ; the first is element {i}: found {found}, expected {expected}"))
}

/// [`same_bits`], panicking with the name of what was compared.
#[track_caller]
pub fn assert_same_bits<F: Real>(what: &str, found: &[F], expected: &[F]) {
    same_bits(found, expected).unwrap_or_else(|error| panic!("{what}: {error}"));
}
