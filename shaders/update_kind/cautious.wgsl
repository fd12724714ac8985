// The first of two passes: the rule's step from 0, where it does not go against the gradient.
// Liang et al. 2024, arXiv:2411.16085.
fn argument(x: T, row: HyperRow) -> T {
    return T();
}

fn finish(i: u32, x: T, d: T, y: T, row: HyperRow) {
    // An element that is not finite stays, whatever its sign, so that it is seen.
    let lost = (bitcast<U>(y) & U(0x7f800000u)) == U(0x7f800000u);
    direction[place_of(i)] = select(T(), -y, (-y * d > T()) | lost);
}

fn stay(i: u32, row: HyperRow) {}
