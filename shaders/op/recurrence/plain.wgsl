// h = tanh(W x + b + U h + d), or with a ReLU. Elman 1990.
override RELU: bool = false;

fn advance(lane: u32, unit: u32, cell: u32, own: u32, x: vec4f, from_h: vec4f, old: f32) -> f32 {
    let sum = x.x + from_h.x;
    if RELU {
        return select(sum, 0.0, sum <= 0.0);
    }
    return f_tanh(sum);
}
