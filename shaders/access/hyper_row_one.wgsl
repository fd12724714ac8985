// The row of every element where there is one lane and one group: a uniform, the cheapest thing to read everywhere.
// Bound to the same buffer that control.wgsl writes.
fn row_of(i: u32) -> HyperRow {
    return current;
}
