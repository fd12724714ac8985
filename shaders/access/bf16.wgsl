// Elements in bfloat16, the upper halves of f32: two in a word, the first in its lower half.
fn from_bf16(h: vec2u) -> vec4f {
    return bitcast<vec4f>(vec4u(h.x << 16u, h.x & 0xffff0000u, h.y << 16u, h.y & 0xffff0000u));
}

// Rounded to the nearest, ties to even.
fn to_bf16(x: vec4f) -> vec2u {
    let bits = bitcast<vec4u>(x);
    return upper_halves(bits, vec4u(0x7fffu) + (bits >> vec4u(16u) & vec4u(1u)));
}

// Rounded up or down by 64 random bits.
fn to_bf16_by(x: vec4f, random: vec2u) -> vec2u {
    let by = vec4u(random.x & 0xffffu, random.x >> 16u, random.y & 0xffffu, random.y >> 16u);
    return upper_halves(bitcast<vec4u>(x), by);
}

// The upper halves once something is added to the lower ones; NaN stays NaN.
fn upper_halves(bits: vec4u, by: vec4u) -> vec2u {
    let nan = (bits & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
    let h = select((bits + by) >> vec4u(16u), bits >> vec4u(16u) | vec4u(0x40u), nan);
    return vec2u(h.x | h.y << 16u, h.z | h.w << 16u);
}
