// Picks a batch: out[r, :] = table[order[(clock mod batches)·rows + r], :], or `FILL` where the index is beyond the table.
// One element per thread, lanes along z.
@compute @workgroup_size(64)
fn gather(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i >= op.rows * op.width {
        return;
    }
    let index = order(id.z, (clock(id.z, 0u) % op.batches) * op.rows + i / op.width);
    var value = FILL;
    if index < op.table_rows {
        value = table(id.z, index * op.width + i % op.width);
    }
    put_out(id.z, i, value);
}
