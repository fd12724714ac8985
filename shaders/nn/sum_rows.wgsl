// output[c] = Σ_r input[r, c], the gradient of a bias.
// One column per thread, rows in order, lanes along z.
struct SumRows { rows: u32, columns: u32, input: u32, input_lane: u32, output: u32, output_lane: u32 }
@group(0) @binding(0) var<uniform> op: SumRows;
@group(0) @binding(1) var<storage, read> input: array<f32>; // rows · columns per lane
@group(0) @binding(2) var<storage, read_write> output: array<f32>; // columns per lane

@compute @workgroup_size(64)
fn sum_rows(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let column = id.x + id.y * count.x * 64u;
    if column >= op.columns {
        return;
    }
    var sum = 0.0;
    for (var row = 0u; row < op.rows; row++) {
        sum += input[op.input + id.z * op.input_lane + row * op.columns + column];
    }
    output[op.output + id.z * op.output_lane + column] = sum;
}
