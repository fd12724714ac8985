// The first of two passes: the rule's step from 0, where it does not go against the gradient.
// Liang et al. 2024, arXiv:2411.16085.
fn argument(x: T, row: Row) -> T {
    return T();
}

fn finish(i: u32, x: T, d: T, y: T, row: Row) {
    direction[op.plane + i] = select(T(), -y, -y * d > T());
}
