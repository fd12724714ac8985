// The row of element i where there are several lanes or groups: lane by position, group by a table.
// Both are the same for at least 16 neighbouring threads.
override GROUPS: bool = false; // more than one group of hyper-parameters

fn row_of(i: u32) -> HyperRow {
    var index = (op.lane + i / op.len) * op.current_lane;
    if GROUPS {
        index += block_of(i) >> 20u;
    }
    // The table is data of the host; a wrong entry must not lead outside.
    return current[min(index, arrayLength(&current) - 1u)];
}
