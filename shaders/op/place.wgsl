// out[r, first + c] = x[r, c]. Other columns stay, or become 0: then there is a thread for each of them too.
@compute @workgroup_size(64)
fn place(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i >= op.len {
        return;
    }
    if op.clear == 0u {
        put_out(id.z, i / op.width * op.columns + op.first + i % op.width, x(id.z, i));
        return;
    }
    let column = i % op.columns;
    if column >= op.first && column < op.first + op.width {
        put_out(id.z, i, x(id.z, i / op.columns * op.width + column - op.first));
    } else {
        put_out(id.z, i, 0.0);
    }
}
