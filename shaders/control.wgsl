// The decision about a step, one workgroup per lane: norm, clip coefficient, the rows of this step, or that it is skipped.
// Clipping as torch.nn.utils.clip_grad_norm_; a norm that is not finite freezes the lane.
struct Control {
    groups: u32, slots: u32, chunks: u32, partials_lane: u32,
    rows_lane: u32, current_lane: u32, counts_lane: u32, scalars_lane: u32,
}
override NORM: bool = false;
const ROW = 32u;
const LIVE = 0u;
const SCALE = 1u;
const MAX_NORM = 4u;
@group(0) @binding(0) var<uniform> op: Control;
@group(0) @binding(1) var<storage, read> partials: array<f32>; // chunks per lane
@group(0) @binding(2) var<storage, read> rows: array<f32>; // slots · groups · ROW per lane
@group(0) @binding(3) var<storage, read_write> current: array<f32>; // groups · ROW per lane
@group(0) @binding(4) var<storage, read_write> counts: array<u32>; // applied, skipped, clipped per lane
@group(0) @binding(5) var<storage, read_write> scalars: array<f32>; // norm, coefficient per lane
var<workgroup> sums: array<f32, 256>;
var<workgroup> coefficient: f32;
var<workgroup> live: bool;
var<workgroup> slot: u32;

// Comparisons do not find NaN on every driver; bits do.
fn finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

fn decide(lane: u32, sum: f32) {
    let c = lane * op.counts_lane;
    slot = lane * op.rows_lane + counts[c] % op.slots * op.groups * ROW;
    coefficient = 1.0;
    live = true;
    var norm = 0.0;
    if NORM {
        norm = sqrt(sum);
        live = finite(sum);
        let max_norm = rows[slot + MAX_NORM];
        let total = norm + 1e-6;
        if total > max_norm {
            coefficient = max_norm / total;
        }
    }
    counts[c] += select(0u, 1u, live);
    counts[c + 1u] += select(1u, 0u, live);
    counts[c + 2u] += select(0u, 1u, live && coefficient < 1.0);
    scalars[lane * op.scalars_lane] = norm;
    scalars[lane * op.scalars_lane + 1u] = coefficient;
}

@compute @workgroup_size(256)
fn control(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let lane = group.z;
    var sum = 0.0;
    if NORM {
        for (var i = thread; i < op.chunks; i += 256u) {
            sum += partials[lane * op.partials_lane + i];
        }
    }
    sums[thread] = sum;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            sums[thread] += sums[thread + half];
        }
    }
    if thread == 0u {
        decide(lane, sums[0]);
    }
    workgroupBarrier();
    for (var i = thread; i < op.groups * ROW; i += 256u) {
        var scalar = rows[slot + i];
        if i % ROW == LIVE {
            scalar = select(0.0, 1.0, live);
        }
        if i % ROW == SCALE {
            scalar *= coefficient;
        }
        current[lane * op.current_lane + i] = scalar;
    }
}
