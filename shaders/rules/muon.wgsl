// Muon: m += rate·(d − m), and the direction m + look·(d − m), orthogonalised afterwards.
// Jordan et al. 2024, as torch.optim.Muon.
struct Hyper { lr: f32, rate: f32, look: f32 }
struct State { m: T }

fn trust(a: f32, b: f32, len: f32, memory: ptr<function, f32>, h: Hyper) -> f32 {
    return h.lr;
}

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).m = toward((*s).m, d, h.rate);
    return toward((*s).m, d, h.look);
}
