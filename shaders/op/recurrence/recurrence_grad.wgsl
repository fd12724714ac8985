// One step of the gradient of a recurrent layer, from the last to the first: a thread has a unit of a sample. A cell's file has
// `retreat`, which writes the gradient by the sums and returns the part of the gradient by h that does not go through U. That
// part waits in `start`, with the gradient by the cells behind it, until it is the gradient by the state before the first step.

@compute @workgroup_size(64)
fn recurrence_grad(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i >= op.samples * op.hidden {
        return;
    }
    let lane = id.z;
    let sample = i / op.hidden;
    let unit = i % op.hidden;
    let all = op.samples * op.hidden;
    let cell = (sample * (op.steps + 1u) + op.left) * op.hidden + unit;
    var of_h = 0.0;
    var of_cell = cells_grad(lane, cell);
    if op.left < op.steps {
        // What the step after this one got goes back through U.
        let row = (sample * op.steps + op.later) * GATES * op.hidden;
        of_h = start(lane, i);
        var through = 0.0;
        for (var k = 0u; k < GATES * op.hidden; k++) {
            through += from_h(lane, row + k) * weight(lane, k * op.hidden + unit);
        }
        of_h += through;
        if CELLS {
            of_cell += start(lane, all + i);
        }
    }
    if op.left > 0u {
        let at = (sample * op.steps + op.step) * op.hidden + unit;
        let row = (sample * op.steps + op.step) * GATES * op.hidden + unit;
        of_h += grad(lane, at);
        if op.step >= lengths(lane, sample) {
            for (var gate = 0u; gate < GATES; gate++) {
                put_sums(lane, row + gate * op.hidden, 0.0);
                put_from_h(lane, row + gate * op.hidden, 0.0);
            }
        } else {
            let own = (sample * op.steps + op.step) * 4u * op.hidden + unit;
            let rest = retreat(lane, cell, at, own, row, of_h, of_cell);
            of_h = rest.x;
            of_cell = rest.y;
        }
    }
    put_start(lane, i, of_h);
    if CELLS {
        put_start(lane, all + i, of_cell);
    }
}
