// RMSprop: x -= lr · d/(√(q + inner) + eps), q the running mean of d²; centered subtracts the squared running mean a of d.
// Hinton 2012, Graves 2013, as torch.optim.RMSprop.
struct Hyper { lr: f32, alpha: f32, rate: f32, eps: f32, inner: f32, momentum: f32, take: f32 }
struct State { q: T, a: T, b: T }
override CENTERED: bool = false;
override MOMENTUM: bool = false;

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).q = h.alpha * (*s).q + h.rate * d * d;
    var square = (*s).q;
    if CENTERED {
        (*s).a = toward((*s).a, d, h.rate);
        let variance = (*s).q - (*s).a * (*s).a;
        // Rounding may leave less than 0; what is not finite has to stay.
        let lost = (bitcast<U>(variance) & U(0x7f800000u)) == U(0x7f800000u);
        square = select(max(variance, T(0.0)), variance, lost);
    }
    let step = h.take * d / (sqrt(square + h.inner) + h.eps);
    if !MOMENTUM {
        return x - h.lr * step;
    }
    (*s).b = h.momentum * (*s).b + step;
    return x - h.lr * (*s).b;
}
