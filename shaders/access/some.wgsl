// An update of some tensors, block by block: each block of 64 elements comes with its place in what a launch covers, and its
// group and tensor; the tensor has the lower 20 bits.
fn block_of(i: u32) -> u32 {
    return blocks[i % op.len / 16u].y;
}

fn place_of(i: u32) -> u32 {
    return op.plane + i / op.len * op.stride + 16u * blocks[i % op.len / 16u].x + i % 16u;
}

// Its first element in the arena.
fn element_of(i: u32) -> u32 {
    return 4u * (16u * (op.block + blocks[i % op.len / 16u].x) + i % 16u);
}
