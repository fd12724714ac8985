// What a step added to the parameters.
fn keep_change(i: u32, dx: T) {
    change[i] = dx;
}
