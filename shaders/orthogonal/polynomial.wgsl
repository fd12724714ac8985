// Q = a·I + b·A + c·Q of square matrices, where Q holds A² before; one thread per element.
// The iteration of Jordan et al. 2024; with Q·X it is complete.
struct Polynomial { len: u32, side: u32, squares_lane: u32, q_lane: u32, a: f32, b: f32, c: f32 }
@group(0) @binding(0) var<uniform> op: Polynomial;
@group(0) @binding(1) var<storage, read> squares: array<f32>; // len per lane
@group(0) @binding(2) var<storage, read_write> q: array<f32>; // len per lane

@compute @workgroup_size(256)
fn polynomial(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = (group.x + group.y * count.x) * 256u + thread;
    if i >= op.len {
        return;
    }
    let e = i % (op.side * op.side);
    let at = group.z * op.q_lane + i;
    let diagonal = select(0.0, op.a, e / op.side == e % op.side);
    q[at] = diagonal + op.b * squares[group.z * op.squares_lane + i] + op.c * q[at];
}
