// SGD: x -= through·b + direct·d, b an accumulation of gradients; `direct` is 0 but for Nesterov's look ahead.
// Sutskever et al. 2013, as torch.optim.SGD.
struct Hyper { lr: f32, momentum: f32, take: f32, direct: f32, through: f32 }
struct State { b: T }
override MOMENTUM: bool = false;

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    if !MOMENTUM {
        return x - h.lr * d;
    }
    (*s).b = h.momentum * (*s).b + h.take * d;
    return x - (h.direct * d + h.through * (*s).b);
}
