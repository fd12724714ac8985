//! Elementary functions in single precision, the same polynomials in Rust and in `shaders/op/elementary.wgsl`: WGSL promises little of
//! its own (of `log` and `tanh` an absolute error only), and two engines should agree. In double precision they are the standard
//! library's, so that the oracle is another implementation.
//!
//! The polynomials are weighted least-squares fits to the functions. The weights were iterated to make the largest relative
//! error small; that error stands beside each polynomial.

/// A function of one number. NaN gives NaN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Function {
    /// −x.
    Neg,
    /// |x|; its derivative at 0 is 0.
    Abs,
    /// −1, 0 or 1.
    Sign,
    /// √x.
    Sqrt,
    /// eˣ.
    Exp,
    /// eˣ − 1.
    Expm1,
    /// ln x.
    Ln,
    /// ln(1 + x).
    Ln1p,
    /// The hyperbolic tangent.
    Tanh,
    /// The error function.
    Erf,
    /// 1/(1 + e⁻ˣ).
    Sigmoid,
    /// ln(1 + eˣ).
    Softplus,
}

/// `y = f(x)`, element by element.
pub(crate) fn single(f: Function, x: &[f32], y: &mut [f32]) {
    pulp::Arch::new().dispatch(Single { f, x, y });
}

/// A struct for pulp: the compiler may turn a closure into a separate function, which would have no vector instructions.
struct Single<'a> {
    f: Function,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl pulp::WithSimd for Single<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: pulp::Simd>(self, _simd: S) {
        plain(self.f, self.x, self.y);
    }
}

/// `y = f(x)` as a loop that has the function in it: of what is passed as a value the compiler may make a function of its own, which has no
/// vector instructions.
macro_rules! each {
    ($x:ident, $y:ident, $f:path) => {
        for (y, &x) in $y.iter_mut().zip($x) {
            *y = $f(x);
        }
    };
}

#[inline(always)]
fn plain(f: Function, x: &[f32], y: &mut [f32]) {
    match f {
        Function::Neg => map(x, y, |x| -x),
        Function::Abs => each!(x, y, f32::abs),
        Function::Sign => each!(x, y, sign),
        Function::Sqrt => each!(x, y, f32::sqrt),
        Function::Exp => each!(x, y, exp),
        Function::Expm1 => each!(x, y, expm1),
        Function::Ln => each!(x, y, ln),
        Function::Ln1p => each!(x, y, ln1p),
        Function::Tanh => each!(x, y, tanh),
        Function::Erf => each!(x, y, erf),
        Function::Sigmoid => each!(x, y, sigmoid),
        Function::Softplus => each!(x, y, softplus),
    }
}

/// [`single`] by the standard library and libm.
pub(crate) fn double(f: Function, x: &[f64], y: &mut [f64]) {
    match f {
        Function::Neg => map(x, y, |x| -x),
        Function::Abs => map(x, y, f64::abs),
        Function::Sign => map(x, y, |x| if x == 0.0 || x.is_nan() { x } else { x.signum() }),
        Function::Sqrt => map(x, y, f64::sqrt),
        Function::Exp => map(x, y, f64::exp),
        Function::Expm1 => map(x, y, f64::exp_m1),
        Function::Ln => map(x, y, f64::ln),
        Function::Ln1p => map(x, y, f64::ln_1p),
        Function::Tanh => map(x, y, f64::tanh),
        Function::Erf => map(x, y, libm::erf),
        Function::Sigmoid => map(x, y, |x| {
            let e = (-x.abs()).exp();
            if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
        }),
        Function::Softplus => map(x, y, |x| (-x.abs()).exp().ln_1p() + if x > 0.0 { x } else { 0.0 }),
    }
}

#[inline(always)]
fn map<F: Copy>(x: &[F], y: &mut [F], f: impl Fn(F) -> F) {
    y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x));
}

/// The polynomial with these coefficients, the constant one first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    coefficients.into_iter().rev().fold(0.0, |sum, c| sum * x + c)
}

/// ln 2 in two parts: multiples of the first are exact.
const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
/// From here on every f32 is a whole number: adding and subtracting it rounds.
const WHOLE: f32 = 12_582_912.0;

#[inline(always)]
fn sign(x: f32) -> f32 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

/// 2ⁿ·(1 + r + r²·q(r)) with x = n·ln 2 + r; 4e-9 without rounding.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Beyond these bounds the result is infinite or 0. NaN fails both comparisons, and stays.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let moved = x * std::f32::consts::LOG2_E + WHOLE;
    let n = moved - WHOLE;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let q = polynomial(r, [0.499_999_94, 0.166_665_2, 0.041_668_39, 0.008_368_735, 0.001_381_456]);
    // In two steps, since 2ⁿ alone may be no f32. The whole number is in the last bits of what was moved; a conversion would look for NaN,
    // one element at a time. Of NaN it is any number, and the result is NaN.
    let n = (moved.to_bits() as i32).wrapping_sub(WHOLE.to_bits() as i32);
    let half = n >> 1;
    let power = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
    (1.0 + (r + r * r * q)) * power(half) * power(n.wrapping_sub(half))
}

/// Near 0 by a polynomial; 4e-9.
#[inline(always)]
fn expm1(x: f32) -> f32 {
    let q = polynomial(x, [0.500_000_06, 0.166_666_64, 0.041_665_36, 0.008_333_579, 0.001_399_617_6, 0.000_198_498_1]);
    if x.abs() < 0.5 { x + x * x * q } else { exp(x) - 1.0 }
}

/// e·ln 2 + ln(1 + f) with x = 2ᵉ·(1 + f), 1 + f between √½ and √2; 8e-10.
#[inline(always)]
fn ln(x: f32) -> f32 {
    let (e, f) = parts(x);
    ends(x, sum_of_logarithms(e, f))
}

/// ln(1 + x). Near 0 f is x itself, since 1 + x loses digits. Kahan's quotient of x and (1 + x) − 1 would not do: shader
/// compilers take it for 1.
#[inline(always)]
fn ln1p(x: f32) -> f32 {
    let (e, f) = parts(1.0 + x);
    // √½ − 1 and √2 − 1.
    let near = x > -0.292_893_2 && x < 0.414_213_5;
    let (e, f) = if near { (0.0, x) } else { (e, f) };
    ends(1.0 + x, sum_of_logarithms(e, f))
}

/// e and f of x = 2ᵉ·(1 + f).
#[inline(always)]
fn parts(x: f32) -> (f32, f32) {
    let tiny = x < f32::MIN_POSITIVE;
    let bits = (if tiny { x * 8_388_608.0 } else { x }).to_bits() as i32;
    // The bits of √½.
    let e = bits.wrapping_sub(0x3f35_04f3) >> 23;
    let f = f32::from_bits(bits.wrapping_sub(e << 23) as u32) - 1.0;
    (e as f32 - if tiny { 23.0 } else { 0.0 }, f)
}

#[inline(always)]
fn sum_of_logarithms(e: f32, f: f32) -> f32 {
    let p = polynomial(
        f,
        [
            0.333_333_13,
            -0.250_000_1,
            0.200_021_19,
            -0.166_679_86,
            0.142_195_2,
            -0.124_057_53,
            0.118_885_89,
            -0.116_748_19,
            0.067_445_874,
        ],
    );
    e * LN_2[0] + (f + (e * LN_2[1] + f * f * (f * p - 0.5)))
}

/// The logarithm of any x: `value` if x is finite and above 0, −∞ of 0, ∞ of ∞, else NaN.
#[inline(always)]
fn ends(x: f32, value: f32) -> f32 {
    if x > 0.0 && x < f32::INFINITY {
        value
    } else if x == 0.0 {
        f32::NEG_INFINITY
    } else if x > 0.0 {
        x
    } else {
        f32::NAN
    }
}

/// Near 0 by a polynomial in x²; 5e-9.
#[inline(always)]
fn tanh(x: f32) -> f32 {
    let (z, a) = (x * x, x.abs());
    let near = x + x * z * polynomial(z, [-0.333_332_8, 0.133_314_42, -0.053_739_715, 0.020_639_086, -0.005_704_986_4]);
    let far = 1.0 - 2.0 / (exp(2.0 * a) + 1.0);
    if a < 0.625 { near } else { far.copysign(x) }
}

/// x·p(x²) below 1, and 1 − e^(−x²)·t·p(t) with t = 1/(1 + x/2) beyond; 3e-9.
#[expect(clippy::approx_constant, reason = "a coefficient of a fit, with the digits that the WGSL has")]
#[inline(always)]
fn erf(x: f32) -> f32 {
    let (z, a) = (x * x, x.abs());
    let near = x * polynomial(
        z,
        [1.128_379_1, -0.376_126_26, 0.112_835_854, -0.026_853_813, 0.005_188_328, -0.000_801_019_4, 7.853_861e-5],
    );
    let t = 1.0 / (1.0 + 0.5 * a);
    let p = polynomial(
        t,
        [
            0.282_085_42,
            0.282_356_6,
            0.243_703_68,
            0.197_251_32,
            -0.002_136_879_6,
            0.216_049_52,
            -0.397_455_07,
            0.215_244_13,
            -0.036_874_313,
        ],
    );
    let far = 1.0 - exp(-z) * t * p;
    if a < 1.0 { near } else { far.copysign(x) }
}

#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let e = exp(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

#[inline(always)]
fn softplus(x: f32) -> f32 {
    ln1p(exp(-x.abs())) + if x > 0.0 { x } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Function; 12] = [
        Function::Neg,
        Function::Abs,
        Function::Sign,
        Function::Sqrt,
        Function::Exp,
        Function::Expm1,
        Function::Ln,
        Function::Ln1p,
        Function::Tanh,
        Function::Erf,
        Function::Sigmoid,
        Function::Softplus,
    ];

    /// Numbers of every size, of either sign, and steps around what each function treats in another way.
    fn arguments() -> Vec<f32> {
        let sizes = (-149..128).flat_map(|e| [1.0, 1.1, 1.5, 1.9].map(|m| m * 2f64.powi(e) as f32));
        let near = [0.29, 0.41, 0.5, 0.625, 1.0, 88.7, 103.9].into_iter();
        let near = near.flat_map(|at: f32| (-50..50).map(move |step| f32::from_bits(at.to_bits().wrapping_add_signed(step))));
        let even = (0..20_000).map(|i| i as f32 * 5e-3);
        sizes.chain(near).chain(even).flat_map(|x| [x, -x]).collect()
    }

    #[test]
    fn single_precision_is_within_three_units_of_the_last_place() {
        let x = arguments();
        let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        for f in ALL {
            let (mut found, mut right) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            single(f, &x, &mut found);
            double(f, &wide, &mut right);
            for ((x, found), right) in x.iter().zip(found).zip(right) {
                let nearest = right as f32;
                // A unit of the last place of the right value, also where it is subnormal.
                let unit = f64::from(f32::from_bits(nearest.abs().to_bits() + 1)) - f64::from(nearest.abs());
                let same = found == nearest || (found.is_nan() && nearest.is_nan());
                let near = (f64::from(found) - right).abs() <= 3.0 * unit;
                assert!(same || near, "{f:?}({x}) = {found}, {right} is right, a unit is {unit:e}");
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_as_in_double_precision() {
        let x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0, -0.0];
        for f in ALL {
            let (mut found, mut right) = ([0.0; 5], [0.0; 5]);
            single(f, &x, &mut found);
            double(f, &x.map(f64::from), &mut right);
            for ((x, found), right) in x.iter().zip(found).zip(right) {
                assert!(found == right as f32 || (found.is_nan() && right.is_nan()), "{f:?}({x}) = {found}, not {right}");
            }
        }
    }
}
