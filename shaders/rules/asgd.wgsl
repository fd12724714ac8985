// ASGD: x = shrink·x − eta·d, by a falling eta; ax is the average of x from a given step on, and x before.
// Polyak & Juditsky 1992, Bottou 2010, as torch.optim.ASGD.
struct Hyper { shrink: f32, eta: f32, keep: f32, mu: f32 }
struct State { ax: T }

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    let moved = h.shrink * x - h.eta * d;
    (*s).ax = h.keep * (*s).ax + h.mu * moved;
    return moved;
}
