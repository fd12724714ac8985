//! Arithmetic that loses neither a small number beside a large one, nor NaN. `shaders/careful.wgsl` is the same in WGSL.

use super::Real;

/// From `a` towards `b` by a rate from 0 to 1; exact at both ends.
///
/// Up to a half this is `a + rate·(b − a)`. Above, a small b would get lost beside a large a, so it is `(1 − rate)·a + rate·b`;
/// the weights add up to 1, since there `1 − rate` is exact. Both are one expression, since a loop cannot afford a branch.
#[inline(always)]
pub(crate) fn toward<F: Real>(a: F, b: F, rate: F) -> F {
    let (keep, own) = if rate > F::of(0.5) { (F::one() - rate, F::zero()) } else { (F::one(), F::one()) };
    keep * a + rate * (b - own * a)
}

/// 1 − βᵗ without the cancellation of a difference, also where β is 0.
pub(crate) fn bias_correction(beta: f64, t: u64) -> f64 {
    -f64::exp_m1(t as f64 * beta.ln())
}

/// The larger of two numbers; NaN if one of them is, where `max` gives the other.
#[inline(always)]
pub(crate) fn larger<F: Real>(a: F, b: F) -> F {
    if a > b || a.is_nan() { a } else { b }
}

/// The smaller of two numbers; NaN if one of them is, where `min` gives the other.
#[inline(always)]
pub(crate) fn smaller<F: Real>(a: F, b: F) -> F {
    if a < b || a.is_nan() { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_exact() {
        for (a, b) in [(1e8, 1.25), (1.0, 1e-9), (-3e38, 1e-38), (0.1, 0.3)] {
            assert_eq!((toward::<f32>(a, b, 0.0), toward::<f32>(a, b, 1.0)), (a, b));
        }
    }

    #[test]
    fn a_rate_of_at_most_a_half_has_the_bits_of_the_plain_form() {
        for rate in [0.5, 0.1, 0.001, 1e-7] {
            for (a, b) in [(0.3, -0.7), (1e8, 1.25), (-0.1, 0.1), (1e-30, 1e30)] {
                assert_eq!(toward::<f32>(a, b, rate).to_bits(), (a + rate * (b - a)).to_bits());
            }
        }
    }

    #[test]
    fn a_small_number_survives_a_rate_near_1() {
        // The plain form gives 0 in single precision.
        let (rate, small) = (1.0 - f32::EPSILON / 2.0, 1e-9);
        let right = f64::from(1.0 - rate) + f64::from(rate) * f64::from(small);
        assert!((f64::from(toward(1.0, small, rate)) / right - 1.0).abs() < 1e-6);
    }

    #[test]
    fn the_correction_of_a_bias_is_exact_near_1_and_at_0() {
        let beta = 1.0 - 1e-12;
        assert!((bias_correction(beta, 1) / (1.0 - beta) - 1.0).abs() < 1e-15);
        assert_eq!((bias_correction(0.0, 1), bias_correction(0.0, 7)), (1.0, 1.0));
        assert!((bias_correction(0.9, 2) - 0.19).abs() < 1e-15);
    }

    #[test]
    fn nan_is_neither_larger_nor_smaller_but_stays() {
        for (a, b) in [(f32::NAN, 1.0), (1.0, f32::NAN), (-f32::NAN, f32::INFINITY)] {
            assert!(larger(a, b).is_nan() && smaller(a, b).is_nan(), "{a}, {b}");
        }
        assert_eq!((larger(1.0, 2.0), larger(2.0, 1.0), smaller(1.0, 2.0), smaller(2.0, 1.0)), (2.0, 2.0, 1.0, 1.0));
    }
}
