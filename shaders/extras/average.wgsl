// An average of the parameters. By a rate of 1 nothing is left of what it held.
fn keep_average(i: u32, x: T, row: Row) {
    if row.average != 0.0 {
        average[i] = select(toward(average[i], x, row.average), x, row.average == 1.0);
    }
}
