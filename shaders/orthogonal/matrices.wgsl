// Matrices of one shape in a part of an arena, and packed one after the other; one thread per element.
struct Matrices {
    start: u32, len: u32, lane: u32, rows: u32, columns: u32, count: u32, tiles: u32, packed_lane: u32, norms_lane: u32,
    eps: f32, factor: f32,
}
override TALL: bool = false; // packed transposed
@group(0) @binding(0) var<uniform> op: Matrices;
@group(0) @binding(1) var<storage, read> matrices: array<vec2u>; // first element in the arena, tensor
@group(0) @binding(2) var<storage, read> norms: array<vec2f>; // norms_lane per lane
@group(0) @binding(3) var<storage, read_write> directions: array<f32>; // len per lane
@group(0) @binding(4) var<storage, read_write> x: array<f32>; // count·rows·columns per lane

struct Place { inside: bool, matrix: u32, own: u32, packed: u32 }

fn place_of(group: vec3u, count: vec3u, thread: u32) -> Place {
    let number = group.x + group.y * count.x;
    let matrix = min(number / op.tiles, op.count - 1u);
    let e = number % op.tiles * 256u + thread;
    let at = matrices[matrix].x + e;
    let exists = number / op.tiles < op.count && e < op.rows * op.columns;
    let inside = exists && at >= op.start && at - op.start < op.len;
    let turned = e % op.columns * op.rows + e / op.columns;
    let packed = (op.lane + group.z) * op.packed_lane + matrix * op.rows * op.columns + select(e, turned, TALL);
    return Place(inside, matrix, group.z * op.len + at - op.start, packed);
}
