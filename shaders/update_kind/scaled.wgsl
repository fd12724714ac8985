// d = r · (clamp(f · scale · g, ±max_value) + l2 · x + l1 · sign(x)), with the factors (f, r) of the tensor.
override MAX_VALUE: bool = false; // elements of the gradient are bounded
override L1: bool = false; // there is an L1 penalty

fn gradient(i: u32, x: T, row: HyperRow) -> T {
    let factors = factors_of(i);
    var g = factors.x * row.scale * get_grads(i);
    if MAX_VALUE {
        // What `clamp` makes of NaN is the driver's choice; it has to stay.
        g = select(g, clamp(g, T(-row.max_value), T(row.max_value)), abs(g) > T(row.max_value));
    }
    var d = g + row.l2 * x;
    if L1 {
        d += row.l1 * sign_of(x);
    }
    return factors.y * d;
}
