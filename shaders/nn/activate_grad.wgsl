// output = f'(input) · grad, element-wise; f is joined in from function.wgsl.
// One element per thread, lanes along z.
struct ActivateGrad { len: u32, input: u32, input_lane: u32, grad: u32, grad_lane: u32, output: u32, output_lane: u32 }
@group(0) @binding(0) var<uniform> op: ActivateGrad;
@group(0) @binding(1) var<storage, read> input: array<f32>; // len per lane
@group(0) @binding(2) var<storage, read> grad: array<f32>; // len per lane
@group(0) @binding(3) var<storage, read_write> output: array<f32>; // len per lane

@compute @workgroup_size(64)
fn activate_grad(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i < op.len {
        let slope = derivative(input[op.input + id.z * op.input_lane + i]);
        output[op.output + id.z * op.output_lane + i] = slope * grad[op.grad + id.z * op.grad_lane + i];
    }
}
