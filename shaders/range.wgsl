// Sums that leave the range of a float although the norm does not: as m · 2^k. norm_kind.wgsl is joined in before this file. A
// chunk whose sum is infinite, or tiny though not all of its elements are 0, has a second sum, over elements times 2^DOWN or
// 2^UP.
const TINY = 0x12000000u; // the bits of 2^-91: below, squares that a device takes for 0 may be half a bit of the sum
const SMALL = 0x1f800000u; // the bits of 2^-64: the same for the sum over a million chunks
const INFINITE = 0x7f800000u; // the bits of infinity; those of NaN are larger
const DOWN = -80;
const UP = 100;
const NOTHING = -1000.0; // less than every exponent

struct Wide { m: f32, k: i32 }

// Comparisons do not find NaN on every driver; bits do.
fn finite(x: f32) -> bool {
    return (bitcast<u32>(x) & INFINITE) != INFINITE;
}

// Whether sums of this kind can leave the range: Σ g² and Σ |g|.
fn leaves_range() -> bool {
    return KIND < 2u;
}

fn power_of_two(exponent: i32) -> f32 {
    return bitcast<f32>(u32(clamp(exponent, -126, 127) + 127) << 23u);
}

// x · 2^exponent, in two products: the power alone can be out of the range.
fn shifted(x: f32, exponent: i32) -> f32 {
    let half = exponent / 2;
    return x * power_of_two(half) * power_of_two(exponent - half);
}

// The power of two for the elements of a chunk with this sum; 0 where it is in range.
fn rescale(sum: f32) -> i32 {
    let bits = bitcast<u32>(sum);
    if bits >= INFINITE {
        return DOWN;
    }
    return select(0, UP, bits < TINY);
}

// The sum of a chunk; `power` is 2 for squares.
fn part(sum: f32, again: f32, power: i32) -> Wide {
    let by = rescale(sum);
    if by == 0 {
        return Wide(sum, 0);
    }
    return Wide(again, -by * power);
}

// The exponent of the leading bit.
fn magnitude(x: Wide) -> f32 {
    let bits = bitcast<u32>(x.m);
    return select(f32(i32((bits >> 23u) & 0xffu) - 127 + x.k), NOTHING, bits == 0u);
}

fn even(magnitude: f32) -> i32 {
    let exponent = i32(magnitude);
    return exponent + (exponent & 1);
}

// The norm that a sum is of: m · 2^k too.
fn length_of(sum: Wide, power: i32) -> Wide {
    return Wide(select(sum.m, sqrt(sum.m), power == 2), sum.k / power);
}

// The largest float in the place of infinity, if no element is infinite.
fn bounded(norm: Wide) -> f32 {
    let value = shifted(norm.m, norm.k);
    return select(value, 0x1.fffffep+127, finite(norm.m) && !finite(value));
}

// numerator / (norm + constant)
fn divided(numerator: f32, norm: Wide, constant: f32) -> f32 {
    let total = shifted(norm.m, norm.k) + constant;
    if finite(norm.m) && !finite(total) {
        return shifted(numerator / norm.m, -norm.k);
    }
    return numerator / total;
}
