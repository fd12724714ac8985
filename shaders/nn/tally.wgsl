// output[0] += Σ input: 64 running sums per lane, added in a fixed order.
// One workgroup per lane.
struct Tally { len: u32, input: u32, input_lane: u32, output: u32, output_lane: u32 }
@group(0) @binding(0) var<uniform> op: Tally;
@group(0) @binding(1) var<storage, read> input: array<f32>; // len per lane
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // 1 per lane
var<workgroup> sums: array<f32, 64>;

@compute @workgroup_size(64)
fn tally(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    var sum = 0.0;
    for (var i = thread; i < op.len; i += 64u) {
        sum += input[op.input + group.z * op.input_lane + i];
    }
    sums[thread] = sum;
    workgroupBarrier();
    if thread == 0u {
        for (var i = 1u; i < 64u; i++) {
            sum += sums[i];
        }
        output[op.output + group.z * op.output_lane] += sum;
    }
}
