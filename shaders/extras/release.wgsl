// Gradients are zero once they are used, as after torch's zero_grad.
fn release(i: u32) {
    put_grads(i, T());
}
