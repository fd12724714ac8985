// Gradients in the caller's buffers, at any element; see params_borrowed.wgsl.
fn get_grads(i: u32) -> T {
    let at = places[i / 16u].y + i % 16u * 4u;
    let left = left_of(i);
    if left >= 4 {
        return vec4f(grads[at], grads[at + 1u], grads[at + 2u], grads[at + 3u]);
    }
    var g = vec4f();
    if left > 0 { g.x = grads[at]; }
    if left > 1 { g.y = grads[at + 1u]; }
    if left > 2 { g.z = grads[at + 2u]; }
    return g;
}

fn put_grads(i: u32, g: T) {
    let at = places[i / 16u].y + i % 16u * 4u;
    let left = left_of(i);
    if left > 0 { grads[at] = g.x; }
    if left > 1 { grads[at + 1u] = g.y; }
    if left > 2 { grads[at + 2u] = g.z; }
    if left > 3 { grads[at + 3u] = g.w; }
}
