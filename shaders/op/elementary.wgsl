// Elementary functions, the same polynomials as in src/rule/elementary.rs, which says how far each is off.
// Comparisons and built-in functions may do anything with NaN, so it is told by its bits and handed on.
fn is_nan(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u;
}

fn f_neg(x: f32) -> f32 {
    return -x;
}

fn f_abs(x: f32) -> f32 {
    return abs(x);
}

fn f_sign(x: f32) -> f32 {
    if is_nan(x) {
        return x;
    }
    return sign(x);
}

fn f_sqrt(x: f32) -> f32 {
    if is_nan(x) {
        return x;
    }
    return sqrt(x);
}

fn f_exp(x: f32) -> f32 {
    if is_nan(x) {
        return x;
    }
    let bounded = max(min(x, 89.0), -104.0);
    let n = round(bounded * 1.44269504);
    let r = (bounded - n * 0.6933594) - n * -2.1219444e-4;
    let q = 0.49999994 + r * (0.1666652 + r * (0.04166839 + r * (0.008368735 + r * 0.001381456)));
    let whole = i32(n);
    let half = whole >> 1u;
    return (1.0 + (r + r * r * q)) * bitcast<f32>((half + 127) << 23u) * bitcast<f32>((whole - half + 127) << 23u);
}

fn f_expm1(x: f32) -> f32 {
    if abs(x) < 0.5 {
        let q = 0.50000006 + x * (0.16666664 + x * (0.04166536 + x * (0.008333579 + x * (0.0013996176 + x * 0.0001984981))));
        return x + x * x * q;
    }
    return f_exp(x) - 1.0;
}

fn f_ln(x: f32) -> f32 {
    let word = bitcast<u32>(x);
    if is_nan(x) || word == 0x7f800000u {
        return x;
    }
    if (word & 0x7fffffffu) == 0u {
        return bitcast<f32>(0xff800000u + (word & 0u));
    }
    if word > 0x7fffffffu {
        return bitcast<f32>(0x7fc00000u | word);
    }
    let tiny = word < 0x00800000u;
    let bits = bitcast<i32>(select(x, x * 8388608.0, tiny));
    let e = (bits - 0x3f3504f3) >> 23u;
    let f = bitcast<f32>(bits - (e << 23u)) - 1.0;
    let ln_2s = f32(e) - select(0.0, 23.0, tiny);
    return ln_2s * 0.6933594 + (f + (ln_2s * -2.1219444e-4 + log_rest(f)));
}

// ln(1 + f) − f between √½ − 1 and √2 − 1.
fn log_rest(f: f32) -> f32 {
    let p = 0.33333313 + f * (-0.2500001 + f * (0.20002119 + f * (-0.16667986 + f * (0.1421952
        + f * (-0.12405753 + f * (0.11888589 + f * (-0.11674819 + f * 0.067445874)))))));
    return f * f * (f * p - 0.5);
}

// Not by Kahan's quotient of x and (1 + x) − 1, which compilers take for 1.
fn f_ln1p(x: f32) -> f32 {
    if x > -0.2928932 && x < 0.4142135 && !is_nan(x) {
        return x + log_rest(x);
    }
    return f_ln(1.0 + x);
}

// With the sign of another number. WGSL has no such function.
fn with_sign(size: f32, x: f32) -> f32 {
    return bitcast<f32>((bitcast<u32>(size) & 0x7fffffffu) | (bitcast<u32>(x) & 0x80000000u));
}

fn f_tanh(x: f32) -> f32 {
    if is_nan(x) {
        return x;
    }
    let a = abs(x);
    if a < 0.625 {
        let z = x * x;
        return x + x * z * (-0.3333328 + z * (0.13331442 + z * (-0.053739715 + z * (0.020639086 + z * -0.0057049864))));
    }
    return with_sign(1.0 - 2.0 / (f_exp(2.0 * a) + 1.0), x);
}

fn f_erf(x: f32) -> f32 {
    if is_nan(x) {
        return x;
    }
    let z = x * x;
    let a = abs(x);
    if a < 1.0 {
        return x * (1.1283791 + z * (-0.37612626 + z * (0.112835854 + z * (-0.026853813 + z * (0.005188328
            + z * (-0.0008010194 + z * 7.853861e-5))))));
    }
    let b = min(a, 4.0);
    let p = 3.4577237e-4 + b * (1.1270714 + b * (0.63817537 + b * (0.10307931 + b * (-0.021824472
        + b * (0.0029441423 + b * -1.8600829e-4)))));
    return with_sign(1.0 - f_exp(-p), x);
}

fn f_sigmoid(x: f32) -> f32 {
    let e = f_exp(-abs(x));
    return select(1.0, e, x < 0.0) / (1.0 + e);
}

fn f_softplus(x: f32) -> f32 {
    return f_ln1p(f_exp(-abs(x))) + select(0.0, x, x > 0.0);
}

fn f_max(a: f32, b: f32) -> f32 {
    if is_nan(a) {
        return a;
    }
    if is_nan(b) {
        return b;
    }
    return max(a, b);
}

fn f_min(a: f32, b: f32) -> f32 {
    if is_nan(a) {
        return a;
    }
    if is_nan(b) {
        return b;
    }
    return min(a, b);
}

// Comparisons are 1 or 0, and 0 with NaN.
fn f_less(a: f32, b: f32) -> f32 {
    return select(0.0, 1.0, a < b && !is_nan(a) && !is_nan(b));
}

fn f_less_equal(a: f32, b: f32) -> f32 {
    return select(0.0, 1.0, a <= b && !is_nan(a) && !is_nan(b));
}
