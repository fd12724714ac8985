// The second of two passes: x = decay · x − r · direction, with the second factor r of the tensor.
struct Hyper { none: f32 }
struct State { none: f32 }

fn gradient(i: u32, x: T, row: HyperRow) -> T {
    return factors_of(i).y * get_grads(i);
}

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    return x - d;
}
