// Schedule-free AdamW: gradients are taken at x = y; offset is z − y, z the fast sequence whose weighted average is evaluated.
// Defazio et al. 2024, as facebookresearch/schedule_free.
struct Hyper {
    share: f32, keep: f32, push: f32, pull: f32, beta2: f32, rate2: f32, unbias2: f32, eps: f32, decay: f32,
}
struct State { offset: T, v: T }

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).v = h.beta2 * (*s).v + h.rate2 * d * d;
    let n = d / (sqrt((*s).v) * h.unbias2 + h.eps) + h.decay * x;
    let moved = x + h.share * (*s).offset - h.push * n;
    (*s).offset = h.keep * ((*s).offset - h.pull * n);
    return moved;
}
