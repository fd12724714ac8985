// A whole step: the rule's value is the parameter.
fn argument(x: T, row: HyperRow) -> T {
    return row.decay * x;
}

fn finish(i: u32, x: T, d: T, y: T, row: HyperRow) {
    let at = place_of(i);
    let z = sync(at, x, y, row);
    put_params(i, z);
    keep_average(at, z, row);
    keep_change(at, z - x);
    keep_half(at, z);
}

// Without a step: the copy still follows the parameters, and so does an average into which no step has counted.
fn stay(i: u32, row: HyperRow) {
    let at = place_of(i);
    let x = get_params(i);
    if row.average == 1.0 {
        keep_average(at, x, row);
    }
    keep_half(at, x);
}
