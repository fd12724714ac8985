// table[v, :] = sum of x[r, :] over the rows with rows[r] = v, in their order.
@compute @workgroup_size(64)
fn zeros(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i < op.len {
        put_table(id.z, i, 0.0);
    }
}

// A thread per element of x. That of the first row with a number adds the rows that follow.
@compute @workgroup_size(64)
fn scatter_add(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) count: vec3u) {
    let i = id.x + id.y * count.x * 64u;
    if i >= op.len {
        return;
    }
    let first = i / op.width;
    let column = i % op.width;
    let row = rows(id.z, first);
    if row >= op.table_rows || row == op.skip {
        return;
    }
    var before = 0u;
    for (var r = 0u; r < first; r++) {
        before += u32(rows(id.z, r) == row);
    }
    var sum = x(id.z, i);
    for (var r = first + 1u; r < op.rows_len; r++) {
        if rows(id.z, r) == row {
            sum += x(id.z, r * op.width + column);
        }
    }
    if before == 0u {
        put_table(id.z, row * op.width + column, sum);
    }
}
