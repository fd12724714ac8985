// An average of the parameters.
fn keep_average(i: u32, x: T, row: Row) {
    if row.average != 0.0 {
        average[i] += row.average * (x - average[i]);
    }
}
