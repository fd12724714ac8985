// The mean of each matrix's rows, at least the floor: what the product of rows and columns is divided by. One workgroup of 64
// threads per matrix, joined in a fixed order. Shazeer & Stern 2018, arXiv:1804.04235.
struct Means { matrices: u32, current_lane: u32, moments_lane: u32 }
const HYPER_ROW = 32u;
const LIVE = 0u;
const OWN = 12u; // the rule's own scalars: rate, floor
@group(0) @binding(0) var<uniform> op: Means;
@group(0) @binding(1) var<storage, read> matrices: array<vec4u>; // first row, rows, place of the divisor, group
@group(0) @binding(2) var<storage, read> current: array<f32>; // groups · HYPER_ROW per lane
@group(0) @binding(3) var<storage, read_write> moments: array<f32>; // moments_lane per lane
var<workgroup> values: array<f32, 64>;

@compute @workgroup_size(64)
fn factored_means(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group.x + group.y * count.x;
    if index >= op.matrices {
        return;
    }
    let matrix = matrices[index];
    let lane = group.z * op.moments_lane;
    var sum = 0.0;
    for (var line = thread; line < matrix.y; line += 64u) {
        sum += moments[lane + matrix.x + line];
    }
    values[thread] = sum;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            values[thread] += values[thread + half];
        }
    }
    let row = group.z * op.current_lane + matrix.w * HYPER_ROW;
    if thread == 0u && current[row + LIVE] != 0.0 {
        // A floor of 0 is the resolution of the float type.
        let floor = select(current[row + OWN + 1u], 0x1p-23, current[row + OWN + 1u] == 0.0);
        let mean = values[0] / f32(matrix.y);
        moments[lane + matrix.z] = larger(mean, floor);
    }
}
