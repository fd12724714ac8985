// Partial norms of a lane, joined by a workgroup of 256 threads in a fixed order. norm_kind.wgsl and range.wgsl are joined in
// before.
var<workgroup> values: array<f32, 256>;
var<workgroup> lost: array<u32, 256>; // not 0 where a thread has chunks whose tiny sums lost something
var<workgroup> again: u32;

// For the first thread: all values, joined. It takes the last eight alone, since it would wait for the others otherwise.
fn all_values(thread: u32) -> f32 {
    for (var half = 128u; half > 4u; half /= 2u) {
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

// For the first thread: whether a sum left the range, or is so small that what its chunks lost counts.
fn misses(sum: f32) -> bool {
    let bits = bitcast<u32>(sum);
    var any = 0u;
    if bits < SMALL {
        for (var i = 0u; i < 256u; i++) {
            any |= lost[i];
        }
    }
    return bits >= INFINITE || any != 0u;
}

// The same sum in the same order, over values around 1 times an even power of two.
fn joined_again(start: u32, count: u32, behind: u32, thread: u32) -> Wide {
    let power = select(1, 2, KIND == 0u);
    var top = NOTHING;
    for (var i = thread; i < count; i += 256u) {
        top = max(top, magnitude(part(partials[start + i], partials[start + behind + i], power)));
    }
    values[thread] = top;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            values[thread] = max(values[thread], values[thread + half]);
        }
    }
    let exponent = even(workgroupUniformLoad(&values[0]));
    var value = 0.0;
    for (var i = thread; i < count; i += 256u) {
        let own = part(partials[start + i], partials[start + behind + i], power);
        value = join(value, shifted(own.m, own.k - exponent));
    }
    values[thread] = value;
    return Wide(all_values(thread), exponent);
}

// For the first thread: the sum of `count` partial norms, which begin at `start`; their second values are `behind` further on.
fn joined(start: u32, count: u32, behind: u32, thread: u32) -> Wide {
    var value = 0.0;
    var more = 0u;
    for (var i = thread; i < count; i += 256u) {
        let sum = partials[start + i];
        value = join(value, sum);
        if leaves_range() && bitcast<u32>(sum) < TINY {
            more |= bitcast<u32>(partials[start + behind + i]);
        }
    }
    values[thread] = value;
    lost[thread] = more;
    let sum = all_values(thread);
    if leaves_range() {
        if thread == 0u {
            again = select(0u, 1u, misses(sum));
        }
        if workgroupUniformLoad(&again) != 0u {
            return joined_again(start, count, behind, thread);
        }
    }
    return Wide(sum, 0);
}
