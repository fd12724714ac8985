// An average of the parameters. At a rate of 1 it becomes a copy: nothing of its old value is left, not even NaN.
fn keep_average(i: u32, x: T, row: HyperRow) {
    if row.average != 0.0 {
        average[i] = select(toward(average[i], x, row.average), x, row.average == 1.0);
    }
}
