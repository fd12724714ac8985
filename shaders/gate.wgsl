// A row for an update that is not a step, one workgroup per lane: whether a micro-batch counts, or how far to ascend.
// What joins partial norms is joined in before this file.
struct Gate {
    groups: u32, chunks: u32, partials_lane: u32, frozen_lane: u32, current_lane: u32, count_lane: u32,
    rhos: u32,
}
override NORM: bool = false;
override ASCEND: bool = false;
const HYPER_ROW = 32u;
const LIVE = 0u;
const SCALE = 1u;
const DECAY = 3u;
const STAYS = 12u; // the rule's own first scalar
@group(0) @binding(0) var<uniform> op: Gate;
@group(0) @binding(1) var<storage, read> partials: array<f32>; // one or two per chunk of a lane
@group(0) @binding(2) var<storage, read> frozen: array<u32>; // groups per lane
@group(0) @binding(3) var<storage, read> rho: array<f32>; // one, or one per lane
@group(0) @binding(4) var<storage, read_write> current: array<f32>; // groups · HYPER_ROW per lane
@group(0) @binding(5) var<storage, read_write> micro: array<u32>; // accumulated micro-batches of each lane
var<workgroup> live: bool;
var<workgroup> scale: f32;
var<workgroup> stays: bool;

fn decide(lane: u32, sum: Wide) {
    let good = finite(sum.m);
    scale = 1.0;
    if ASCEND {
        live = true;
        stays = !good;
        if good {
            scale = divided(rho[min(lane, op.rhos - 1u)], length_of(sum, 2), 1e-12);
        }
    } else {
        live = good;
        micro[lane * op.count_lane] += select(0u, 1u, good);
    }
}

@compute @workgroup_size(256)
fn gate(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let lane = group.z;
    var sum = Wide(0.0, 0);
    if NORM {
        sum = joined(lane * op.partials_lane, op.chunks, op.chunks, thread);
    }
    if thread == 0u {
        decide(lane, sum);
    }
    workgroupBarrier();
    for (var i = thread; i < op.groups; i += 256u) {
        let row = lane * op.current_lane + i * HYPER_ROW;
        let still = frozen[lane * op.frozen_lane + i] != 0u;
        current[row + LIVE] = select(0.0, 1.0, live && (ASCEND || !still));
        current[row + SCALE] = scale;
        current[row + DECAY] = 1.0;
        current[row + STAYS] = select(0.0, 1.0, ASCEND && (stays || still));
    }
}
