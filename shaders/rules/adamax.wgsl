// Adamax: x -= lr/c1 · m/u, m the running mean of d, u its decaying largest size.
// Kingma & Ba 2015, section 7.1, as torch.optim.Adamax.
struct Hyper { step_size: f32, rate1: f32, beta2: f32, eps: f32 }
struct State { m: T, u: T }

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).m = toward((*s).m, d, h.rate1);
    (*s).u = larger(h.beta2 * (*s).u, abs(d) + h.eps);
    return x - h.step_size * (*s).m / (*s).u;
}
