// y[n, k, o] = Σ w[k, c, t] · x[n, c, o·stride + t·dilation − padding] over channels c and taps t; with TRANSPOSED the gradient
// of it by x. A product whose factors are read where they lie: a thread has eight channels at four places, 64 apart, so that
// neighbours read neighbours.

override TRANSPOSED: bool = false;
// More than one channel per group is written.
override SEVERAL: bool = true;

// Where along an axis a tap of the kernel lies at these places; `size` outside.
fn source(place: vec4u, tap: u32, stride: u32, padding: u32, size: u32) -> vec4u {
    if TRANSPOSED {
        let ahead = place + padding;
        let at = (ahead - tap) / stride;
        let hit = (ahead >= vec4u(tap)) & (at * stride + tap == ahead) & (at < vec4u(size));
        return select(vec4u(size), at, hit);
    }
    return min(place * stride + tap - padding, vec4u(size));
}

fn put(lane: u32, channel: u32, place: vec4u, first: u32, sums: vec4f) {
    let image = place / op.area;
    let at = (image * op.groups * op.written + channel) * op.area + place % op.area;
    if first < op.len { put_y(lane, at.x, sums.x); }
    if first + 64u < op.len { put_y(lane, at.y, sums.y); }
    if first + 128u < op.len { put_y(lane, at.z, sums.z); }
    if first + 192u < op.len { put_y(lane, at.w, sums.w); }
}

@compute @workgroup_size(64)
fn conv(
    @builtin(workgroup_id) id: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = id.x + id.y * count.x;
    if tile >= op.tiles {
        return;
    }
    let lane = id.z;
    let channel = tile % op.blocks * 8u;
    let group = tile / op.blocks % op.groups;
    let first = tile / (op.blocks * op.groups) * 256u + thread;

    // Places and channels beyond the last repeat the last; their sums are dropped.
    let place = min(first + vec4u(0u, 64u, 128u, 192u), vec4u(op.len - 1u));
    let row = place % op.area / op.to_w;
    let column = place % op.to_w;
    let start = (place / op.area * op.groups + group) * op.depth * op.from_area;
    let low = min(channel + vec4u(0u, 1u, 2u, 3u), vec4u(op.written - 1u)) * op.row + group * op.weights;
    let high = min(channel + vec4u(4u, 5u, 6u, 7u), vec4u(op.written - 1u)) * op.row + group * op.weights;

    var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
    var s4 = vec4f(); var s5 = vec4f(); var s6 = vec4f(); var s7 = vec4f();
    for (var kh = 0u; kh < op.kernel_h; kh++) {
        let h = source(row, kh * op.dilation_h, op.stride_h, op.padding_h, op.from_h);
        for (var kw = 0u; kw < op.kernel_w; kw++) {
            let l = source(column, kw * op.dilation_w, op.stride_w, op.padding_w, op.from_w);
            let inside = (h < vec4u(op.from_h)) & (l < vec4u(op.from_w));
            var at = select(vec4u(), start + h * op.from_w + l, inside);
            let tap = kh * op.kernel_w + kw;
            var a = low + tap;
            var b = high + tap;
            for (var c = 0u; c < op.depth; c++) {
                let v = select(vec4f(), vec4f(x(lane, at.x), x(lane, at.y), x(lane, at.z), x(lane, at.w)), inside);
                s0 += w(lane, a.x) * v;
                if SEVERAL {
                    s1 += w(lane, a.y) * v; s2 += w(lane, a.z) * v; s3 += w(lane, a.w) * v;
                    s4 += w(lane, b.x) * v; s5 += w(lane, b.y) * v; s6 += w(lane, b.z) * v; s7 += w(lane, b.w) * v;
                }
                at += op.from_area;
                a += op.step;
                b += op.step;
            }
        }
    }

    let all = group * op.written + channel;
    put(lane, all, place, first, s0);
    if channel + 1u < op.written { put(lane, all + 1u, place, first, s1); }
    if channel + 2u < op.written { put(lane, all + 2u, place, first, s2); }
    if channel + 3u < op.written { put(lane, all + 3u, place, first, s3); }
    if channel + 4u < op.written { put(lane, all + 4u, place, first, s4); }
    if channel + 5u < op.written { put(lane, all + 5u, place, first, s5); }
    if channel + 6u < op.written { put(lane, all + 6u, place, first, s6); }
    if channel + 7u < op.written { put(lane, all + 7u, place, first, s7); }
}
