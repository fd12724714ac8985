// One step of a recurrent layer: a thread has a unit of a sample. A cell's file has `advance`, which makes the new h from the
// sums of x, those of h, and the old h. Views that are missing are functions that return nothing.

// U h, of each gate at a unit.
fn sums_of_h(lane: u32, sample: u32, unit: u32) -> vec4f {
    var sums = vec4f();
    for (var k = 0u; k < op.hidden; k++) {
        var x = 0.0;
        if op.place == 0u {
            x = start(lane, sample * op.hidden + k);
        } else {
            x = after(lane, (sample * op.steps + op.before) * op.hidden + k);
        }
        let row = k * GATES * op.hidden + unit;
        sums.x += x * weight(lane, row);
        if GATES > 1u {
            sums.y += x * weight(lane, row + op.hidden);
            sums.z += x * weight(lane, row + 2u * op.hidden);
        }
        if GATES > 3u {
            sums.w += x * weight(lane, row + 3u * op.hidden);
        }
    }
    return sums;
}

@compute @workgroup_size(64)
fn recurrence(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i >= op.samples * op.hidden {
        return;
    }
    let lane = id.z;
    let sample = i / op.hidden;
    let unit = i % op.hidden;
    let at = (sample * op.steps + op.step) * op.hidden + unit;
    let cell = (sample * (op.steps + 1u) + op.place) * op.hidden + unit;
    var old = 0.0;
    if op.place == 0u {
        old = start(lane, i);
        put_cells(lane, cell, start(lane, op.samples * op.hidden + i));
    } else {
        old = after(lane, (sample * op.steps + op.before) * op.hidden + unit);
    }
    put_before(lane, at, old);

    let own = (sample * op.steps + op.step) * 4u * op.hidden + unit;
    if op.step >= lengths(lane, sample) {
        put_after(lane, at, old);
        put_cells(lane, cell + op.hidden, cells(lane, cell));
        for (var gate = 0u; gate < 4u; gate++) {
            put_kept(lane, own + gate * op.hidden, 0.0);
        }
        return;
    }
    let row = (sample * op.steps + op.step) * GATES * op.hidden + unit;
    var x = vec4f(sums(lane, row), 0.0, 0.0, 0.0);
    if GATES > 1u {
        x.y = sums(lane, row + op.hidden);
        x.z = sums(lane, row + 2u * op.hidden);
    }
    if GATES > 3u {
        x.w = sums(lane, row + 3u * op.hidden);
    }
    put_after(lane, at, advance(lane, unit, cell, own, x, sums_of_h(lane, sample, unit), old));
}
