// n = tanh(W x + b + σ(r) (U h + d)), h = (1 − σ(z)) n + σ(z) h. Cho et al. 2014.
fn advance(lane: u32, unit: u32, cell: u32, own: u32, x: vec4f, from_h: vec4f, old: f32) -> f32 {
    let reset = f_sigmoid(x.x + from_h.x + bias(lane, unit));
    let update = f_sigmoid(x.y + from_h.y + bias(lane, op.hidden + unit));
    let of_h = from_h.z + bias(lane, 2u * op.hidden + unit);
    let fresh = f_tanh(x.z + reset * of_h);
    put_kept(lane, own, reset);
    put_kept(lane, own + op.hidden, update);
    put_kept(lane, own + 2u * op.hidden, fresh);
    put_kept(lane, own + 3u * op.hidden, of_h);
    return (1.0 - update) * fresh + update * old;
}
