// What the kernels of C = op(A)·op(B) share: shape, operands, steps through them, and what becomes of a finished sum.
// One convention for all of them: a sum is complete before bias and old value are added to it, in this order.

// Per operand the first element, and the elements from lane to lane (0: shared by all lanes).
struct MatMul {
    m: u32, k: u32, n: u32, batch: u32, a: u32, a_lane: u32, b: u32, b_lane: u32, c: u32, c_lane: u32, bias: u32, bias_lane: u32,
}

override TRANS_A: bool = false;
override TRANS_B: bool = false;
override BIAS: bool = false;
override ACCUMULATE: bool = false;

@group(0) @binding(0) var<uniform> p: MatMul;
@group(0) @binding(1) var<storage, read> a: array<f32>; // batch·m·k per lane
@group(0) @binding(2) var<storage, read> b: array<f32>; // batch·k·n per lane
@group(0) @binding(3) var<storage, read> bias: array<f32>; // n per lane, unless BIAS is off
@group(0) @binding(4) var<storage, read_write> c: array<f32>; // batch·m·n per lane

// Where the matrices of a product begin; products are numbered lane by lane, within a lane along the batch.
fn a_start(product: u32) -> u32 {
    return p.a + product / p.batch * p.a_lane + product % p.batch * p.m * p.k;
}

fn b_start(product: u32) -> u32 {
    return p.b + product / p.batch * p.b_lane + product % p.batch * p.k * p.n;
}

fn c_start(product: u32) -> u32 {
    return p.c + product / p.batch * p.c_lane + product % p.batch * p.m * p.n;
}

// Elements from one row of op(A) to the next, and from one term of a sum to the next.
fn a_step() -> vec2u {
    return select(vec2u(p.k, 1u), vec2u(1u, p.m), TRANS_A);
}

// Elements from one column of op(B) to the next, and from one term of a sum to the next.
fn b_step() -> vec2u {
    return select(vec2u(1u, p.n), vec2u(p.k, 1u), TRANS_B);
}

// Row and column of this workgroup's tile, counted in tiles; tiles are numbered row by row and folded into x and y.
// The last y may hold numbers without a tile: their row is not below m.
fn tile_of(group: vec3u, groups: vec3u, columns: u32) -> vec2u {
    let tile = group.y * groups.x + group.x;
    let across = (p.n - 1u) / columns + 1u;
    return vec2u(tile / across, tile % across);
}

fn put_one(at: u32, bias_at: u32, sum: f32) {
    var value = sum;
    if BIAS { value += bias[bias_at]; }
    if ACCUMULATE { value += c[at]; }
    c[at] = value;
}

// Four sums of neighbouring columns, as far as they lie in C. No early returns: CPU drivers make slow code of them.
fn put(product: u32, row: u32, column: u32, sums: vec4f) {
    let at = c_start(product) + row * p.n + column;
    let bias_at = p.bias + product / p.batch * p.bias_lane + column;
    if row < p.m {
        if column < p.n { put_one(at, bias_at, sums.x); }
        if column + 1u < p.n { put_one(at + 1u, bias_at + 1u, sums.y); }
        if column + 2u < p.n { put_one(at + 2u, bias_at + 2u, sums.z); }
        if column + 3u < p.n { put_one(at + 3u, bias_at + 3u, sums.w); }
    }
}
