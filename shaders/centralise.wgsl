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
    let len = f32(line.y);
    var mean = sum(start, line.y, thread, 1.0) / len;
    if (bitcast<u32>(mean) & 0x7f800000u) == 0x7f800000u {
        // The sum may have left the range of the float, which the mean of finite elements does not.
        mean = sum(start, line.y, thread, len);
    }
    for (var i = thread; i < line.y; i += 64u) {
        grads[address(start + i)] -= mean;
    }
}

// Of the elements over `unit`, the same for all threads.
fn sum(start: u32, len: u32, thread: u32, unit: f32) -> f32 {
    var own = 0.0;
    for (var i = thread; i < len; i += 64u) {
        own += grads[address(start + i)] / unit;
    }
    workgroupBarrier();
    values[thread] = own;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            values[thread] += values[thread + half];
        }
    }
    return workgroupUniformLoad(&values[0]);
}
