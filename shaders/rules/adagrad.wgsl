// Adagrad: x -= lr · d/(√(S + inner) + eps), S the sum of d² so far.
// Duchi, Hazan & Singer 2011, as torch.optim.Adagrad.
struct Hyper { lr: f32, eps: f32, inner: f32 }
struct State { sum: T }

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).sum += d * d;
    return x - h.lr * d / (sqrt((*s).sum + h.inner) + h.eps);
}
