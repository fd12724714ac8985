// Picks a batch: out[r, :] = table[order[(clock mod batches)·rows + r], :], or `fill` where the index is NONE.
// Words are copied as they are, so floats and indices share this kernel.
struct Gather { width: u32, rows: u32, batches: u32, table_rows: u32, fill: u32 }
@group(0) @binding(0) var<uniform> op: Gather;
@group(0) @binding(1) var<storage, read> table: array<u32>; // table_rows · width
@group(0) @binding(2) var<storage, read> order: array<u32>; // batches · rows
@group(0) @binding(3) var<storage, read> clock: array<u32>; // 1
@group(0) @binding(4) var<storage, read_write> out: array<u32>; // rows · width

@compute @workgroup_size(64)
fn gather(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i >= op.rows * op.width {
        return;
    }
    let index = order[(clock[0] % op.batches) * op.rows + i / op.width];
    var word = op.fill;
    if index < op.table_rows {
        word = table[index * op.width + i % op.width];
    }
    out[i] = word;
}
