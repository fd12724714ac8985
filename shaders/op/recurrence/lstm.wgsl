// c = σ(f) c + σ(i) tanh(g), h = σ(o) tanh(c). Hochreiter and Schmidhuber 1997.
fn advance(lane: u32, unit: u32, cell: u32, own: u32, x: vec4f, from_h: vec4f, old: f32) -> f32 {
    let sums = x + from_h;
    let gates = vec4f(f_sigmoid(sums.x), f_sigmoid(sums.y), f_tanh(sums.z), f_sigmoid(sums.w));
    put_kept(lane, own, gates.x);
    put_kept(lane, own + op.hidden, gates.y);
    put_kept(lane, own + 2u * op.hidden, gates.z);
    put_kept(lane, own + 3u * op.hidden, gates.w);
    let new_cell = gates.y * cells(lane, cell) + gates.x * gates.z;
    put_cells(lane, cell + op.hidden, new_cell);
    return gates.w * f_tanh(new_cell);
}
