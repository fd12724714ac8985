// NAdam: x -= (direct·d + through·m) / (√v/√c2 + eps): Adam with Nesterov's look ahead, by a momentum that grows.
// Dozat 2016, as torch.optim.NAdam.
struct Hyper { direct: f32, through: f32, rate1: f32, beta2: f32, rate2: f32, unbias2: f32, eps: f32 }
struct State { m: T, v: T }

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).m = toward((*s).m, d, h.rate1);
    (*s).v = h.beta2 * (*s).v + h.rate2 * d * d;
    return x - (h.direct * d + h.through * (*s).m) / (sqrt((*s).v) * h.unbias2 + h.eps);
}
