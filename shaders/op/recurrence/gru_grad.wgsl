// The gradient of gru.wgsl, from the gates and h before the step.
fn retreat(lane: u32, cell: u32, at: u32, own: u32, row: u32, of_h: f32, of_cell: f32) -> vec2f {
    let reset = kept(lane, own);
    let update = kept(lane, own + op.hidden);
    let fresh = kept(lane, own + 2u * op.hidden);
    let through = kept(lane, own + 3u * op.hidden);
    let slope = of_h * (1.0 - update) * (1.0 - fresh * fresh);
    let of_reset = slope * through * reset * (1.0 - reset);
    let of_update = of_h * (h(lane, at) - fresh) * update * (1.0 - update);
    put_sums(lane, row, of_reset);
    put_sums(lane, row + op.hidden, of_update);
    put_sums(lane, row + 2u * op.hidden, slope);
    put_from_h(lane, row, of_reset);
    put_from_h(lane, row + op.hidden, of_update);
    put_from_h(lane, row + 2u * op.hidden, slope * reset);
    return vec2f(of_h * update, 0.0);
}
