// Per tensor: its norms, and the two factors that follow from them; one workgroup of 64 threads per tensor of a lane.
// The rule and its trust, norm_kind.wgsl and range.wgsl are joined in before this file.
struct HyperRow {
    live: f32, scale: f32, l2: f32, decay: f32, max_norm: f32, max_value: f32, l1: f32, average: f32,
    sync: f32, start: f32, max_tensor: f32, noise: f32,
    @size(80) hyper: Hyper,
}
struct Factors {
    tensors: u32, partials_lane: u32, params_lane: u32, current_lane: u32, memory_lane: u32, norms_lane: u32, factors_lane: u32,
    chunks: u32,
}
override PARAMS: bool = false; // the norms of the parameters are wanted
override DIRECTION: bool = false; // the first norm is of the direction that this step has written
override BOUND: u32 = 0u; // 0 none, 1 clip, 2 normalise
override MEMORY: bool = false; // tensors keep a number
@group(0) @binding(0) var<uniform> op: Factors;
@group(0) @binding(1) var<storage, read> tensors: array<vec4u>; // first chunk, chunks, elements, group and place; the place has the lower 20 bits
@group(0) @binding(2) var<storage, read> partials: array<f32>;
@group(0) @binding(3) var<storage, read> params: array<f32>;
@group(0) @binding(4) var<storage, read> current: array<HyperRow>;
@group(0) @binding(5) var<storage, read_write> memory: array<f32>; // one per tensor
@group(0) @binding(6) var<storage, read_write> norms: array<vec2f>;
@group(0) @binding(7) var<storage, read_write> pairs: array<vec2f>; // a bound and a trust per tensor
var<workgroup> values: array<vec2f, 64>;
var<workgroup> lost: array<vec2u, 64>; // not 0 where a thread has chunks whose tiny sums lost something
var<workgroup> again: u32;

// The i-th partial sums of a lane, of the gradient and of the parameters.
fn sums_of(lane: u32, i: u32) -> vec2f {
    return vec2f(partials[lane * op.partials_lane + i], select(0.0, params[lane * op.params_lane + i], PARAMS));
}

fn both(a: vec2f, b: vec2f) -> vec2f {
    return vec2f(join(a.x, b.x), a.y + b.y);
}

// For the first thread: all values, joined. It takes the last eight alone, since it would wait for the others otherwise.
fn all_values(thread: u32) -> vec2f {
    for (var half = 32u; half > 4u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            values[thread] = both(values[thread], values[thread + half]);
        }
    }
    workgroupBarrier();
    if thread > 0u {
        return vec2f();
    }
    let even = both(both(values[0], values[4]), both(values[2], values[6]));
    return both(even, both(both(values[1], values[5]), both(values[3], values[7])));
}

// For the first thread: whether one of two sums left the range, or is so small that what its chunks lost counts.
fn misses(sums: vec2f) -> bool {
    let bits = bitcast<vec2u>(sums);
    var any = vec2u();
    if bits.x < SMALL || bits.y < SMALL {
        for (var i = 0u; i < 64u; i++) {
            any |= lost[i];
        }
    }
    let gradient = leaves_range() && (bits.x >= INFINITE || (bits.x < SMALL && any.x != 0u));
    return gradient || bits.y >= INFINITE || (bits.y < SMALL && any.y != 0u);
}

// The i-th partial sums over elements times powers of two.
fn sums_again(lane: u32, i: u32) -> vec2f {
    var found = vec2f();
    if leaves_range() {
        found.x = partials[lane * op.partials_lane + op.chunks + i];
    }
    if PARAMS {
        found.y = params[lane * op.params_lane + op.chunks + i];
    }
    return found;
}

// The power of two in the sum over the gradient.
fn power() -> i32 {
    return select(1, 2, KIND == 0u);
}

// The same sums in the same order, over values around 1 times even powers of two. Counts and maxima are in range.
fn joined_again(lane: u32, tensor: vec4u, thread: u32) -> array<Wide, 2> {
    var top = vec2f(NOTHING);
    for (var i = thread; i < tensor.y; i += 64u) {
        let sums = sums_of(lane, tensor.x + i);
        let more = sums_again(lane, tensor.x + i);
        top = max(top, vec2f(magnitude(part(sums.x, more.x, power())), magnitude(part(sums.y, more.y, 2))));
    }
    values[thread] = top;
    for (var half = 32u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            values[thread] = max(values[thread], values[thread + half]);
        }
    }
    let tops = workgroupUniformLoad(&values[0]);
    let exponents = vec2i(select(0, even(tops.x), leaves_range()), even(tops.y));
    var value = vec2f();
    for (var i = thread; i < tensor.y; i += 64u) {
        let sums = sums_of(lane, tensor.x + i);
        let more = sums_again(lane, tensor.x + i);
        let a = part(sums.x, more.x, power());
        let b = part(sums.y, more.y, 2);
        let own = select(sums.x, shifted(a.m, a.k - exponents.x), leaves_range());
        value = both(value, vec2f(own, shifted(b.m, b.k - exponents.y)));
    }
    values[thread] = value;
    let found = all_values(thread);
    return array<Wide, 2>(Wide(found.x, exponents.x), Wide(found.y, exponents.y));
}

fn bound(norm: Wide, row: HyperRow) -> f32 {
    if BOUND == 2u {
        return divided(1.0, norm, 1e-6);
    }
    if BOUND == 1u && shifted(norm.m, norm.k) + 1e-6 > row.max_tensor {
        return divided(row.max_tensor, norm, 1e-6);
    }
    return 1.0;
}

fn decide(lane: u32, index: u32, gradient: Wide, parameters: Wide) {
    let tensor = tensors[index];
    let row = current[lane * op.current_lane + (tensor.w >> 20u)];
    let place = tensor.w & 0xfffffu;
    var own = length_of(gradient, power());
    var known = 0.0;
    if DIRECTION {
        own.m = select(own.m, 0.0, row.live == 0.0);
        known = shifted(own.m, own.k);
    } else {
        own.m *= abs(row.scale);
        known = bounded(own);
    }
    let other = length_of(parameters, 2);
    let b = shifted(other.m, other.k);
    norms[lane * op.norms_lane + place] = vec2f(known, b);
    if row.live == 0.0 {
        return;
    }
    let f = bound(own, row);
    var kept = 0.0;
    if MEMORY {
        kept = memory[lane * op.memory_lane + place];
    }
    let r = trust(shifted(own.m * f, own.k), b, f32(tensor.z), &kept, row.hyper);
    if MEMORY {
        memory[lane * op.memory_lane + place] = kept;
    }
    pairs[lane * op.factors_lane + place] = vec2f(f, r);
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
    var value = vec2f();
    var more = vec2u();
    for (var i = thread; i < tensor.y; i += 64u) {
        let sums = sums_of(lane, tensor.x + i);
        value = both(value, sums);
        let bits = bitcast<vec2u>(sums);
        if bits.x < TINY || bits.y < TINY {
            more |= bitcast<vec2u>(sums_again(lane, tensor.x + i));
        }
    }
    values[thread] = value;
    lost[thread] = more;
    let sums = all_values(thread);
    if thread == 0u {
        again = select(0u, 1u, misses(sums));
    }
    if workgroupUniformLoad(&again) != 0u {
        let wide = joined_again(lane, tensor, thread);
        if thread == 0u {
            decide(lane, index, wide[0], wide[1]);
        }
    } else if thread == 0u {
        decide(lane, index, Wide(sums.x, 0), Wide(sums.y, 0));
    }
}
