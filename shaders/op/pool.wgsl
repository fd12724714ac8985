// y[o] = the largest element of window o, with its place, or the mean. A window per thread. Needs window.wgsl.
@compute @workgroup_size(64)
fn pool(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i >= op.len {
        return;
    }
    let v = vertical();
    let h = horizontal();
    let lines = window(v, i / h.out % v.out);
    let columns = window(h, i % h.out);
    let plane = i / (h.out * v.out) * v.image * h.image;
    var at = lines.x * h.image + columns.x;
    var value = 0.0;
    if MAX {
        value = x(id.z, plane + at);
    }
    for (var r = lines.x; r < lines.y; r += v.dilation) {
        for (var c = columns.x; c < columns.y; c += h.dilation) {
            let element = x(id.z, plane + r * h.image + c);
            if !MAX {
                value += element;
            } else if !unknown(value) && (element > value || unknown(element)) {
                value = element;
                at = r * h.image + c;
            }
        }
    }
    if MAX {
        put_places(id.z, i, f32(at));
    } else {
        value /= f32(members(v, i / h.out % v.out) * members(h, i % h.out));
    }
    put_y(id.z, i, value);
}
