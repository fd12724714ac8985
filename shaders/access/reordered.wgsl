// Where the i-th vec4 stands in the order of sums, if slices lie in another: the second half of their places says it of each
// block.
fn vec4_in_order(i: u32) -> u32 {
    return places[arrayLength(&places) / 2u + i / 16u].x * 16u + i % 16u;
}
