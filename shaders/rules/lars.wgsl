// LARS: SGD with momentum on d·r, where r is the trust in the tensor: tc·‖x‖/(‖g‖ + λ·‖x‖ + eps).
// You, Gitman & Ginsburg 2017, as timm's Lars; with a cap on r it is LARC.
struct Hyper {
    lr: f32, momentum: f32, take: f32, direct: f32, through: f32,
    coefficient: f32, weight_decay: f32, eps: f32, cap: f32,
}
struct State { b: T }
override MOMENTUM: bool = false;

fn trust(a: f32, b: f32, len: f32, memory: ptr<function, f32>, h: Hyper) -> f32 {
    if h.coefficient == 0.0 {
        return 1.0;
    }
    let ratio = select(h.coefficient * b / (a + h.weight_decay * b + h.eps), 1.0, a == 0.0 || b == 0.0);
    if h.cap == 0.0 {
        return ratio;
    }
    return nan_or_one(ratio, min(ratio * h.cap, 1.0));
}

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    if !MOMENTUM {
        return x - h.lr * d;
    }
    (*s).b = h.momentum * (*s).b + h.take * d;
    return x - h.lr * (h.direct * d + h.through * (*s).b);
}
