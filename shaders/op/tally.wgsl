// sum[0] += Σ terms, and their mean: 64 running sums per lane, added in a fixed order.
// One workgroup per lane.
var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn tally(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    var own = 0.0;
    for (var i = thread; i < op.len; i += 64u) {
        own += terms(group.z, i);
    }
    sums[thread] = own;
    workgroupBarrier();
    if thread == 0u {
        for (var i = 1u; i < 64u; i++) {
            own += sums[i];
        }
        put_sum(group.z, 0u, sum(group.z, 0u) + own);
        put_mean(group.z, 0u, own / f32(max(op.len, 1u)));
    }
}
