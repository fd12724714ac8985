// 64 random bits for the i-th vec4 of a plane, by the step's key and by where its elements are in the order of sums; see src/cpu/bf16.rs.
fn noise(i: u32, plane: u32, row: Row) -> vec2u {
    return threefry(vec2u(u32(row.noise), plane), vec2u(vec4_in_order(i), 0u));
}
