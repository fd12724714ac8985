// LAMB: u = m/c1/(√v/√c2 + eps) + λ·x, and x -= lr·‖x‖/‖u‖·u in each tensor.
// You et al. 2020, as Apex's FusedLAMB.
struct Hyper {
    lr: f32, beta1: f32, take: f32, beta2: f32, rate2: f32, unbias1: f32, unbias2: f32, eps: f32,
    weight_decay: f32, adapt: f32, max_trust: f32,
}
struct State { m: T, v: T }

fn trust(a: f32, b: f32, len: f32, memory: ptr<function, f32>, h: Hyper) -> f32 {
    if h.adapt == 0.0 || a == 0.0 || b == 0.0 {
        return h.lr;
    }
    // `min` may hide a norm that is not finite.
    return h.lr * select(b / a, min(b / a, h.max_trust), is_finite(a) && is_finite(b));
}

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).m = h.beta1 * (*s).m + h.take * d;
    (*s).v = h.beta2 * (*s).v + h.rate2 * d * d;
    return h.unbias1 * (*s).m / (sqrt((*s).v) * h.unbias2 + h.eps) + h.weight_decay * x;
}
