// A copy in bfloat16: the upper halves, rounded to the nearest, ties to even; NaN stays NaN.
fn to_half(x: vec4f) -> vec4u {
    let bits = bitcast<vec4u>(x);
    let rounded = (bits + vec4u(0x7fffu) + (bits >> vec4u(16u) & vec4u(1u))) >> vec4u(16u);
    let nan = (bits & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
    return select(rounded, bits >> vec4u(16u) | vec4u(0x40u), nan);
}

fn keep_half(i: u32, x: T) {
    let h = to_half(x);
    halves[i] = vec2u(h.x | h.y << 16u, h.z | h.w << 16u);
}
