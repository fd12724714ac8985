// x[i] = Σ y[o] over the windows o whose largest element is i, or Σ y[o] / members over those that have i. An element per
// thread. Needs window.wgsl.
@compute @workgroup_size(64)
fn pool_grad(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i >= op.len {
        return;
    }
    let v = vertical();
    let h = horizontal();
    let row = i / h.image % v.image;
    let column = i % h.image;
    let own = f32(row * h.image + column);
    let lines = windows(v, row);
    let columns = windows(h, column);
    let plane = i / (h.image * v.image) * v.out * h.out;
    var sum = 0.0;
    for (var r = lines.x; r < lines.y; r++) {
        for (var c = columns.x; c < columns.y; c++) {
            let o = plane + r * h.out + c;
            if MAX {
                sum += select(0.0, y(id.z, o), floor(places(id.z, o)) == own);
            } else {
                let share = y(id.z, o) / f32(members(v, r) * members(h, c));
                sum += select(0.0, share, has(v, r, row) && has(h, c, column));
            }
        }
    }
    put_x(id.z, i, sum);
}
