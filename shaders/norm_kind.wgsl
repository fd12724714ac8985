// The terms of a norm and how they join; KIND: 0 Σ g², 1 Σ |g|, 2 max |g|, 3 how many are not 0. What is not finite stays so:
// sums keep it, and as integers the bits of NaN are larger than those of infinity, and both than all.
override KIND: u32 = 0u;

fn term(g: vec4f) -> vec4f {
    if KIND == 0u {
        return g * g;
    }
    if KIND == 3u {
        // By bits, since drivers differ about whether NaN is 0.
        return select(vec4f(), vec4f(1.0), (bitcast<vec4u>(g) & vec4u(0x7fffffffu)) != vec4u());
    }
    return abs(g);
}

fn join(a: f32, b: f32) -> f32 {
    if KIND == 2u {
        return bitcast<f32>(max(bitcast<u32>(a), bitcast<u32>(b)));
    }
    return a + b;
}

fn join4(a: vec4f, b: vec4f) -> vec4f {
    if KIND == 2u {
        return bitcast<vec4f>(max(bitcast<vec4u>(a), bitcast<vec4u>(b)));
    }
    return a + b;
}
