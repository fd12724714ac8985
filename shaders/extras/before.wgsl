// Parameters from before an ascent: a step starts there, and a bad one ends there.
fn start_of(i: u32) -> T {
    return before[place_of(i)];
}

fn restore(i: u32) {
    put_params(i, before[place_of(i)]);
}
