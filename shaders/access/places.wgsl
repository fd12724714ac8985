// Elements of the block from the i-th vec4 on; none or less beyond its end.
// A place: first parameter, first gradient, elements, and the block's group and tensor.
fn left_of(i: u32) -> i32 {
    return i32(places[i / 16u].z & 127u) - i32(i % 16u * 4u);
}

fn block_of(i: u32) -> u32 {
    return places[i / 16u].w;
}
