// A copy in binary16, rounded to the nearest, ties to even, by bits: pack2x16float is not everywhere, and leaves rounding,
// infinity and NaN to the driver.
fn to_half(x: vec4f) -> vec4u {
    let bits = bitcast<vec4u>(x);
    let size = bits & vec4u(0x7fffffffu);
    // 13 bits of the fraction go, the exponent's bias falls by 112.
    let normal = (size + vec4u(0xfffu) + (size >> vec4u(13u) & vec4u(1u)) - vec4u(0x38000000u)) >> vec4u(13u);
    // Below 2⁻¹⁴ a half counts in units of 2⁻²⁴, which is the unit of floats from 0.5 on.
    let small = bitcast<vec4u>(abs(x) + vec4f(0.5)) - vec4u(0x3f000000u);
    var half = select(normal, small, size < vec4u(0x38800000u));
    half = select(half, vec4u(0x7c00u), size >= vec4u(0x47800000u));
    half = select(half, size >> vec4u(13u) & vec4u(0x3ffu) | vec4u(0x7e00u), size > vec4u(0x7f800000u));
    return half | bits >> vec4u(16u) & vec4u(0x8000u);
}

fn keep_half(i: u32, x: T) {
    let h = to_half(x);
    halves[i] = vec2u(h.x | h.y << 16u, h.z | h.w << 16u);
}
