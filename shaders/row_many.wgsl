// The row of element i where there are several lanes or groups: lane by position, group by a table.
// Both are the same for at least 16 neighbouring threads.
override GROUPS: bool = false; // more than one group of hyper-parameters
@group(0) @binding(1) var<storage, read> current: array<Row>; // current_lane per lane

fn row_of(i: u32) -> Row {
    var index = (op.lane + i / op.len) * op.current_lane;
    if GROUPS {
        index += group_of(i);
    }
    // The table is data of the host; a wrong entry must not lead outside.
    return current[min(index, arrayLength(&current) - 1u)];
}
