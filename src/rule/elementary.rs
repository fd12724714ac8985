//! Elementary functions in single precision, the same polynomials in Rust and in `shaders/op/elementary.wgsl`: WGSL promises
//! little of its own (of `log` and `tanh` an absolute error only), and two engines should agree. In double precision they are
//! the standard library's, so that the oracle is another implementation.
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
        // Vectors of x86 and ARM have the fused operation. Without it a call per element would be slow, and WebAssembly has
        // none.
        if S::IS_SCALAR || cfg!(target_family = "wasm") {
            plain::<false>(self.f, self.x, self.y);
        } else {
            plain::<true>(self.f, self.x, self.y);
        }
    }
}

/// `y = f(x)` as a loop that has the function in it: of what is passed as a value the compiler may make a function of its own,
/// which has no vector instructions.
macro_rules! each {
    ($x:ident, $y:ident, $f:path) => {
        for (y, &x) in $y.iter_mut().zip($x) {
            *y = $f(x);
        }
    };
}

/// Each function; `ONCE` as [`fma`] has it.
#[inline(always)]
fn plain<const ONCE: bool>(f: Function, x: &[f32], y: &mut [f32]) {
    match f {
        Function::Neg => map(x, y, |x| -x),
        Function::Abs => each!(x, y, f32::abs),
        Function::Sign => each!(x, y, sign),
        Function::Sqrt => each!(x, y, f32::sqrt),
        Function::Exp => each!(x, y, exp::<ONCE>),
        Function::Expm1 => each!(x, y, expm1::<ONCE>),
        Function::Ln => each!(x, y, ln::<ONCE>),
        Function::Ln1p => each!(x, y, ln1p::<ONCE>),
        Function::Tanh => each!(x, y, tanh::<ONCE>),
        Function::Erf => each!(x, y, erf::<ONCE>),
        Function::Sigmoid => each!(x, y, sigmoid::<ONCE>),
        Function::Softplus => each!(x, y, softplus::<ONCE>),
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

/// a·b + c, rounded once or, where the processor would need a call for it, twice.
#[inline(always)]
fn fma<const ONCE: bool>(a: f32, b: f32, c: f32) -> f32 {
    if ONCE { a.mul_add(b, c) } else { a * b + c }
}

/// The polynomial with these coefficients, the constant one first.
#[inline(always)]
fn polynomial<const ONCE: bool, const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    (0..N - 1).rev().fold(coefficients[N - 1], |sum, at| fma::<ONCE>(sum, x, coefficients[at]))
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

/// eˣ.
#[inline(always)]
fn exp<const ONCE: bool>(x: f32) -> f32 {
    // Beyond these bounds the result is infinite or 0. NaN fails both comparisons, and stays.
    let x = if x > 89.0 { 89.0 } else { x };
    let x = if x < -104.0 { -104.0 } else { x };
    let (n, rest) = exponent::<ONCE>(x);
    // In two steps, since 2ⁿ alone may be no f32.
    let half = n >> 1;
    rest * power(half) * power(n.wrapping_sub(half))
}

/// n and 1 + r + r²·q(r), whose product with 2ⁿ is eˣ: x = n·ln 2 + r; 4e-9 without rounding.
#[inline(always)]
fn exponent<const ONCE: bool>(x: f32) -> (i32, f32) {
    let moved = fma::<ONCE>(x, std::f32::consts::LOG2_E, WHOLE);
    let n = moved - WHOLE;
    let r = fma::<ONCE>(n, -LN_2[1], fma::<ONCE>(n, -LN_2[0], x));
    let q = polynomial::<ONCE, _>(r, [0.499_999_94, 0.166_665_2, 0.041_668_39, 0.008_368_735, 0.001_381_456]);
    // The whole number is in the last bits of what was moved; a conversion would look for NaN, one element at a time. Of NaN it
    // is any number, and the rest is NaN.
    let n = (moved.to_bits() as i32).wrapping_sub(WHOLE.to_bits() as i32);
    (n, 1.0 + fma::<ONCE>(r * r, q, r))
}

/// 2ⁿ, if it is no smaller than the normal numbers.
#[inline(always)]
fn power(n: i32) -> f32 {
    f32::from_bits((n.wrapping_add(127) << 23) as u32)
}

/// Near 0 by a polynomial; 4e-9.
#[inline(always)]
fn expm1<const ONCE: bool>(x: f32) -> f32 {
    let q =
        polynomial::<ONCE, _>(x, [0.500_000_06, 0.166_666_64, 0.041_665_36, 0.008_333_579, 0.001_399_617_6, 0.000_198_498_1]);
    if x.abs() < 0.5 { fma::<ONCE>(x * x, q, x) } else { exp::<ONCE>(x) - 1.0 }
}

/// e·ln 2 + ln(1 + f) with x = 2ᵉ·(1 + f), 1 + f between √½ and √2; 8e-10.
#[inline(always)]
fn ln<const ONCE: bool>(x: f32) -> f32 {
    let (e, f) = parts(x);
    ends(x, sum_of_logarithms::<ONCE>(e, f))
}

/// ln(1 + x). Near 0 f is x itself, since 1 + x loses digits. Kahan's quotient of x and (1 + x) − 1 would not do: shader
/// compilers take it for 1.
#[inline(always)]
fn ln1p<const ONCE: bool>(x: f32) -> f32 {
    let (e, f) = parts(1.0 + x);
    // √½ − 1 and √2 − 1.
    let near = x > -0.292_893_2 && x < 0.414_213_5;
    let (e, f) = if near { (0.0, x) } else { (e, f) };
    ends(1.0 + x, sum_of_logarithms::<ONCE>(e, f))
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
fn sum_of_logarithms<const ONCE: bool>(e: f32, f: f32) -> f32 {
    let p = polynomial::<ONCE, _>(
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
    fma::<ONCE>(e, LN_2[0], f + fma::<ONCE>(f * f, fma::<ONCE>(f, p, -0.5), e * LN_2[1]))
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
fn tanh<const ONCE: bool>(x: f32) -> f32 {
    let (z, a) = (x * x, x.abs());
    let p = polynomial::<ONCE, _>(z, [-0.333_332_8, 0.133_314_42, -0.053_739_715, 0.020_639_086, -0.005_704_986_4]);
    let near = fma::<ONCE>(x * z, p, x);
    let far = 1.0 - 2.0 / (exp::<ONCE>(2.0 * a) + 1.0);
    if a < 0.625 { near } else { far.copysign(x) }
}

/// x·p(x²) below 1, 3e-9, and 1 − e^(−p(x)) beyond, 5e-9.
#[expect(clippy::approx_constant, reason = "a coefficient of a fit, with the digits that the WGSL has")]
#[inline(always)]
fn erf<const ONCE: bool>(x: f32) -> f32 {
    let (z, a) = (x * x, x.abs());
    let near = x * polynomial::<ONCE, _>(
        z,
        [1.128_379_1, -0.376_126_26, 0.112_835_854, -0.026_853_813, 0.005_188_328, -0.000_801_019_4, 7.853_861e-5],
    );
    // From 4 on the result is ±1. NaN fails the comparison, and stays.
    let a = if a > 4.0 { 4.0 } else { a };
    let p = polynomial::<ONCE, _>(
        a,
        [3.457_723_7e-4, 1.127_071_4, 0.638_175_37, 0.103_079_31, -0.021_824_472, 0.002_944_142_3, -1.860_082_9e-4],
    );
    let (n, rest) = exponent::<ONCE>(-p);
    let far = 1.0 - rest * power(n);
    if a < 1.0 { near } else { far.copysign(x) }
}

#[inline(always)]
fn sigmoid<const ONCE: bool>(x: f32) -> f32 {
    let e = exp::<ONCE>(-x.abs());
    (if x < 0.0 { e } else { 1.0 }) / (1.0 + e)
}

#[inline(always)]
fn softplus<const ONCE: bool>(x: f32) -> f32 {
    ln1p::<ONCE>(exp::<ONCE>(-x.abs())) + if x > 0.0 { x } else { 0.0 }
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

    /// A function over numbers, from and to.
    type Way = fn(Function, &[f32], &mut [f32]);

    /// Every way in which a processor may compute them.
    const WAYS: [Way; 3] = [single, plain::<true>, plain::<false>];

    #[test]
    fn single_precision_is_within_three_units_of_the_last_place() {
        let x = arguments();
        let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        for (f, way) in ALL.into_iter().flat_map(|f| WAYS.map(|way| (f, way))) {
            let (mut found, mut right) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            way(f, &x, &mut found);
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
        for (f, way) in ALL.into_iter().flat_map(|f| WAYS.map(|way| (f, way))) {
            let (mut found, mut right) = ([0.0; 5], [0.0; 5]);
            way(f, &x, &mut found);
            double(f, &x.map(f64::from), &mut right);
            for ((x, found), right) in x.iter().zip(found).zip(right) {
                assert!(found == right as f32 || (found.is_nan() && right.is_nan()), "{f:?}({x}) = {found}, not {right}");
            }
        }
    }
}
