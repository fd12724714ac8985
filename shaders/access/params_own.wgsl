// Parameters in an arena: aligned, padded with zeros.
fn get_params(i: u32) -> T {
    return params[place_of(i)];
}

fn put_params(i: u32, x: T) {
    params[place_of(i)] = x;
}
