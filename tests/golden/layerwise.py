"""Golden trajectories of rules that scale each tensor by its norms, written down in plain floats.

usage: python layerwise.py OUT.jsonl [SEED]   (needs nothing)
       python layerwise.py --check            (compares what optax has of them, where it is installed)

timm 1.0.31's Lars and Lamb (max_grad_norm=None) give the same trajectories, all switches included; its NvNovoGrad keeps v in f32.

Sources:
  LARS       You, Gitman & Ginsburg 2017, arXiv:1708.03888, with the switches of timm 1.0's timm/optim/lars.py
  LAMB       You et al. 2020, arXiv:1904.00962, in the form of Apex's csrc/multi_tensor_lamb.cu without its clip; trust_clip as in timm
  NovoGrad   Ginsburg et al. 2019, arXiv:1905.11286, algorithm 1; grad_averaging as in NVIDIA's code
"""
import sys
from math import fsum, sqrt
from trajectory import SNAP, STEPS, Start, write


def norm(values):
    return sqrt(fsum(x * x for x in values))


def lars(lr=1.0, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, trust_coefficient=1e-3, eps=1e-8,
         trust_clip=False, always_adapt=False):
    def update(x, g, t, state):
        if weight_decay or always_adapt:
            of_x, of_g = norm(x), norm(g)
            trust = 1.0
            if of_x > 0 and of_g > 0:
                trust = trust_coefficient * of_x / (of_g + of_x * weight_decay + eps)
            if trust_clip:
                trust = min(trust / lr, 1.0)
            g = [(d + weight_decay * p) * trust for d, p in zip(g, x)]
        if momentum:
            if t == 1:
                state["b"] = list(g)
            else:
                state["b"] = [momentum * b + (1 - dampening) * d for b, d in zip(state["b"], g)]
            g = [d + momentum * b for d, b in zip(g, state["b"])] if nesterov else state["b"]
        return [p - lr * d for p, d in zip(x, g)]
    return update


def lamb(lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=0.01, grad_averaging=True, bias_correction=True,
         always_adapt=False, trust_clip=False):
    beta1, beta2 = betas
    beta3 = 1 - beta1 if grad_averaging else 1.0

    def update(x, g, t, state):
        c1, c2 = (1 - beta1**t, 1 - beta2**t) if bias_correction else (1.0, 1.0)
        zeros = [0.0] * len(x)
        m = state["m"] = [beta1 * m + beta3 * d for m, d in zip(state.get("m", zeros), g)]
        v = state["v"] = [beta2 * v + (1 - beta2) * d * d for v, d in zip(state.get("v", zeros), g)]
        u = [(m / c1) / (sqrt(v / c2) + eps) + weight_decay * p for m, v, p in zip(m, v, x)]
        ratio = lr
        if weight_decay or always_adapt:
            of_x, of_u = norm(x), norm(u)
            trust = of_x / of_u if of_x > 0 and of_u > 0 else 1.0
            ratio = lr * (min(trust, 1.0) if trust_clip else trust)
        return [p - ratio * d for p, d in zip(x, u)]
    return update


def novograd(lr=1e-2, betas=(0.95, 0.98), eps=1e-8, weight_decay=0.0, grad_averaging=False):
    beta1, beta2 = betas

    def update(x, g, t, state):
        square = fsum(d * d for d in g)
        state["_v"] = square if t == 1 else beta2 * state["_v"] + (1 - beta2) * square
        d = [g / (sqrt(state["_v"]) + eps) + weight_decay * p for g, p in zip(g, x)]
        if grad_averaging:
            d = [(1 - beta1) * d for d in d]
        state["m"] = [beta1 * m + d for m, d in zip(state.get("m", [0.0] * len(x)), d)]
        return [p - lr * m for p, m in zip(x, state["m"])]
    return update


NAMES = {lars: "LARS", lamb: "LAMB", novograd: "NovoGrad"}
CASES = [
    # Without decay and unless told, it is SGD.
    (lars, dict(lr=0.05, momentum=0.9)),
    (lars, dict(lr=1.0, trust_coefficient=0.02, always_adapt=True)),
    (lars, dict(lr=0.5, momentum=0.9, trust_coefficient=0.01, always_adapt=True)),
    (lars, dict(lr=0.5, momentum=0.9, nesterov=True, trust_coefficient=0.01, always_adapt=True)),
    (lars, dict(lr=5.0, momentum=0.9, weight_decay=0.1)),
    (lars, dict(lr=0.5, momentum=0.8, dampening=0.3, weight_decay=0.05, trust_coefficient=0.02, eps=0.1)),
    (lars, dict(lr=0.2, momentum=0.9, weight_decay=0.1, trust_coefficient=0.5, trust_clip=True)),
    # A tensor of zeros has a trust of 1, which the cap lowers too where lr is above 1.
    (lars, dict(lr=5.0, momentum=0.9, weight_decay=0.1, trust_coefficient=0.5, trust_clip=True)),
    (lars, dict(lr=0.1, trust_coefficient=0.1, trust_clip=True, always_adapt=True, maximize=True)),
    (lamb, dict(lr=0.01)),
    (lamb, dict(lr=0.01, weight_decay=0.0)),
    (lamb, dict(lr=0.01, weight_decay=0.0, always_adapt=True)),
    (lamb, dict(lr=0.01, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.3)),
    (lamb, dict(lr=0.01, grad_averaging=False)),
    (lamb, dict(lr=0.01, bias_correction=False)),
    (lamb, dict(lr=0.02, weight_decay=0.1, trust_clip=True)),
    (lamb, dict(lr=0.01, weight_decay=0.0, always_adapt=True, trust_clip=True, maximize=True)),
    (novograd, dict(lr=0.05)),
    (novograd, dict(lr=0.05, betas=(0.8, 0.6), eps=0.1)),
    (novograd, dict(lr=0.05, weight_decay=0.1)),
    (novograd, dict(lr=0.1, betas=(0.9, 0.25), grad_averaging=True, weight_decay=0.02)),
    (novograd, dict(lr=0.05, grad_averaging=True, maximize=True)),
]


def start_of(seed):
    """Biases that start at 0, as they do."""
    start = Start(seed)
    start.params[0] = [0.0] * len(start.params[0])
    return start


def case(start, rule, kwargs):
    maximize = kwargs.get("maximize", False)
    update = rule(**{name: value for name, value in kwargs.items() if name != "maximize"})
    x, states, snapshots = [list(p) for p in start.params], [{} for _ in start.params], []
    for t in range(1, STEPS + 1):
        grads = [[-g for g in tensor] for tensor in start.grads[t - 1]] if maximize else start.grads[t - 1]
        x = [update(p, g, t, state) for p, g, state in zip(x, grads, states)]
        if t in SNAP:
            snapshots.append(x)
    state = {name: [state[name] for state in states] for name in states[0] if not name.startswith("_")}
    return {"kind": "optimizer", "rule": NAMES[rule], "kwargs": kwargs, "steps": SNAP, "params": snapshots, "state": state}


def cases(start):
    return (case(start, rule, kwargs) for rule, kwargs in CASES)


def optax_like(rule, kwargs):
    """The same in optax, or None: there trust takes the norm of gradient and decay together, and always adapts."""
    import optax
    known = {
        lars: {"lr", "momentum", "nesterov", "trust_coefficient", "always_adapt"},
        lamb: {"lr", "betas", "eps", "weight_decay", "always_adapt"},
        novograd: {"lr", "betas", "eps", "weight_decay"},
    }
    if set(kwargs) - known[rule] or (rule is not novograd and not (kwargs.get("weight_decay", 0) or kwargs.get("always_adapt"))):
        return None
    betas = kwargs.get("betas", (0.95, 0.98) if rule is novograd else (0.9, 0.999))
    if rule is lars:
        return "lars", optax.lars(
            kwargs["lr"], trust_coefficient=kwargs["trust_coefficient"], eps=1e-8, momentum=kwargs.get("momentum", 0.0),
            nesterov=kwargs.get("nesterov", False))
    eps, decay = kwargs.get("eps", 1e-6 if rule is lamb else 1e-8), kwargs.get("weight_decay", 0.0)
    make = optax.lamb if rule is lamb else optax.novograd
    return make.__name__, make(kwargs["lr"], b1=betas[0], b2=betas[1], eps=eps, weight_decay=decay)


def check():
    import jax
    import optax
    from jax import numpy
    jax.config.update("jax_enable_x64", True)
    start, failed, checked = start_of(7), 0, set()
    flat = lambda arrays: [float(x) for array in arrays for x in array]
    for (rule, kwargs), ours in zip(CASES, cases(start)):
        like = optax_like(rule, kwargs)
        if like is None:
            print(f"{rule.__name__} {kwargs}: optax has none")
            continue
        name, optimizer = like
        x = [numpy.array(p) for p in start.params]
        state, theirs = optimizer.init(x), []
        for grads in start.grads:
            updates, state = optimizer.update([numpy.array(g) for g in grads], state, x)
            x = optax.apply_updates(x, updates)
            theirs.append(flat(x))
        worst = 0.0
        for t, params in zip(ours["steps"], ours["params"]):
            for a, b, first in zip(flat(params), theirs[t - 1], flat(start.params)):
                worst = max(worst, abs(a - b) / (abs(b - first) or 1e-300) if a != b else 0.0)
        bad = not worst <= 1e-11
        failed += bad
        checked.add(rule)
        print(f"{name} {kwargs}: {worst:.1e} of the movement{'  FAILED' if bad else ''}")
    sys.exit(failed > 0 or len(checked) < len(NAMES))


if sys.argv[1] == "--check":
    check()
start = start_of(int(sys.argv[2]) if len(sys.argv) > 2 else 7)
write(sys.argv[1], start, cases(start))
