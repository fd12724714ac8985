// Gradients, or what takes their place, laid out as the arena.
fn get_grads(i: u32) -> T {
    return grads[first_grad(i)];
}

fn put_grads(i: u32, g: T) {
    grads[first_grad(i)] = g;
}
