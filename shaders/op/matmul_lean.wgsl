// C = op(A)·op(B) for adapters that are CPUs: no workgroup memory, no barriers, each thread 16 or 8 rows × 8 or 4 columns.
// Register blocking as in Goto & van de Geijn 2008; a load costs a CPU driver far more than a multiply-add, so blocks are tall.
// Needs WIDE (two vec4s of columns, else one), TALL (16 rows, else 8), and `octet`, which reads eight rows of A.

const ROWS: u32 = select(8u, 16u, TALL);
const COLUMNS: u32 = select(32u, 64u, WIDE);

@compute @workgroup_size(8)
fn matmul_lean(
    @builtin(workgroup_id) group: vec3u,
    @builtin(num_workgroups) groups: vec3u,
    @builtin(local_invocation_index) thread: u32,
) {
    let tile = tile_of(group, groups, ROWS, COLUMNS);
    let row = tile.row * ROWS;
    if row >= op.m { return; }

    // Rows and columns beyond the last repeat the last; their sums are dropped.
    let step = b_step();
    let column = tile.column * COLUMNS + thread * 4u;
    let base = b_start(tile);
    var left = base + min(column + vec4u(0u, 1u, 2u, 3u), vec4u(op.n - 1u)) * step.x;
    var right = base + min(column + vec4u(32u, 33u, 34u, 35u), vec4u(op.n - 1u)) * step.x;
    let top_rows = octet_at(tile, row, thread);
    let low_rows = octet_at(tile, row + 8u, thread);
    let a_next = a_step().y;

    var s0 = vec4f(); var s1 = vec4f(); var s2 = vec4f(); var s3 = vec4f();
    var s4 = vec4f(); var s5 = vec4f(); var s6 = vec4f(); var s7 = vec4f();
    var s8 = vec4f(); var s9 = vec4f(); var s10 = vec4f(); var s11 = vec4f();
    var s12 = vec4f(); var s13 = vec4f(); var s14 = vec4f(); var s15 = vec4f();
    var t0 = vec4f(); var t1 = vec4f(); var t2 = vec4f(); var t3 = vec4f();
    var t4 = vec4f(); var t5 = vec4f(); var t6 = vec4f(); var t7 = vec4f();
    var t8 = vec4f(); var t9 = vec4f(); var t10 = vec4f(); var t11 = vec4f();
    var t12 = vec4f(); var t13 = vec4f(); var t14 = vec4f(); var t15 = vec4f();

    for (var i = 0u; i < op.k; i++) {
        let y = vec4f(b_elements[left.x], b_elements[left.y], b_elements[left.z], b_elements[left.w]);
        left += step.y;
        var z = vec4f();
        if WIDE {
            z = vec4f(b_elements[right.x], b_elements[right.y], b_elements[right.z], b_elements[right.w]);
            right += step.y;
        }

        let x = octet(top_rows, i * a_next);
        s0 += x.low.x * y; s1 += x.low.y * y; s2 += x.low.z * y; s3 += x.low.w * y;
        s4 += x.high.x * y; s5 += x.high.y * y; s6 += x.high.z * y; s7 += x.high.w * y;
        if WIDE {
            t0 += x.low.x * z; t1 += x.low.y * z; t2 += x.low.z * z; t3 += x.low.w * z;
            t4 += x.high.x * z; t5 += x.high.y * z; t6 += x.high.z * z; t7 += x.high.w * z;
        }
        if TALL {
            let w = octet(low_rows, i * a_next);
            s8 += w.low.x * y; s9 += w.low.y * y; s10 += w.low.z * y; s11 += w.low.w * y;
            s12 += w.high.x * y; s13 += w.high.y * y; s14 += w.high.z * y; s15 += w.high.w * y;
            if WIDE {
                t8 += w.low.x * z; t9 += w.low.y * z; t10 += w.low.z * z; t11 += w.low.w * z;
                t12 += w.high.x * z; t13 += w.high.y * z; t14 += w.high.z * z; t15 += w.high.w * z;
            }
        }
    }

    put(tile, row, column, s0); put(tile, row + 1u, column, s1);
    put(tile, row + 2u, column, s2); put(tile, row + 3u, column, s3);
    put(tile, row + 4u, column, s4); put(tile, row + 5u, column, s5);
    put(tile, row + 6u, column, s6); put(tile, row + 7u, column, s7);
    if TALL {
        put(tile, row + 8u, column, s8); put(tile, row + 9u, column, s9);
        put(tile, row + 10u, column, s10); put(tile, row + 11u, column, s11);
        put(tile, row + 12u, column, s12); put(tile, row + 13u, column, s13);
        put(tile, row + 14u, column, s14); put(tile, row + 15u, column, s15);
    }
    if WIDE {
        let far = column + 32u;
        put(tile, row, far, t0); put(tile, row + 1u, far, t1);
        put(tile, row + 2u, far, t2); put(tile, row + 3u, far, t3);
        put(tile, row + 4u, far, t4); put(tile, row + 5u, far, t5);
        put(tile, row + 6u, far, t6); put(tile, row + 7u, far, t7);
        if TALL {
            put(tile, row + 8u, far, t8); put(tile, row + 9u, far, t9);
            put(tile, row + 10u, far, t10); put(tile, row + 11u, far, t11);
            put(tile, row + 12u, far, t12); put(tile, row + 13u, far, t13);
            put(tile, row + 14u, far, t14); put(tile, row + 15u, far, t15);
        }
    }
}
