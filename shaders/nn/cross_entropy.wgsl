// Softmax cross-entropy per row: loss = ln Σ exp(z) − z[label], grad = (softmax(z) − one-hot(label)) · scale.
// One row per thread, shifted by the largest logit; a label outside the classes counts for nothing.
struct CrossEntropy {
    rows: u32, classes: u32, scale: f32,
    logits: u32, logits_lane: u32, labels: u32,
    losses: u32, losses_lane: u32, hits: u32, hits_lane: u32, grad: u32, grad_lane: u32,
}
@group(0) @binding(0) var<uniform> op: CrossEntropy;
@group(0) @binding(1) var<storage, read> logits: array<f32>; // rows · classes per lane
@group(0) @binding(2) var<storage, read> labels: array<u32>; // rows
@group(0) @binding(3) var<storage, read_write> losses: array<f32>; // rows per lane
@group(0) @binding(4) var<storage, read_write> hits: array<f32>; // rows per lane
@group(0) @binding(5) var<storage, read_write> grad: array<f32>; // rows · classes per lane

@compute @workgroup_size(64)
fn cross_entropy(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let row = id.x + id.y * count.x * 64u;
    if row >= op.rows {
        return;
    }
    let label = labels[op.labels + row];
    let z = op.logits + id.z * op.logits_lane + row * op.classes;
    let g = op.grad + id.z * op.grad_lane + row * op.classes;
    var loss = 0.0;
    var hit = 0.0;
    if label < op.classes {
        var best = 0u;
        var largest = logits[z];
        for (var i = 1u; i < op.classes; i++) {
            if logits[z + i] > largest {
                best = i;
                largest = logits[z + i];
            }
        }
        var sum = 0.0;
        for (var i = 0u; i < op.classes; i++) {
            let e = exp(logits[z + i] - largest);
            grad[g + i] = e;
            sum += e;
        }
        for (var i = 0u; i < op.classes; i++) {
            grad[g + i] = grad[g + i] / sum * op.scale;
        }
        grad[g + label] -= op.scale;
        loss = log(sum) - (logits[z + label] - largest);
        hit = select(0.0, 1.0, best == label);
    } else {
        for (var i = 0u; i < op.classes; i++) {
            grad[g + i] = 0.0;
        }
    }
    losses[op.losses + id.z * op.losses_lane + row] = loss;
    hits[op.hits + id.z * op.hits_lane + row] = hit;
}
