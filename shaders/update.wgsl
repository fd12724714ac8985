// One step of a rule: d = clamp(scale·g, ±max_value) + l2·x + l1·sign(x), x = rule(decay·x, d).
// Rule, row, planes and T are joined in before this file.
// One vec4 per thread. Arenas are padded with zeros, a fixed point of every rule, so there is no tail to treat.
struct Row {
    live: f32, scale: f32, l2: f32, decay: f32, max_norm: f32, max_value: f32, l1: f32, spare: f32,
    @size(96) hyper: Hyper,
}
struct Update { len: u32, lanes: u32, lane: u32, block: u32, current_lane: u32 }
@group(0) @binding(0) var<uniform> op: Update;
@group(0) @binding(3) var<storage, read_write> params: array<T>; // len per lane
@group(0) @binding(4) var<storage, read_write> grads: array<T>; // len per lane

@compute @workgroup_size(256)
fn update(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 256u;
    if i >= op.len * op.lanes {
        return;
    }
    let row = row_of(i);
    if row.live == 0.0 {
        return;
    }
    let x = params[i];
    let scaled = row.scale * grads[i];
    // What `clamp` makes of NaN is the driver's choice; it has to stay.
    let g = select(scaled, clamp(scaled, T(-row.max_value), T(row.max_value)), abs(scaled) > T(row.max_value));
    let d = g + row.l2 * x + row.l1 * sign(x);
    var state = load(i);
    params[i] = rule(row.decay * x, d, &state, row.hyper);
    store(i, state);
}
