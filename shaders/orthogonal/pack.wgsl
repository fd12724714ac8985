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
        // By bits, since neither a comparison nor `max` keeps NaN on every driver.
        if bitcast<u32>(norm) != 0u {
            scaled = directions[place.own] / bitcast<f32>(max(bitcast<u32>(norm), bitcast<u32>(op.eps)));
        }
        x[place.packed] = scaled;
    }
}
