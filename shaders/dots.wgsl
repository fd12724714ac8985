// Partial inner products of LEFT × RIGHT vectors: one workgroup of 64 threads per chunk of a lane, each sum in a fixed order.
// LEFT, RIGHT, the bindings of the vectors and add() are joined in before this file. The order of reads is that of norm.wgsl.
struct Dots { len: u32, chunks: u32, columns: u32, first: u32, right: u32, lane: u32, partials: u32, partials_lane: u32 }
override TRIPS: u32 = 16u; // vec4s per thread
const PRODUCTS = LEFT * RIGHT;
@group(0) @binding(0) var<uniform> op: Dots;
@group(0) @binding(1) var<storage, read> chunks: array<vec4u>; // first vec4, vec4s, column, unused
@group(0) @binding(2) var<storage, read_write> partials: array<f32>; // products × columns per lane
var<workgroup> values: array<f32, PRODUCTS * 64u>;

@compute @workgroup_size(64)
fn dots(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group.x + group.y * count.x;
    if index >= op.chunks {
        return;
    }
    let chunk = chunks[index];
    let first = thread / 8u * 8u * TRIPS + thread % 8u;
    var all = array<vec4f, PRODUCTS>();
    for (var trip = 0u; trip < TRIPS; trip++) {
        let i = first + trip * 8u;
        if i < chunk.y {
            add(&all, group.z * op.len + chunk.x + i);
        }
    }
    for (var k = 0u; k < PRODUCTS; k++) {
        values[k * 64u + thread] = (all[k].x + all[k].y) + (all[k].z + all[k].w);
    }
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            for (var k = 0u; k < PRODUCTS; k++) {
                values[k * 64u + thread] += values[k * 64u + thread + half];
            }
        }
    }
    workgroupBarrier();
    if thread < PRODUCTS {
        let row = op.first + thread / RIGHT * op.right + thread % RIGHT;
        partials[op.partials + (op.lane + group.z) * op.partials_lane + row * op.columns + chunk.z] = values[thread * 64u];
    }
}
