// The first of two passes: the rule's value is a direction.
fn argument(x: T, row: HyperRow) -> T {
    return x;
}

fn finish(i: u32, x: T, d: T, y: T, row: HyperRow) {
    direction[place_of(i)] = y;
}

fn stay(i: u32, row: HyperRow) {}
