// Lion: x -= lr · sign(c), c between the running mean m of d, by β₁, and d; m itself moves by β₂.
// Chen et al. 2023, algorithm 2.
struct Hyper { lr: f32, beta1: f32, rate1: f32, beta2: f32, rate2: f32 }
struct State { m: T }

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    let c = h.beta1 * (*s).m + h.rate1 * d;
    (*s).m = h.beta2 * (*s).m + h.rate2 * d;
    return x - h.lr * sign_of(c);
}
