// AdEMAMix: x -= (fast·m1 + slow·m2)/(√v/√c2 + eps), m1 a short and m2 a long running mean of d, v one of d².
// Pagliardini, Ablin & Grangier 2024, algorithm 1.
struct Hyper { fast: f32, slow: f32, rate1: f32, rate3: f32, beta2: f32, rate2: f32, unbias2: f32, eps: f32 }
struct State { m1: T, m2: T, v: T }

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).m1 = toward((*s).m1, d, h.rate1);
    (*s).m2 = toward((*s).m2, d, h.rate3);
    (*s).v = h.beta2 * (*s).v + h.rate2 * d * d;
    return x - (h.fast * (*s).m1 + h.slow * (*s).m2) / (sqrt((*s).v) * h.unbias2 + h.eps);
}
