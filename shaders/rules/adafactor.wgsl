// Adafactor: u = d/√v, with v of matrices made of rows and columns, and x -= lr·RMS(x)/max(1, RMS(u)/bound)·u in each tensor.
// Shazeer & Stern 2018, as torch.optim.Adafactor.
struct Hyper { rate: f32, floor: f32, lr: f32, eps2: f32, bound: f32 }
struct State { v: T }

fn trust(a: f32, b: f32, len: f32, memory: ptr<function, f32>, h: Hyper) -> f32 {
    let root = sqrt(len);
    return h.lr * larger_one(h.eps2, b / root) / larger_one(1.0, a / (root * h.bound));
}

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    if !FACTORED {
        (*s).v = toward((*s).v, d * d, h.rate);
    }
    // A floor of 0 is the resolution of the float type.
    return d / larger(sqrt((*s).v), T(select(h.floor, 0x1p-23, h.floor == 0.0)));
}
