// A copy in bfloat16; see access/bf16.wgsl.
fn keep_half(i: u32, x: T) {
    halves[i] = to_bf16(x);
}
