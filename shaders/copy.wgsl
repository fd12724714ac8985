// output = input, word by word; the yardstick of every other kernel's bandwidth.
// One vec4 per thread where offsets allow, else one word.
struct Copy { len: u32, input: u32, input_lane: u32, output: u32, output_lane: u32 }
@group(0) @binding(0) var<uniform> op: Copy;
@group(0) @binding(1) var<storage, read> input: array<W>; // len per lane
@group(0) @binding(2) var<storage, read_write> output: array<W>; // len per lane

@compute @workgroup_size(256)
fn copy(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 256u;
    if i < op.len {
        output[op.output + id.z * op.output_lane + i] = input[op.input + id.z * op.input_lane + i];
    }
}
