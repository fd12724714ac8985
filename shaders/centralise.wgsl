// Takes the mean of each line out of it, in place: one workgroup of 64 threads per line of a lane, joined in a fixed order.
// Yong et al. 2020, arXiv:2004.01461. Access to gradients is joined in before this file.
struct Centralise { len: u32, lines: u32 }
@group(0) @binding(0) var<uniform> op: Centralise;
var<workgroup> values: array<f32, 64>;

@compute @workgroup_size(64)
fn centralise(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group.x + group.y * count.x;
    if index >= op.lines {
        return;
    }
    let line = lines[index]; // first element of this launch, elements
    let start = group.z * op.len + line.x;
    var sum = 0.0;
    for (var i = thread; i < line.y; i += 64u) {
        sum += grads[address(start + i)];
    }
    values[thread] = sum;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            values[thread] += values[thread + half];
        }
    }
    workgroupBarrier();
    let mean = values[0] / f32(line.y);
    for (var i = thread; i < line.y; i += 64u) {
        grads[address(start + i)] -= mean;
    }
}
