// RAdam: Adam, with a step rectified for the variance of its root; plain momentum while that variance is not known.
// Liu et al. 2020, as torch.optim.RAdam.
struct Hyper { step_size: f32, rate1: f32, beta2: f32, rate2: f32, adaptive: f32, eps: f32 }
struct State { m: T, v: T }

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).m = toward((*s).m, d, h.rate1);
    (*s).v = h.beta2 * (*s).v + h.rate2 * d * d;
    return x - h.step_size * (*s).m / select(T(1.0), sqrt((*s).v) + h.eps, h.adaptive != 0.0);
}
