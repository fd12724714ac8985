// w[k, c, t] = Σ y[n, k, o] · x[n, c, o·stride + t·dilation − padding] over the images n and places o of a slice.
// A thread has eight channels k of one (c, t). Needs `put_sum`: to w, or to scratch memory that conv_join reads.

// More than one channel of y per group.
override SEVERAL: bool = true;

@compute @workgroup_size(64)
fn conv_weight(
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
    let own = tile / op.blocks % op.across * 64u + thread;
    let group = tile / (op.blocks * op.across) % op.groups;
    let own_slice = tile / (op.blocks * op.across * op.groups);
    let slice = op.first + own_slice;

    // Columns and channels beyond the last repeat the last; their sums are dropped.
    let column = min(own, op.columns - 1u);
    let kw = column % op.kernel_w * op.dilation_w;
    let kh = column / op.kernel_w % op.kernel_h * op.dilation_h;
    let plane = group * op.inputs + column / (op.kernel_w * op.kernel_h);
    let low = min(channel + vec4u(0u, 1u, 2u, 3u), vec4u(op.outputs - 1u)) + group * op.outputs;
    let high = min(channel + vec4u(4u, 5u, 6u, 7u), vec4u(op.outputs - 1u)) + group * op.outputs;

    let first = slice / (op.parts_h * op.parts_w) * op.images;
    let last = min(first + op.images, op.batch);
    let begin = slice / op.parts_w % op.parts_h * op.part_h;
    let end = min(begin + op.part_h, op.out_h);
    let left = slice % op.parts_w * op.part_w;
    let right = min(left + op.part_w, op.out_w);
    var s = vec4f();
    var t = vec4f();
    for (var n = first; n < last; n++) {
        let corner = (n * op.groups * op.inputs + plane) * op.of_x;
        for (var line = begin; line < end; line++) {
            let h = line * op.stride_h + kh - op.padding_h;
            let start = n * op.groups * op.outputs * op.of_y + line * op.out_w + left;
            var a = start + low * op.of_y;
            var b = start + high * op.of_y;
            var l = left * op.stride_w + kw - op.padding_w;
            for (var o = left; o < right; o++) {
                let inside = h < op.image_h && l < op.image_w;
                let v = select(0.0, x(lane, select(0u, corner + h * op.image_w + l, inside)), inside);
                if SEVERAL {
                    s += v * vec4f(y(lane, a.x), y(lane, a.y), y(lane, a.z), y(lane, a.w));
                    t += v * vec4f(y(lane, b.x), y(lane, b.y), y(lane, b.z), y(lane, b.w));
                } else {
                    s.x += v * y(lane, a.x);
                }
                a += vec4u(1u);
                b += vec4u(1u);
                l += op.stride_w;
            }
        }
    }

    if own < op.columns {
        let at = own_slice * op.len + (group * op.outputs + channel) * op.columns + own;
        put_sum(lane, at, s.x);
        if channel + 1u < op.outputs { put_sum(lane, at + op.columns, s.y); }
        if channel + 2u < op.outputs { put_sum(lane, at + 2u * op.columns, s.z); }
        if channel + 3u < op.outputs { put_sum(lane, at + 3u * op.columns, s.w); }
        if channel + 4u < op.outputs { put_sum(lane, at + 4u * op.columns, t.x); }
        if channel + 5u < op.outputs { put_sum(lane, at + 5u * op.columns, t.y); }
        if channel + 6u < op.outputs { put_sum(lane, at + 6u * op.columns, t.z); }
        if channel + 7u < op.outputs { put_sum(lane, at + 7u * op.columns, t.w); }
    }
}
