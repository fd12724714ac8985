// The decision about a step, one workgroup per lane: norm, clip coefficient, the rows of this step, or that it is skipped.
// Clipping as torch.nn.utils.clip_grad_norm_, loss scaling as torch.amp.GradScaler.
struct Control {
    groups: u32, slots: u32, domains: u32, chunks: u32,
    partials_lane: u32, rows_lane: u32, frozen_lane: u32, current_lane: u32, counts_lane: u32, scalars_lane: u32,
    scales: u32, micro_lane: u32,
}
override NORM: bool = false;
override SKIP_BAD: bool = false; // what is not finite freezes the lane
override LOSS_SCALE: bool = false;
override MICRO: bool = false; // micro-batches were accumulated
override MEAN: bool = false; // their mean counts, not their sum
const HYPER_ROW = 32u;
const LIVE = 0u;
const SCALE = 1u;
const MAX_NORM = 4u;
// Counters: applied, skipped, clipped, good, bad in a row, frozen; then the applied steps of each group.
const COUNTERS = 6u;
// Scalars: norm, coefficient, loss scale; then a norm and a coefficient for each domain but the first.
@group(0) @binding(0) var<uniform> op: Control;
@group(0) @binding(1) var<storage, read> partials: array<f32>; // one or two per chunk of a lane
@group(0) @binding(2) var<storage, read> rows: array<f32>; // groups · slots · HYPER_ROW per lane
@group(0) @binding(3) var<storage, read> frozen: array<u32>; // groups per lane
@group(0) @binding(4) var<storage, read> domains: array<u32>; // first chunk and chunks of each domain, then the domain of each group,
// then interval, growth, backoff and min of the loss scales: once, or for each lane
@group(0) @binding(5) var<storage, read_write> current: array<f32>; // groups · HYPER_ROW per lane
@group(0) @binding(6) var<storage, read_write> counts: array<u32>; // COUNTERS + groups per lane
@group(0) @binding(7) var<storage, read_write> scalars: array<f32>; // 1 + 2 · domains per lane
@group(0) @binding(8) var<storage, read_write> micro: array<u32>; // accumulated micro-batches of each lane
var<workgroup> unscale: f32; // the factor of the gradient beside the clip coefficient
var<workgroup> clipped: bool;
var<workgroup> live: bool;

// Where the row of a group's next step stands.
fn row_at(lane: u32, group: u32) -> u32 {
    let applied = counts[lane * op.counts_lane + COUNTERS + group];
    return lane * op.rows_lane + (group * op.slots + applied % op.slots) * HYPER_ROW;
}

fn domain_of(group: u32) -> u32 {
    return domains[2u * op.domains + group];
}

// Where a domain's norm stands among the scalars of a lane; its coefficient is behind it.
fn norm_of(domain: u32) -> u32 {
    return select(1u + 2u * domain, 0u, domain == 0u);
}

// The group of a domain whose row has the bound of the norm: the first that is not frozen, since a frozen one stays at its
// step.
fn leader(lane: u32, domain: u32) -> u32 {
    var first = op.groups;
    for (var group = 0u; group < op.groups; group++) {
        if domain_of(group) == domain {
            first = min(first, group);
            if frozen[lane * op.frozen_lane + group] == 0u {
                return group;
            }
        }
    }
    return min(first, op.groups - 1u);
}

// What comes before the norms.
fn begin(lane: u32) {
    clipped = false;
    live = true;
    let s = lane * op.scalars_lane;
    scalars[s] = 0.0;
    scalars[s + 1u] = 1.0;
    unscale = 1.0;
    if MICRO {
        let count = micro[lane * op.micro_lane];
        // All of them were dropped.
        live = count > 0u;
        if MEAN {
            unscale = 1.0 / f32(max(count, 1u));
        }
        micro[lane * op.micro_lane] = 0u;
    }
    if NORM && LOSS_SCALE {
        unscale /= scalars[s + 2u];
    }
}

fn decide(lane: u32, domain: u32, sum: Wide) {
    let row = row_at(lane, leader(lane, domain));
    let raw = length_of(sum, select(1, 2, KIND == 0u));
    let gain = abs(rows[row + SCALE]) * unscale;
    let norm = Wide(raw.m * gain, raw.k);
    let value = shifted(norm.m, norm.k);
    let max_norm = rows[row + MAX_NORM];
    var coefficient = 1.0;
    if value + 1e-6 > max_norm {
        coefficient = divided(max_norm, norm, 1e-6);
    }
    // A gain above 1 may be what made the norm infinite, and elements with it; and a loss scale of 0 leaves no gradient.
    let good = finite(raw.m) && (finite(value) || gain <= 1.0);
    live = live && (good || !SKIP_BAD);
    clipped = clipped || coefficient < 1.0;
    let s = lane * op.scalars_lane + norm_of(domain);
    scalars[s] = bounded(norm);
    scalars[s + 1u] = coefficient;
}

fn count(lane: u32) {
    let c = lane * op.counts_lane;
    counts[c + 4u] = select(counts[c + 4u] + 1u, 0u, live);
    var moves = false;
    for (var group = 0u; group < op.groups; group++) {
        if live && frozen[lane * op.frozen_lane + group] == 0u {
            counts[c + COUNTERS + group] += 1u;
            moves = true;
        }
    }
    counts[c] += select(0u, 1u, moves);
    counts[c + 1u] += select(1u, 0u, live);
    counts[c + 2u] += select(0u, 1u, clipped && moves);
    counts[c + 5u] += select(0u, 1u, live && !moves);
    if LOSS_SCALE {
        let s = lane * op.scalars_lane + 2u;
        let rule = 2u * op.domains + op.groups + 4u * min(lane, op.scales - 1u);
        let interval = domains[rule];
        let growth = bitcast<f32>(domains[rule + 1u]);
        let backoff = bitcast<f32>(domains[rule + 2u]);
        let smallest = bitcast<f32>(domains[rule + 3u]);
        let good = counts[c + 3u] + 1u;
        let grows = live && good == interval;
        counts[c + 3u] = select(good, 0u, grows || !live);
        if grows && finite(scalars[s] * growth) {
            scalars[s] *= growth;
        }
        if !live && scalars[s] > smallest {
            scalars[s] = max(scalars[s] * backoff, smallest);
        }
    }
}

@compute @workgroup_size(256)
fn control(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
    let lane = group.z;
    if thread == 0u {
        begin(lane);
    }
    if NORM {
        for (var domain = 0u; domain < op.domains; domain++) {
            if domain > 0u {
                // The first thread may still read what the next sum overwrites.
                workgroupBarrier();
            }
            let sum = joined(lane * op.partials_lane + domains[2u * domain], domains[2u * domain + 1u], op.chunks, thread);
            if thread == 0u {
                decide(lane, domain, sum);
            }
        }
    }
    // All threads read the coefficients.
    storageBarrier();
    workgroupBarrier();
    for (var i = thread; i < op.groups * HYPER_ROW; i += 256u) {
        var scalar = rows[row_at(lane, i / HYPER_ROW) + i % HYPER_ROW];
        if i % HYPER_ROW == LIVE {
            scalar = select(0.0, 1.0, live && frozen[lane * op.frozen_lane + i / HYPER_ROW] == 0u);
        }
        if i % HYPER_ROW == SCALE {
            scalar *= scalars[lane * op.scalars_lane + norm_of(domain_of(i / HYPER_ROW)) + 1u] * unscale;
        }
        current[lane * op.current_lane + i] = scalar;
    }
    // All rows are read by the old counts before they change.
    storageBarrier();
    workgroupBarrier();
    if thread == 0u {
        count(lane);
    }
}
