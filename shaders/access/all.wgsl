// An update of all tensors: the i-th vec4 of a launch is the i-th of what it covers.
fn place_of(i: u32) -> u32 {
    return op.plane + i;
}

// Its first element in the arena.
fn element_of(i: u32) -> u32 {
    return 4u * (16u * op.block + i % op.len);
}
