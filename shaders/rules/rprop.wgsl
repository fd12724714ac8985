// Rprop: x -= sign(d)·step; the step grows while d keeps its sign, and shrinks where it changes.
// Riedmiller & Braun 1993, without taking steps back, as torch.optim.Rprop.
struct Hyper { eta_minus: f32, eta_plus: f32, step_min: f32, step_max: f32 }
struct State { prev: T, step: T }

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    // A product of gradients could underflow, one of signs cannot.
    let turn = sign_of(d) * sign_of((*s).prev);
    let factor = select(select(T(1.0), T(h.eta_minus), turn < T(0.0)), T(h.eta_plus), turn > T(0.0));
    (*s).step = clamp(factor * (*s).step, T(h.step_min), T(h.step_max));
    (*s).prev = select(d, T(0.0), turn < T(0.0));
    return x - sign_of((*s).prev) * (*s).step;
}
