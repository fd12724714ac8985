//! Loops over arrays of a million elements. The tests are compiled without optimisation, which is a matter of a package; these
//! loops are a package with it. A generic function would be compiled with the tests that call it, so there is none.

/// The values as `f64`.
pub fn widened(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&x| f64::from(x)).collect()
}

/// Adds to each bound `of_size · max(|old|, |new|) + of_change · |new − old|`.
pub fn add_errors(bounds: &mut [f64], old: &[f64], new: &[f64], of_size: f64, of_change: f64) {
    for ((bound, old), new) in bounds.iter_mut().zip(old).zip(new) {
        *bound += of_size * old.abs().max(new.abs()) + of_change * (new - old).abs();
    }
}

/// The elements that are farther from the expected ones than their bounds, or whose bounds are not finite: how many there are,
/// and the place of the worst. A distance of NaN is worse than any other.
pub fn outside(found: &[f64], expected: &[f64], bounds: &[f64]) -> Option<(usize, usize)> {
    let (mut bad, mut worst) = (0, (0.0, 0));
    for (i, ((found, expected), bound)) in found.iter().zip(expected).zip(bounds).enumerate() {
        let err = (found - expected).abs();
        if !(err <= *bound) || !bound.is_finite() {
            bad += 1;
            let ratio = if err / bound >= 0.0 { err / bound } else { f64::INFINITY };
            if bad == 1 || !(ratio <= worst.0) {
                worst = (ratio, i);
            }
        }
    }
    (bad > 0).then_some((bad, worst.1))
}
