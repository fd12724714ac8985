// C = op(A)·op(B) for GPUs: a square tile of C per workgroup, a block of 8×8 or 4×4 of it in each thread's registers.
// Volkov & Demmel 2008: rank-1 updates from workgroup memory, while the next slices of A and B are on their way to registers.
// Needs LARGE: tiles of 128×128 by 256 threads, else of 32×32 by 64 threads.

const SIDE: u32 = select(32u, 128u, LARGE); // rows and columns of a tile
const DEPTH: u32 = 8u; // terms of the sum per slice
const QUADS: u32 = SIDE / 4u; // vec4s across a slice
const PITCH: u32 = QUADS + 1u; // one more, so that neighbouring threads write to different banks
const THREADS: u32 = QUADS * DEPTH; // each thread moves one vec4 of either slice
const ACROSS: u32 = select(8u, 16u, LARGE); // threads across a tile

var<workgroup> slice_a: array<vec4f, PITCH * DEPTH>;
var<workgroup> slice_b: array<vec4f, PITCH * DEPTH>;

// Which vec4 of a slice a thread moves (x: quad, y: term), so that neighbours read neighbours.
fn quad_of(thread: u32, terms_first: bool) -> vec2u {
    return select(vec2u(thread % QUADS, thread / QUADS), vec2u(thread / DEPTH, thread % DEPTH), terms_first);
}

// Rows and columns beyond the last repeat the last, and their sums are dropped; terms beyond the last are 0.
fn load_a(at: vec4u, term: u32) -> vec4f {
    if term >= op.k { return vec4f(); }
    let i = at + term * a_step().y;
    return vec4f(a_elements[i.x], a_elements[i.y], a_elements[i.z], a_elements[i.w]);
}

fn load_b(at: vec4u, term: u32) -> vec4f {
    if term >= op.k { return vec4f(); }
    let i = at + term * b_step().y;
    return vec4f(b_elements[i.x], b_elements[i.y], b_elements[i.z], b_elements[i.w]);
}

@compute @workgroup_size(THREADS)
fn matmul_tile(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let own = tile_of(group, groups, SIDE, SIDE);
    let tile = vec2u(own.row, own.column) * SIDE;
    if tile.x >= op.m { return; }

    let from_a = quad_of(thread, !TRANS_A);
    let from_b = quad_of(thread, TRANS_B);
    let into_a = from_a.y * PITCH + from_a.x;
    let into_b = from_b.y * PITCH + from_b.x;
    let quad = vec4u(0u, 1u, 2u, 3u);
    let at_a = a_start(own) + min(tile.x + from_a.x * 4u + quad, vec4u(op.m - 1u)) * a_step().x;
    let at_b = b_start(own) + min(tile.y + from_b.x * 4u + quad, vec4u(op.n - 1u)) * b_step().x;
    var next_a = load_a(at_a, from_a.y);
    var next_b = load_b(at_b, from_b.y);

    let down = thread / ACROSS;
    let across = thread % ACROSS;
    var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
    var s4 = vec4f(); var s5 = vec4f(); var s6 = vec4f(); var s7 = vec4f();
    var t0 = vec4f(); var t1 = vec4f(); var t2 = vec4f(); var t3 = vec4f();
    var t4 = vec4f(); var t5 = vec4f(); var t6 = vec4f(); var t7 = vec4f();

    for (var first = 0u; first < op.k; first += DEPTH) {
        slice_a[into_a] = next_a;
        slice_b[into_b] = next_b;
        workgroupBarrier();
        next_a = load_a(at_a, first + DEPTH + from_a.y);
        next_b = load_b(at_b, first + DEPTH + from_b.y);
        for (var term = 0u; term < DEPTH; term++) {
            let x = slice_a[term * PITCH + down];
            let y = slice_b[term * PITCH + across];
            s0 += x.x * y; s1 += x.y * y; s2 += x.z * y; s3 += x.w * y;
            if LARGE {
                let w = slice_a[term * PITCH + ACROSS + down];
                let z = slice_b[term * PITCH + ACROSS + across];
                t0 += x.x * z; t1 += x.y * z; t2 += x.z * z; t3 += x.w * z;
                s4 += w.x * y; s5 += w.y * y; s6 += w.z * y; s7 += w.w * y;
                t4 += w.x * z; t5 += w.y * z; t6 += w.z * z; t7 += w.w * z;
            }
        }
        workgroupBarrier();
    }

    let row = tile.x + down * 4u;
    let column = tile.y + across * 4u;
    put(own, row, column, s0); put(own, row + 1u, column, s1);
    put(own, row + 2u, column, s2); put(own, row + 3u, column, s3);
    if LARGE {
        let low = row + SIDE / 2u;
        let far = column + SIDE / 2u;
        put(own, low, column, s4); put(own, low + 1u, column, s5);
        put(own, low + 2u, column, s6); put(own, low + 3u, column, s7);
        put(own, row, far, t0); put(own, row + 1u, far, t1);
        put(own, row + 2u, far, t2); put(own, row + 3u, far, t3);
        put(own, low, far, t4); put(own, low + 1u, far, t5);
        put(own, low + 2u, far, t6); put(own, low + 3u, far, t7);
    }
}
