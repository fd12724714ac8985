// A linear combination of vectors: output = Σ coefficient · term, added to what the output holds where there were terms before.
// The bindings of the terms and sum() are joined in before this file. One vec4 per thread.
struct Combine { len: u32, lanes: u32, lane: u32, coefficients: u32, coefficients_lane: u32 }
override ADD: bool = false; // there were terms before
@group(0) @binding(0) var<uniform> op: Combine;
@group(0) @binding(1) var<storage, read> coefficients: array<f32>; // one per term and lane
@group(0) @binding(2) var<storage, read_write> output: array<vec4f>; // len per lane

@compute @workgroup_size(256)
fn combine(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 256u;
    if i >= op.len * op.lanes {
        return;
    }
    let terms = sum(op.coefficients + (op.lane + i / op.len) * op.coefficients_lane, i);
    if ADD {
        output[i] += terms;
    } else {
        output[i] = terms;
    }
}
