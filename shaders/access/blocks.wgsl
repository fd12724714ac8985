// Group and tensor of each block of 64 elements; the tensor has the lower 20 bits.
fn block_of(i: u32) -> u32 {
    return blocks[op.block + i % op.len / 16u];
}
