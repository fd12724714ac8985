// out[r, :] = table[rows[r], :]: a thread per element. A row beyond the table is zeros.
@compute @workgroup_size(64)
fn lookup(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i >= op.len {
        return;
    }
    let row = rows(id.z, i / op.width);
    var value = 0.0;
    if row < op.table_rows {
        value = table(id.z, row * op.width + i % op.width);
    }
    put_out(id.z, i, value);
}
