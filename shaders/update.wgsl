// One step of a rule: x = rule(argument, gradient, state, row), then whatever goes with it.
// Rule, row, planes, access, kind of update and extras are joined in before this file.
// One vec4 per thread. Arenas are padded with zeros, a fixed point of every rule, so there is no tail to treat.
struct HyperRow {
    live: f32, scale: f32, l2: f32, decay: f32, max_norm: f32, max_value: f32, l1: f32, average: f32,
    sync: f32, start: f32, max_tensor: f32, noise: f32,
    @size(80) hyper: Hyper,
}
struct Update {
    len: u32, lanes: u32, lane: u32, block: u32, current_lane: u32, plane: u32, stride: u32, factors_lane: u32, moments_lane: u32,
}
@group(0) @binding(0) var<uniform> op: Update;

@compute @workgroup_size(256)
fn update(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 256u;
    if i >= op.len * op.lanes {
        return;
    }
    let row = row_of(i);
    if row.live == 0.0 {
        restore(i);
        stay(i, row);
        zero_grads(i);
        return;
    }
    let x = start_of(i);
    let d = gradient(i, x, row);
    var state = load(i);
    let y = rule(argument(x, row), d, &state, row.hyper);
    store(i, state, row);
    finish(i, x, d, y, row);
    zero_grads(i);
}
