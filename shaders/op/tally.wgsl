// sums[c] += Σ_r terms[c, r], and the mean of the first column: 64 running sums per column and lane, added in a fixed order.
// One workgroup per column and lane.
var<workgroup> parts: array<f32, 64>;

@compute @workgroup_size(64)
fn tally(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let column = group.x + group.y * count.x;
    if column >= op.columns {
        return;
    }
    var own = 0.0;
    for (var i = thread; i < op.rows; i += 64u) {
        own += terms(group.z, column * op.rows + i);
    }
    parts[thread] = own;
    workgroupBarrier();
    if thread == 0u {
        for (var i = 1u; i < 64u; i++) {
            own += parts[i];
        }
        put_sums(group.z, column, sums(group.z, column) + own);
        if column == 0u {
            put_mean(group.z, 0u, own / f32(max(op.rows, 1u)));
        }
    }
}
