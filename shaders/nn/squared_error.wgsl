// Squared error per row: loss = Σ_c (p − t)², grad = 2 · scale · (p − t).
// One row per thread, lanes along z.
struct SquaredError {
    rows: u32, columns: u32, scale: f32,
    predictions: u32, predictions_lane: u32, targets: u32, targets_lane: u32,
    losses: u32, losses_lane: u32, grad: u32, grad_lane: u32,
}
@group(0) @binding(0) var<uniform> op: SquaredError;
@group(0) @binding(1) var<storage, read> predictions: array<f32>; // rows · columns per lane
@group(0) @binding(2) var<storage, read> targets: array<f32>; // rows · columns
@group(0) @binding(3) var<storage, read_write> losses: array<f32>; // rows per lane
@group(0) @binding(4) var<storage, read_write> grad: array<f32>; // rows · columns per lane

@compute @workgroup_size(64)
fn squared_error(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let row = id.x + id.y * count.x * 64u;
    if row >= op.rows {
        return;
    }
    var loss = 0.0;
    for (var i = row * op.columns; i < (row + 1u) * op.columns; i++) {
        let p = predictions[op.predictions + id.z * op.predictions_lane + i];
        let difference = p - targets[op.targets + id.z * op.targets_lane + i];
        loss += difference * difference;
        grad[op.grad + id.z * op.grad_lane + i] = 2.0 * op.scale * difference;
    }
    losses[op.losses + id.z * op.losses_lane + row] = loss;
}
