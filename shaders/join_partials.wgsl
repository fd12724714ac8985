// Partial norms of a lane, joined by a workgroup of 256 threads in a fixed order. norm_kind.wgsl is joined in before this file.
var<workgroup> values: array<f32, 256>;

// Comparisons do not find NaN on every driver; bits do.
fn finite(x: f32) -> bool {
    return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u;
}

// For the first thread: `count` partial norms from `start` on; 0 without any.
fn joined(start: u32, count: u32, thread: u32) -> f32 {
    var value = 0.0;
    for (var i = thread; i < count; i += 256u) {
        value = join(value, partials[start + i]);
    }
    values[thread] = value;
    for (var half = 128u; half > 0u; half /= 2u) {
        workgroupBarrier();
        if thread < half {
            values[thread] = join(values[thread], values[thread + half]);
        }
    }
    return values[0];
}
