// NovoGrad: x -= lr·m, m a sum of gradients that are divided by the root of v, a running mean of their squared norm in each
// tensor. Ginsburg et al. 2019.
struct Hyper { lr: f32, beta1: f32, take: f32, beta2: f32, rate2: f32, eps: f32, weight_decay: f32 }
struct State { m: T }

fn trust(a: f32, b: f32, len: f32, memory: ptr<function, f32>, h: Hyper) -> f32 {
    *memory = h.beta2 * *memory + h.rate2 * a * a;
    return 1.0 / (sqrt(*memory) + h.eps);
}

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).m = h.beta1 * (*s).m + h.take * (d + h.weight_decay * x);
    return x - h.lr * (*s).m;
}
