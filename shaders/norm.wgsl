// Partial norms, with the access to gradients joined in before this file: one workgroup of 64 threads per chunk of a lane's gradients, joined in a fixed order.
// Eight neighbouring threads read neighbouring vec4s: whole cache lines on GPUs, and vector loads on software drivers.
struct Norm { len: u32, chunks: u32, lane: u32, partials_lane: u32, frozen_lane: u32 }
override TRIPS: u32 = 16u; // vec4s per thread
@group(0) @binding(0) var<uniform> op: Norm;
var<workgroup> values: array<f32, 64>;

@compute @workgroup_size(64)
fn norm(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group.x + group.y * count.x;
    if index >= op.chunks {
        return;
    }
    let chunk = chunks[index];
    let lane = op.lane + group.z;
    let first = thread / 8u * 8u * TRIPS + thread % 8u;
    var all = vec4f();
    if frozen[lane * op.frozen_lane + chunk.w] == 0u {
        for (var trip = 0u; trip < TRIPS; trip++) {
            let i = first + trip * 8u;
            if i < chunk.y {
                all = join4(all, term(get_grads(group.z * op.len + chunk.x + i)));
            }
        }
    }
    values[thread] = join(join(all.x, all.y), join(all.z, all.w));
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            values[thread] = join(values[thread], values[thread + half]);
        }
    }
    if thread == 0u {
        partials[lane * op.partials_lane + chunk.z] = values[0];
    }
}
