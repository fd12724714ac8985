// Adam: x -= lr/c1 · m/(√v/√c2 + eps), m and v running means of d and d²; AMSGrad uses the largest v so far.
// Kingma & Ba 2015, Reddi et al. 2018, as torch.optim.Adam.
struct Hyper { step_size: f32, rate1: f32, beta2: f32, rate2: f32, unbias2: f32, eps: f32 }
struct State { m: T, v: T, w: T }
override AMSGRAD: bool = false;

fn rule(x: T, d: T, s: ptr<function, State>, h: Hyper) -> T {
    (*s).m = toward((*s).m, d, h.rate1);
    (*s).v = h.beta2 * (*s).v + h.rate2 * d * d;
    var second = (*s).v;
    if AMSGRAD {
        (*s).w = larger((*s).w, (*s).v);
        second = (*s).w;
    }
    return x - h.step_size * (*s).m / (sqrt(second) * h.unbias2 + h.eps);
}
