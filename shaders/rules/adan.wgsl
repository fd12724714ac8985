// Adan: x -= (step1·m + step2·(d − e))/(√v/√c3 + eps): momentum that looks ahead by the change of the gradient.
// Xie et al. 2022, as the authors' code; d − e stands for the running mean of the change.
struct Hyper {
    step1: f32, step2: f32, rate1: f32, rate2: f32, ahead: f32, beta3: f32, rate3: f32, unbias3: f32, eps: f32, shrink: f32,
}
struct State { m: T, e: T, v: T, prev: T }

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    let change = d - (*s).e;
    let look = d + h.ahead * (d - (*s).prev);
    (*s).m = toward((*s).m, d, h.rate1);
    (*s).e = toward((*s).e, d, h.rate2);
    (*s).v = h.beta3 * (*s).v + h.rate3 * look * look;
    (*s).prev = d;
    return h.shrink * (x - (h.step1 * (*s).m + h.step2 * change) / (sqrt((*s).v) * h.unbias3 + h.eps));
}
