// Partial norms: one workgroup of 64 threads per chunk of a lane's gradients, joined in a fixed order. Access to gradients is
// joined in before this file. Eight neighbouring threads read neighbouring vec4s: whole cache lines on GPUs, and vector loads
// on software drivers.
struct Norm { len: u32, chunks: u32, lane: u32, partials_lane: u32, frozen_lane: u32, again: u32 }
override TRIPS: u32 = 16u; // vec4s per thread
@group(0) @binding(0) var<uniform> op: Norm;
var<workgroup> values: array<f32, 64>;
var<workgroup> seen: array<u32, 64>; // 0 where all elements of a thread are 0
var<workgroup> again: i32;

// For the first thread: all values, joined. It takes the last eight alone, since it would wait for the others otherwise.
fn joined(thread: u32) -> f32 {
    for (var half = 32u; half > 4u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            values[thread] = join(values[thread], values[thread + half]);
        }
    }
    workgroupBarrier();
    if thread > 0u {
        return 0.0;
    }
    let even = join(join(values[0], values[4]), join(values[2], values[6]));
    return join(even, join(join(values[1], values[5]), join(values[3], values[7])));
}

// For the first thread: what the elements of the chunk have to be multiplied by, as a power of two; 0 if the sum is in range.
fn rescale_chunk(sum: f32) -> i32 {
    let by = rescale(sum);
    var any = 0u;
    if by == UP {
        for (var i = 0u; i < 64u; i++) {
            any |= seen[i];
        }
    }
    return select(by, 0, by == UP && any == 0u);
}

// Bits of all elements of a thread, but for signs: 0 where all of them are 0.
fn bits_of(first: u32, chunk: vec4u, start: u32) -> u32 {
    var bits = vec4u();
    for (var trip = 0u; trip < TRIPS; trip++) {
        let i = first + trip * 8u;
        if i < chunk.y {
            bits |= bitcast<vec4u>(get_grads(start + i));
        }
    }
    return (bits.x | bits.y | bits.z | bits.w) & 0x7fffffffu;
}

// For the first thread: the sum over elements times a power of two, in the same order.
fn summed_again(first: u32, chunk: vec4u, start: u32, by: i32, thread: u32) -> f32 {
    let factor = power_of_two(by);
    var all = vec4f();
    for (var trip = 0u; trip < TRIPS; trip++) {
        let i = first + trip * 8u;
        if i < chunk.y {
            all = join4(all, term(factor * get_grads(start + i)));
        }
    }
    values[thread] = join(join(all.x, all.y), join(all.z, all.w));
    return joined(thread);
}

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
    let start = group.z * op.len + chunk.x;
    let first = thread / 8u * 8u * TRIPS + thread % 8u;
    let moves = frozen[lane * op.frozen_lane + chunk.w] == 0u;
    var all = vec4f();
    if moves {
        for (var trip = 0u; trip < TRIPS; trip++) {
            let i = first + trip * 8u;
            if i < chunk.y {
                all = join4(all, term(get_grads(start + i)));
            }
        }
    }
    let own = join(join(all.x, all.y), join(all.z, all.w));
    values[thread] = own;
    if leaves_range() {
        seen[thread] = select(0u, 1u, own != 0.0);
        if moves && bitcast<u32>(own) < TINY {
            seen[thread] = bits_of(first, chunk, start);
        }
    }
    let sum = joined(thread);
    let place = lane * op.partials_lane + chunk.z;
    if thread == 0u {
        partials[place] = sum;
        if leaves_range() {
            partials[place + op.again] = 0.0;
            again = rescale_chunk(sum);
        }
    }
    if leaves_range() {
        let by = workgroupUniformLoad(&again);
        if by != 0 {
            let sum = summed_again(first, chunk, start, by, thread);
            if thread == 0u {
                partials[place + op.again] = sum;
            }
        }
    }
}
