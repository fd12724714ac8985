// The gradient of plain.wgsl, from h after the step.
override RELU: bool = false;

fn retreat(lane: u32, cell: u32, at: u32, own: u32, row: u32, of_h: f32, of_cell: f32) -> vec2f {
    let y = h(lane, at);
    if RELU {
        put_sums(lane, row, select(0.0, of_h, y > 0.0));
    } else {
        put_sums(lane, row, of_h * (1.0 - y * y));
    }
    return vec2f();
}
