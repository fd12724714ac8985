// w[i] = before + Σ of what each slice left, in their order. One element per thread. Needs `before`: 0, or what earlier slices
// have left in w.
@compute @workgroup_size(64)
fn conv_join(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i >= op.len {
        return;
    }
    var sum = before(id.z, i);
    for (var slice = 0u; slice < op.slices; slice++) {
        sum += scratch(id.z, slice * op.len + i);
    }
    put_w(id.z, i, sum);
}
