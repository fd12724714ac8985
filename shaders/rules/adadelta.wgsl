// Adadelta: x -= lr · δ, δ = √(a + eps)/√(q + eps) · d, q and a running means of d² and δ².
// Zeiler 2012, as torch.optim.Adadelta.
struct Hyper { lr: f32, rho: f32, rate: f32, eps: f32 }
struct State { q: T, a: T }

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).q = h.rho * (*s).q + h.rate * d * d;
    let delta = sqrt((*s).a + h.eps) / sqrt((*s).q + h.eps) * d;
    (*s).a = h.rho * (*s).a + h.rate * delta * delta;
    return x - h.lr * delta;
}
