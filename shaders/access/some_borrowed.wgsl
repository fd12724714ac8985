// An update of some tensors in the caller's buffers: a place's third word also has where its block is, all lanes counted, in
// what a launch covers.
fn place_of(i: u32) -> u32 {
    return op.plane + 16u * (places[i / 16u].z >> 7u) + i % 16u;
}

// Its first element in the arena.
fn element_of(i: u32) -> u32 {
    return 4u * (16u * op.block + place_of(i) - op.plane - i / op.len * op.stride);
}
