// Muon: m += rate1·(d − m), and the direction m + look·(d − m), orthogonalised afterwards; or AdamW's direction.
// Jordan et al. 2024, as torch.optim.Muon; Loshchilov & Hutter 2019.
struct Hyper {
    lr: f32, rate1: f32, look: f32, beta2: f32, rate2: f32, unbias1: f32, unbias2: f32, eps: f32, adamw: f32,
}
struct State { m: T, v: T }

fn trust(a: f32, b: f32, len: f32, memory: ptr<function, f32>, h: Hyper) -> f32 {
    return h.lr;
}

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).m = toward((*s).m, d, h.rate1);
    if h.adamw == 0.0 {
        return toward((*s).m, d, h.look);
    }
    (*s).v = h.beta2 * (*s).v + h.rate2 * d * d;
    return h.unbias1 * (*s).m / (sqrt((*s).v) * h.unbias2 + h.eps);
}
