// y = x, element by element: whole vectors where offsets allow. The yardstick of every other kernel's bandwidth.

@compute @workgroup_size(256)
fn copy(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 256u;
    if i < op.len { put_y(id.z, i, x(id.z, i)); }
}
