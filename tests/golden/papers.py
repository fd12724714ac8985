"""Golden trajectories of rules that PyTorch lacks: their papers' or authors' equations, written down in plain floats.

usage: python papers.py OUT.jsonl [SEED]      (needs nothing)
       python papers.py --check               (compares with the authors' own code, as far as it is on Python's path:
                                               torch, schedulefree, sail-sg's adan.py and apple's ademamix.py)

Sources:
  AdEMAMix       Pagliardini, Ablin & Grangier 2024, arXiv:2409.03137, algorithm 1 and its schedules
  Adan           Xie et al. 2022, arXiv:2208.06677, in the form of the authors' code, sail-sg/Adan
  ScheduleFree   Defazio et al. 2024, arXiv:2405.15682, with the three sequences x, y, z and the weights of schedulefree 1.4.1
"""
import sys
from fractions import Fraction
from math import log, sqrt
from trajectory import Start, write


def ademamix(lr, betas=(0.9, 0.999, 0.9999), alpha=5.0, t_alpha=0, t_beta3=0, eps=1e-8, weight_decay=0.0):
    beta1, beta2, beta3 = betas

    def half_life(beta):
        return log(0.5) / log(beta)

    def update(x, g, t, state, lr):
        a = alpha * t / t_alpha if t < t_alpha else alpha
        b3 = beta3
        if t < t_beta3:
            half = (1 - t / t_beta3) * half_life(beta1) + t / t_beta3 * half_life(beta3)
            b3 = min(0.5 ** (1 / half), beta3)
        state["m1"] = beta1 * state.get("m1", 0.0) + (1 - beta1) * g
        state["m2"] = b3 * state.get("m2", 0.0) + (1 - b3) * g
        state["v"] = beta2 * state.get("v", 0.0) + (1 - beta2) * g * g
        m1_hat, v_hat = state["m1"] / (1 - beta1**t), state["v"] / (1 - beta2**t)
        return x - lr * ((m1_hat + a * state["m2"]) / (sqrt(v_hat) + eps) + weight_decay * x)

    return update


def adan(lr, betas=(0.98, 0.92, 0.99), eps=1e-8, weight_decay=0.0, no_prox=False):
    beta1, beta2, beta3 = betas
    exact = Fraction(beta2)

    def update(x, g, t, state, lr):
        diff = g - state["prev"] if t > 1 else 0.0
        state["m"] = beta1 * state.get("m", 0.0) + (1 - beta1) * g
        # Differences nearly cancel after a spike; what their mean adds up to, which the authors' code does not keep, has to be exact.
        n = exact * state.get("_n", 0) + (1 - exact) * (Fraction(g) - Fraction(state["prev"]) if t > 1 else 0)
        state["_e"] = state["_e"] + n if t > 1 else Fraction(g)
        state["_n"], state["e"] = n, float(state["_e"])
        state["v"] = beta3 * state.get("v", 0.0) + (1 - beta3) * (g + beta2 * diff) ** 2
        state["prev"] = g
        denom = sqrt(state["v"]) / sqrt(1 - beta3**t) + eps
        if no_prox:
            x *= 1 - lr * weight_decay
        x -= lr / (1 - beta1**t) * state["m"] / denom
        x -= lr * beta2 / (1 - beta2**t) * float(n) / denom
        return x if no_prox else x / (1 + lr * weight_decay)

    return update


def schedulefree(lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, warmup_steps=0, r=0.0, weight_lr_power=2.0):
    beta1, beta2 = betas

    def update(y, g, t, state, lr):
        eta = lr * min(1, t / warmup_steps) if warmup_steps else lr
        largest = max(eta, state.get("_largest", 0.0))
        weight = t**r * largest**weight_lr_power
        total = state.get("_total", 0.0) + weight
        # The sequences are close to each other and exact, so that their differences are right.
        c, start = Fraction(weight / total), Fraction(y)
        z, x = state.get("_z", start), state.get("_x", start)
        state["v"] = beta2 * state.get("v", 0.0) + (1 - beta2) * g * g
        z = z - Fraction(eta * (g / (sqrt(state["v"] / (1 - beta2**t)) + eps) + weight_decay * y))
        x = (1 - c) * x + c * z
        y = (1 - Fraction(beta1)) * z + Fraction(beta1) * x
        state |= {"offset": float(z - y), "_largest": largest, "_total": total, "_z": z, "_x": x}
        return float(y)

    return update


EVALUATE = {schedulefree: lambda y, state: float(state["_x"])}
NAMES = {ademamix: "AdEMAMix", adan: "Adan", schedulefree: "ScheduleFree"}
CASES = [
    (ademamix, dict(lr=0.003)),
    (ademamix, dict(lr=0.003, betas=(0.8, 0.95, 0.99), alpha=2.0, eps=1e-4, weight_decay=0.1)),
    (ademamix, dict(lr=0.003, t_alpha=10)),
    (ademamix, dict(lr=0.003, betas=(0.9, 0.99, 0.999), t_beta3=10)),
    (ademamix, dict(lr=0.01, betas=(0.7, 0.99, 0.995), alpha=8.0, t_alpha=40, t_beta3=30, weight_decay=0.3, maximize=True)),
    (adan, dict(lr=0.003)),
    (adan, dict(lr=0.003, weight_decay=0.3)),
    (adan, dict(lr=0.003, weight_decay=0.3, no_prox=True)),
    (adan, dict(lr=0.01, betas=(0.9, 0.8, 0.95), eps=1e-3)),
    (adan, dict(lr=0.003, betas=(0.95, 0.5, 0.9), weight_decay=0.1, maximize=True)),
    (schedulefree, dict(lr=0.0025)),
    (schedulefree, dict(lr=0.01, betas=(0.95, 0.99), eps=1e-4, weight_decay=0.2)),
    (schedulefree, dict(lr=0.01, warmup_steps=10)),
    (schedulefree, dict(lr=0.01, warmup_steps=30, weight_lr_power=1.0)),
    (schedulefree, dict(lr=0.005, warmup_steps=5, r=0.5, weight_lr_power=1.5, weight_decay=0.1, maximize=True)),
]


def cases(start):
    for rule, kwargs in CASES:
        kwargs = dict(kwargs)
        maximize = kwargs.pop("maximize", False)
        yield start.case(NAMES[rule], rule(**kwargs), kwargs, maximize=maximize, evaluate=EVALUATE.get(rule))


def authors(rule, params, kwargs):
    """The optimizer as its authors wrote it."""
    kwargs = dict(kwargs)
    if rule is schedulefree:
        from schedulefree import AdamWScheduleFree
        return AdamWScheduleFree(params, **kwargs)
    if rule is adan:
        from adan import Adan
        return Adan(params, foreach=False, **kwargs)
    from ademamix import AdEMAMix
    warmups = {theirs: kwargs.pop(ours, None) for theirs, ours in [("alpha_warmup", "t_alpha"), ("beta3_warmup", "t_beta3")]}
    return AdEMAMix(params, **{"alpha": 5.0, **kwargs, **warmups})


def trajectory(start, rule, kwargs):
    import torch
    kwargs = dict(kwargs)
    sign = -1 if kwargs.pop("maximize", False) else 1
    params = [torch.nn.Parameter(torch.tensor(p, dtype=torch.float64)) for p in start.params]
    optimizer = authors(rule, params, kwargs)
    values = lambda: [x for p in params for x in p.tolist()]
    for grads in start.grads:
        for p, g in zip(params, grads):
            p.grad = sign * torch.tensor(g, dtype=torch.float64)
        if rule is schedulefree:
            optimizer.train()
        optimizer.step()
        y = values()
        if rule is schedulefree:
            optimizer.eval()
        yield y, values()


def check():
    failed, start = 0, Start(7)
    flat = lambda arrays: [x for array in arrays for x in array]
    for (rule, kwargs), case in zip(CASES, cases(start)):
        try:
            theirs = list(trajectory(start, rule, kwargs))
        except ImportError as error:
            print(f"{rule.__name__} {kwargs}: not checked, {error}")
            continue
        worst = 0.0
        for i, t in enumerate(case["steps"]):
            for ours, their in zip([case["params"][i], case.get("eval", case["params"])[i]], theirs[t - 1]):
                for a, b, start_x in zip(flat(ours), their, flat(start.params)):
                    worst = max(worst, abs(a - b) / (abs(b - start_x) or 1e-300) if a != b else 0.0)
        # The authors of AdEMAMix add 1e-8 to the betas between which they warm up.
        bad = not worst <= (2e-8 / (1 - kwargs["betas"][2]) if "t_beta3" in kwargs else 1e-11)
        failed += bad
        print(f"{rule.__name__} {kwargs}: {worst:.1e} of the movement{'  FAILED' if bad else ''}")
    sys.exit(failed > 0)


if sys.argv[1] == "--check":
    check()
start = Start(int(sys.argv[2]) if len(sys.argv) > 2 else 7)
write(sys.argv[1], start, cases(start))
