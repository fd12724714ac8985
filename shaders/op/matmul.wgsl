// What the kernels of C = op(A)·op(B) share: shape, operands, steps through them, and what becomes of a finished sum.
// One convention for all of them: a sum is complete before bias and old value are added to it, in this order.

// Joined in before this file: BIAS, and `bias_of`, which reads it. Kernels count in places of their own among `a_elements`,
// `b_elements` and `c_elements`: a sum moves through two of them with every term.

override TRANS_A: bool = false;
override TRANS_B: bool = false;
override ACCUMULATE: bool = false;

// A workgroup's tile: row and column counted in tiles, the lane, and the product's place along both batches. Tiles of a product
// are numbered row by row, those of the next product follow, and all of them are folded into x and y. The last y may hold
// numbers without a tile: their row is not below m.
struct Tile { row: u32, column: u32, lane: u32, outer: u32, inner: u32 }

fn tile_of(group: vec3u, groups: vec3u, rows: u32, columns: u32) -> Tile {
    let across = (op.n - 1u) / columns + 1u;
    let tiles = ((op.m - 1u) / rows + 1u) * across;
    let index = group.y * groups.x + group.x;
    let product = index / tiles;
    let tile = index % tiles;
    // Times the rows of a tile it is still a number, and beyond all rows.
    let row = select(0xffffffffu / rows, tile / across, product < op.products);
    return Tile(row, tile % across, group.z, product / op.inner, product % op.inner);
}

// Where the matrices of a tile's product begin.
fn a_start(t: Tile) -> u32 {
    return op.a_first + t.lane * op.a_lane + t.outer * op.a_outer + t.inner * op.a_inner;
}

fn b_start(t: Tile) -> u32 {
    return op.b_first + t.lane * op.b_lane + t.outer * op.b_outer + t.inner * op.b_inner;
}

fn c_start(t: Tile) -> u32 {
    return op.c_first + t.lane * op.c_lane + t.outer * op.c_outer + t.inner * op.c_inner;
}

// Elements from one row of op(A) to the next, and from one term of a sum to the next.
fn a_step() -> vec2u {
    return select(vec2u(op.a_row, 1u), vec2u(1u, op.a_row), TRANS_A);
}

// Elements from one column of op(B) to the next, and from one term of a sum to the next.
fn b_step() -> vec2u {
    return select(vec2u(1u, op.b_row), vec2u(op.b_row, 1u), TRANS_B);
}

fn put_one(at: u32, lane: u32, column: u32, sum: f32) {
    var value = sum;
    if BIAS { value += bias_of(lane, column); }
    if ACCUMULATE { value += c_elements[at]; }
    c_elements[at] = value;
}

// Four sums of neighbouring columns, as far as they lie in C. No early returns: CPU drivers make slow code of them.
fn put(t: Tile, row: u32, column: u32, sums: vec4f) {
    let at = c_start(t) + row * op.c_row + column;
    if row < op.m {
        if column < op.n { put_one(at, t.lane, column, sums.x); }
        if column + 1u < op.n { put_one(at + 1u, t.lane, column + 1u, sums.y); }
        if column + 2u < op.n { put_one(at + 2u, t.lane, column + 2u, sums.z); }
        if column + 3u < op.n { put_one(at + 3u, t.lane, column + 3u, sums.w); }
    }
}
