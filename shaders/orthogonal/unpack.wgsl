// U = k·X. matrices.wgsl is joined in before this file.
@compute @workgroup_size(256)
fn unpack(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let place = place_of(group, count, thread);
    if place.inside {
        directions[place.own] = op.factor * x[place.packed];
    }
}
