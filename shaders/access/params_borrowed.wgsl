// Parameters in the caller's buffers, at any element: `places` says where each block of 64 elements lies, and how many there
// are. What a block lacks reads as zero and is not written.
fn get_params(i: u32) -> T {
    let at = places[i / 16u].x + i % 16u * 4u;
    let left = left_of(i);
    if left >= 4 {
        return vec4f(params[at], params[at + 1u], params[at + 2u], params[at + 3u]);
    }
    var x = vec4f();
    if left > 0 { x.x = params[at]; }
    if left > 1 { x.y = params[at + 1u]; }
    if left > 2 { x.z = params[at + 2u]; }
    return x;
}

fn put_params(i: u32, x: T) {
    let at = places[i / 16u].x + i % 16u * 4u;
    let left = left_of(i);
    if left > 0 { params[at] = x.x; }
    if left > 1 { params[at + 1u] = x.y; }
    if left > 2 { params[at + 2u] = x.z; }
    if left > 3 { params[at + 3u] = x.w; }
}
