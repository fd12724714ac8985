//! The normal distribution cut to an interval, in logarithms.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2, PI};

use libm::{erf, erfc};

/// ln √(2π).
pub(super) const LN_ROOT_TAU: f64 = 0.918_938_533_204_672_7;

/// The probability below `x`.
fn below(x: f64) -> f64 {
    let y = x * FRAC_1_SQRT_2;
    if y < -FRAC_1_SQRT_2 {
        0.5 * erfc(-y)
    } else if y < FRAC_1_SQRT_2 {
        0.5 + 0.5 * erf(y)
    } else {
        1.0 - 0.5 * erfc(y)
    }
}

/// The logarithm of the probability below `x`.
pub(super) fn ln_below(x: f64) -> f64 {
    if x > 6.0 {
        return (-below(-x)).ln_1p();
    }
    if x > -20.0 {
        return below(x).ln();
    }
    // The asymptotic series φ(x) / −x · (1 − 1/x² + 3/x⁴ − 15/x⁶ + …).
    let (mut sum, mut term) = (1.0, 1.0);
    for i in 1..100 {
        term *= -f64::from(2 * i - 1) / (x * x);
        let next = sum + term;
        if (next - sum).abs() <= f64::EPSILON {
            sum = next;
            break;
        }
        sum = next;
    }
    -0.5 * x * x - (-x).ln() - LN_ROOT_TAU + sum.ln()
}

/// The logarithm of the probability between `a` and `b`.
///
/// Both tails are computed as the left one, where small probabilities keep their digits.
pub(super) fn ln_mass(a: f64, b: f64) -> f64 {
    if b <= 0.0 {
        let (upper, lower) = (ln_below(b), ln_below(a));
        upper + (-(lower - upper).exp()).ln_1p()
    } else if a > 0.0 {
        ln_mass(-b, -a)
    } else {
        let tail = |x: f64| 0.5 + 0.5 * erf(x * FRAC_1_SQRT_2);
        (-tail(a) - tail(-b)).ln_1p()
    }
}

/// The number between `a` and `b` below which the share `q` of the probability between them lies.
pub(super) fn quantile(q: f64, a: f64, b: f64) -> f64 {
    if q <= 0.0 || q >= 1.0 {
        return if q <= 0.0 { a } else { b };
    }
    if a >= 0.0 {
        return -quantile(1.0 - q, -b, -a);
    }
    // ln(Φ(a) + q · mass)
    let (low, part) = (ln_below(a), q.ln() + ln_mass(a, b));
    let (large, small) = if low > part { (low, part) } else { (part, low) };
    let target = large + (small - large).exp().ln_1p();
    inverse_ln_below(target).clamp(a, b)
}

/// The x whose [`ln_below`] is `y`, by Newton's method.
///
/// For a probability near 1 the other tail is solved, where `y` has its digits. The start is the logistic distribution's
/// quantile, or in the tail √(−2 (y + ln √(2π))).
fn inverse_ln_below(y: f64) -> f64 {
    if y == f64::NEG_INFINITY || y >= 0.0 {
        return if y >= 0.0 { f64::INFINITY } else { f64::NEG_INFINITY };
    }
    if y > -LN_2 {
        return -inverse_ln_below((-y.exp_m1()).ln());
    }
    let mut x = match y < -5.0 {
        true => -(-2.0 * (y + LN_ROOT_TAU)).sqrt(),
        false => -(3.0_f64.sqrt() / PI) * (-y).exp_m1().ln(),
    };
    for _ in 0..100 {
        let found = ln_below(x);
        // The slope of ln Φ is φ / Φ.
        let step = (found - y) * (found + 0.5 * x * x + LN_ROOT_TAU).exp();
        x -= step;
        if !(step.abs() > 1e-12 * x.abs()) {
            break;
        }
    }
    x
}

#[cfg(test)]
mod tests {
    use std::f64::consts::LN_2;

    use super::{ln_below, ln_mass, quantile};

    fn close(found: f64, expected: f64) {
        assert!((found - expected).abs() <= 1e-14 * expected.abs(), "{found} for {expected}");
    }

    #[test]
    fn logarithms_of_probabilities_are_right() {
        // From mpmath with 40 digits.
        close(ln_below(0.0), -LN_2);
        close(ln_below(-1.0), -1.8410216450092635);
        close(ln_below(-10.0), -53.23128515051247);
        close(ln_below(-25.0), -316.63940800802026);
        close(ln_below(7.0), -1.279812543886654e-12);
        close(ln_mass(-1.0, 1.0), -0.38171514630212607);
        close(ln_mass(10.0, 11.0), -53.23131022558313);
        close(ln_mass(-11.0, -10.0), -53.23131022558313);
    }

    #[test]
    fn a_quantile_has_its_share_below_it() {
        for (a, b) in
            [(-1.0, 2.0), (-0.1, 0.1), (-30.0, -25.0), (25.0, 30.0), (-40.0, 1.0), (0.0, 3.0), (-3.0, 0.0), (5.0, 5.001)]
        {
            assert_eq!((quantile(0.0, a, b), quantile(1.0, a, b)), (a, b));
            for q in [1e-9, 0.01, 0.3, 0.5, 0.9, 0.999] {
                let x = quantile(q, a, b);
                let share = (ln_mass(a, x) - ln_mass(a, b)).exp();
                assert!((share - q).abs() <= 1e-9, "{share} for {q} between {a} and {b}");
            }
        }
    }
}
