// The gradient of lstm.wgsl, from the gates and the cells before and after the step.
fn retreat(lane: u32, cell: u32, at: u32, own: u32, row: u32, of_h: f32, of_cell: f32) -> vec2f {
    let input = kept(lane, own);
    let forget = kept(lane, own + op.hidden);
    let fresh = kept(lane, own + 2u * op.hidden);
    let output = kept(lane, own + 3u * op.hidden);
    let t = f_tanh(cells(lane, cell));
    let slope = of_cell + of_h * output * (1.0 - t * t);
    put_sums(lane, row, slope * fresh * input * (1.0 - input));
    put_sums(lane, row + op.hidden, slope * cells(lane, cell - op.hidden) * forget * (1.0 - forget));
    put_sums(lane, row + 2u * op.hidden, slope * input * (1.0 - fresh * fresh));
    put_sums(lane, row + 3u * op.hidden, of_h * t * output * (1.0 - output));
    return vec2f(0.0, slope * forget);
}
