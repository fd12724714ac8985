// 64 random bits for the i-th vec4 of a plane, by the step's key and by where its elements are in the order of sums: a block of
// 64 elements has a seed by Threefry, and scrambles a word of its own for each two elements; see src/rule/bf16.rs.
fn noise(i: u32, plane: u32, row: HyperRow) -> vec2u {
    let at = vec4_in_order(i);
    let seed = threefry(vec2u(u32(row.noise), plane), vec2u(at / 16u, 0u)).x;
    return scrambled(vec2u(seed) + (at % 16u * 2u + vec2u(0u, 1u)) * 0x9e3779b9u);
}

fn scrambled(x: vec2u) -> vec2u {
    let y = (x ^ (x >> vec2u(16u))) * 0x7feb352du;
    let z = (y ^ (y >> vec2u(15u))) * 0x846ca68bu;
    return z ^ (z >> vec2u(16u));
}
