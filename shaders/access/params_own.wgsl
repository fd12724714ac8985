// Parameters in an arena: aligned, padded with zeros.
fn get_params(i: u32) -> T {
    return params[op.plane + i];
}

fn put_params(i: u32, x: T) {
    params[op.plane + i] = x;
}
