// Means of g² over rows and columns, which their moments follow: one thread per line, 64 lines of one matrix per workgroup.
// Shazeer & Stern 2018, arXiv:1804.04235.
struct Lines { blocks: u32, current_lane: u32, moments_lane: u32, partials_lane: u32 }
const HYPER_ROW = 32u;
const LIVE = 0u;
const OWN = 12u; // the rule's own scalars: rate, floor
@group(0) @binding(0) var<uniform> op: Lines;
// Two per block: first moment, lines, first sum, sums from one tile to the next; tiles, elements of a line, group, nothing.
@group(0) @binding(1) var<storage, read> blocks: array<vec4u>;
@group(0) @binding(2) var<storage, read> current: array<f32>; // groups · HYPER_ROW per lane
@group(0) @binding(3) var<storage, read> partials: array<f32>; // partials_lane per lane
@group(0) @binding(4) var<storage, read_write> moments: array<f32>; // moments_lane per lane

@compute @workgroup_size(64)
fn factored_lines(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group.x + group.y * count.x;
    if index >= op.blocks {
        return;
    }
    let lines = blocks[2u * index];
    let tiles = blocks[2u * index + 1u];
    let row = group.z * op.current_lane + tiles.z * HYPER_ROW;
    if thread >= lines.y || current[row + LIVE] == 0.0 {
        return;
    }
    let first = group.z * op.partials_lane + lines.z + thread;
    var sum = 0.0;
    for (var tile = 0u; tile < tiles.x; tile++) {
        sum += partials[first + tile * lines.w];
    }
    let place = group.z * op.moments_lane + lines.x + thread;
    moments[place] = toward(moments[place], sum / f32(tiles.y), current[row + OWN]);
}
