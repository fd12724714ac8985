// Per tensor: its norms, and the two factors that follow from them; one workgroup of 64 threads per tensor of a lane.
// norm_kind.wgsl, the rule and its trust are joined in before this file.
struct Row {
    live: f32, scale: f32, l2: f32, decay: f32, max_norm: f32, max_value: f32, l1: f32, average: f32,
    sync: f32, start: f32, max_tensor: f32, spare_b: f32,
    @size(80) hyper: Hyper,
}
struct Factors {
    tensors: u32, partials_lane: u32, params_lane: u32, current_lane: u32, memory_lane: u32, norms_lane: u32, factors_lane: u32,
}
override PARAMS: bool = false; // the norms of the parameters are wanted
override PASS: bool = false; // the first norm is of what a pass of this step left behind
override BOUND: u32 = 0u; // 0 none, 1 clip, 2 normalise
override MEMORY: bool = false; // tensors keep a number
@group(0) @binding(0) var<uniform> op: Factors;
@group(0) @binding(1) var<storage, read> tensors: array<vec4u>; // first chunk, chunks, elements, group
@group(0) @binding(2) var<storage, read> partials: array<f32>;
@group(0) @binding(3) var<storage, read> params: array<f32>;
@group(0) @binding(4) var<storage, read> current: array<Row>;
@group(0) @binding(5) var<storage, read_write> memory: array<f32>; // one per tensor
@group(0) @binding(6) var<storage, read_write> norms: array<vec2f>;
@group(0) @binding(7) var<storage, read_write> pairs: array<vec2f>; // a bound and a trust per tensor
var<workgroup> first: array<f32, 64>;
var<workgroup> second: array<f32, 64>;

fn bound(norm: f32, row: Row) -> f32 {
    let total = norm + 1e-6;
    if BOUND == 2u {
        return 1.0 / total;
    }
    if BOUND == 1u && total > row.max_tensor {
        return row.max_tensor / total;
    }
    return 1.0;
}

fn decide(lane: u32, index: u32, joined: vec2f) {
    let tensor = tensors[index];
    let row = current[lane * op.current_lane + tensor.w];
    var a = joined.x;
    if KIND == 0u {
        a = sqrt(a);
    }
    if PASS {
        a = select(a, 0.0, row.live == 0.0);
    } else {
        a *= abs(row.scale);
    }
    let b = sqrt(joined.y);
    norms[lane * op.norms_lane + index] = vec2f(a, b);
    if row.live == 0.0 {
        return;
    }
    let f = bound(a, row);
    var kept = 0.0;
    if MEMORY {
        kept = memory[lane * op.memory_lane + index];
    }
    let r = trust(a * f, b, f32(tensor.z), &kept, row.hyper);
    if MEMORY {
        memory[lane * op.memory_lane + index] = kept;
    }
    pairs[lane * op.factors_lane + index] = vec2f(f, r);
}

@compute @workgroup_size(64)
fn factors(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group.x + group.y * count.x;
    if index >= op.tensors {
        return;
    }
    let lane = group.z;
    let tensor = tensors[index];
    var sums = vec2f();
    for (var i = thread; i < tensor.y; i += 64u) {
        sums.x = join(sums.x, partials[lane * op.partials_lane + tensor.x + i]);
        if PARAMS {
            sums.y += params[lane * op.params_lane + tensor.x + i];
        }
    }
    first[thread] = sums.x;
    second[thread] = sums.y;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            first[thread] = join(first[thread], first[thread + half]);
            second[thread] += second[thread + half];
        }
    }
    if thread == 0u {
        decide(lane, index, vec2f(first[0], second[0]));
    }
}
