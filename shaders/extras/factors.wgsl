// Two factors per tensor.
fn factors_of(i: u32) -> vec2f {
    return factors[(op.lane + i / op.len) * op.factors_lane + (block_of(i) & 0xfffffu)];
}
