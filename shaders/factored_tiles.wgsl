// Sums of g² over the rows and columns of tiles of a lane's matrices, at most 64 × 64; one workgroup of 64 threads per tile. An
// element of a vector is a tile's row of one column, whose mean v follows at once. Shazeer & Stern 2018, arXiv:1804.04235.
// Joined in before this file: access to gradients; `current`, groups · HYPER_ROW per lane; `moments` and `partials` of each
// lane; and `tiles`, two entries per tile: first element, columns of the matrix, rows and columns of the tile; places of its
// sums by row and by column, group, and whether it is of a vector.
struct Tiles { len: u32, tiles: u32, lane: u32, current_lane: u32, moments_lane: u32, partials_lane: u32 }
const HYPER_ROW = 32u;
const LIVE = 0u;
const SCALE = 1u;
const OWN = 12u; // the rule's own scalars: rate, floor
@group(0) @binding(0) var<uniform> op: Tiles;

@compute @workgroup_size(64)
fn factored_tiles(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) count: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let index = group.x + group.y * count.x;
    if index >= op.tiles {
        return;
    }
    let tile = tiles[2u * index];
    let sums = tiles[2u * index + 1u];
    let lane = op.lane + group.z;
    let row = lane * op.current_lane + sums.z * HYPER_ROW;
    if current[row + LIVE] == 0.0 {
        return;
    }
    let scale = current[row + SCALE];
    let start = group.z * op.len + tile.x;
    if thread < tile.z {
        var sum = 0.0;
        for (var column = 0u; column < tile.w; column++) {
            let g = scale * grads[address(start + thread * tile.y + column)];
            sum += g * g;
        }
        if sums.w == 1u {
            let place = lane * op.moments_lane + sums.x + thread;
            moments[place] = toward(moments[place], sum, current[row + OWN]);
            return;
        }
        partials[lane * op.partials_lane + sums.x + thread] = sum;
    }
    if sums.w == 0u && thread < tile.w {
        var sum = 0.0;
        for (var line = 0u; line < tile.z; line++) {
            let g = scale * grads[address(start + line * tile.y + thread)];
            sum += g * g;
        }
        partials[lane * op.partials_lane + sums.y + thread] = sum;
    }
}
