// Partial sums of squares: one workgroup of 256 threads per chunk of a lane's gradients, added in a fixed order.
// Eight neighbouring threads read neighbouring vec4s: whole cache lines on GPUs, and vector loads on software drivers.
struct Norm { len: u32, chunks: u32, lane: u32, partial: u32, partial_lane: u32 }
override TRIPS: u32 = 16u; // vec4s per thread
@group(0) @binding(0) var<uniform> op: Norm;
@group(0) @binding(1) var<storage, read_write> grads: array<vec4f>; // len per lane
@group(0) @binding(2) var<storage, read_write> partials: array<f32>; // partial_lane per lane
var<workgroup> sums: array<f32, 256>;

@compute @workgroup_size(256)
fn norm(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let chunk = group.x + group.y * count.x;
    if chunk >= op.chunks {
        return;
    }
    let first = chunk * 256u * TRIPS + thread / 8u * 8u * TRIPS + thread % 8u;
    var squares = vec4f();
    for (var trip = 0u; trip < TRIPS; trip++) {
        let i = first + trip * 8u;
        if i < op.len {
            let g = grads[group.z * op.len + i];
            squares += g * g;
        }
    }
    sums[thread] = (squares.x + squares.y) + (squares.z + squares.w);
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            sums[thread] += sums[thread + half];
        }
    }
    if thread == 0u {
        partials[(op.lane + group.z) * op.partial_lane + op.partial + chunk] = sums[0];
    }
}
