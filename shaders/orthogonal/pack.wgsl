// X = U / max(‖U‖, eps); what did not move is 0. matrices.wgsl is joined in before this file.
@compute @workgroup_size(256)
fn pack(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let place = place_of(group, count, thread);
    if place.inside {
        let norm = norms[(op.lane + group.z) * op.norms_lane + matrices[place.matrix].y].x;
        var scaled = 0.0;
        if norm != 0.0 {
            scaled = directions[place.own] / max(norm, op.eps);
        }
        x[place.packed] = scaled;
    }
}
