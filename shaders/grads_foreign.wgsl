// Gradients in somebody's buffers, at any element; see params_foreign.wgsl.
@group(0) @binding(4) var<storage, read_write> grads: array<f32>;

// Elements of the block from the i-th vec4 on; none or less beyond its end.
fn left_of(i: u32) -> i32 {
    return i32(places[i / 16u].z) - i32(i % 16u * 4u);
}

fn get_grads(i: u32) -> vec4f {
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
