// One step of a rule: d = clamp(scale·g, ±max_value) + l2·x + l1·sign(x), x = rule(decay·x, d).
// Rule, row, planes, access and T are joined in before this file.
// One vec4 per thread. Arenas are padded with zeros, a fixed point of every rule, so there is no tail to treat.
struct Row {
    live: f32, scale: f32, l2: f32, decay: f32, max_norm: f32, max_value: f32, l1: f32, average: f32,
    sync: f32, radius: f32, spare_a: f32, spare_b: f32,
    @size(80) hyper: Hyper,
}
override MAX_VALUE: bool = false; // elements of the gradient are bounded
override L1: bool = false; // there is an L1 penalty
struct Update { len: u32, lanes: u32, lane: u32, block: u32, current_lane: u32, plane: u32 }
@group(0) @binding(0) var<uniform> op: Update;

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
    let x = get_params(i);
    var g = row.scale * get_grads(i);
    if MAX_VALUE {
        // What `clamp` makes of NaN is the driver's choice; it has to stay.
        g = select(g, clamp(g, T(-row.max_value), T(row.max_value)), abs(g) > T(row.max_value));
    }
    var d = g + row.l2 * x;
    if L1 {
        d += row.l1 * sign(x);
    }
    var state = load(op.plane + i);
    put_params(i, rule(row.decay * x, d, &state, row.hyper));
    store(op.plane + i, state);
}
