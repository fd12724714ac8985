// Gradients are zero once they are used, as after torch's zero_grad.
fn zero_grads(i: u32) {
    put_grads(i, T());
}
