// Arithmetic that loses neither a small number beside a large one, nor NaN.
// What min, max, clamp and sign make of NaN is the driver's choice, and x != x may be false for it: these functions ask bits.
// T is f32 or vec4f, U its bits: the host says which, and joins this file in. src/rule/careful.rs is the same in Rust.

// From a towards b by a rate from 0 to 1, exact at both ends. Above 1/2 it is (1 − rate)·a + rate·b, or a small b would get
// lost.
fn toward(a: T, b: T, rate: f32) -> T {
    let near = rate > 0.5;
    return select(1.0, 1.0 - rate, near) * a + rate * (b - select(1.0, 0.0, near) * a);
}

// The larger of two numbers that are not negative: as integers their bits are in the same order, and those of NaN are the
// largest.
fn larger(a: T, b: T) -> T {
    return bitcast<T>(max(bitcast<U>(a), bitcast<U>(b)));
}

fn larger_one(a: f32, b: f32) -> f32 {
    return bitcast<f32>(max(bitcast<u32>(a), bitcast<u32>(b)));
}

// x where it is NaN, else y.
fn nan_or(x: T, y: T) -> T {
    return select(y, x, (bitcast<U>(x) & U(0x7fffffffu)) > U(0x7f800000u));
}

fn nan_or_one(x: f32, y: f32) -> f32 {
    return select(y, x, (bitcast<u32>(x) & 0x7fffffffu) > 0x7f800000u);
}

fn is_finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// −1, 0 or 1; 0 of NaN.
fn sign_of(x: T) -> T {
    return select(sign(x), T(0.0), (bitcast<U>(x) & U(0x7fffffffu)) > U(0x7f800000u));
}
