// Joins partial sums: output[r] = Σ_c input[r, c], or the largest; one workgroup per row and lane, in a fixed order.
// norm_kind.wgsl, which says how, is joined in before this file.
struct Join { rows: u32, columns: u32, input: u32, input_lane: u32, output: u32, output_lane: u32 }
@group(0) @binding(0) var<uniform> op: Join;
@group(0) @binding(1) var<storage, read> input: array<f32>; // rows × columns per lane
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // rows per lane
var<workgroup> values: array<f32, 256>;

@compute @workgroup_size(256)
fn join_rows(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = group.x + group.y * count.x;
    if row >= op.rows {
        return;
    }
    let first = op.input + group.z * op.input_lane + row * op.columns;
    var value = 0.0;
    for (var c = thread; c < op.columns; c += 256u) {
        value = join(value, input[first + c]);
    }
    values[thread] = value;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            values[thread] = join(values[thread], values[thread + half]);
        }
    }
    if thread == 0u {
        output[op.output + group.z * op.output_lane + row] = values[0];
    }
}
