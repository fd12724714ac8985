"""Golden schedules: values of Keras's, optax's and some papers' schedules, computed from their documented equations.

usage: python schedules.py OUT.jsonl      writes the file; needs nothing but Python
       python schedules.py --check        compares every equation with the library itself; needs torch, keras and optax, each
                                          of which is left out if it is not installed

One case per line: {"library", "name", "kwargs", "steps": [..], "value": [..]}. Keyword arguments are the library's own.
"""
import json
import os
import sys
from math import ceil, cos, floor, log, pi, sqrt

STEPS = sorted({*range(62), 99, 100, 101, 199, 200, 201, 1000, 5000})
CASES = []


def case(library, name, value, **kwargs):
    CASES.append((library, name, kwargs, lambda t: value(t, **kwargs)))


# torch: what the file of torch's own trajectories lacks.
def swa(t, lr, swa_lr, anneal_epochs, anneal_strategy):
    q = min(t / anneal_epochs, 1)
    alpha = (1 - cos(pi * q)) / 2 if anneal_strategy == "cos" else q
    return swa_lr * alpha + lr * (1 - alpha)


case("torch", "SWALR", swa, lr=0.3, swa_lr=0.05, anneal_epochs=10, anneal_strategy="cos")
case("torch", "SWALR", swa, lr=0.05, swa_lr=0.3, anneal_epochs=7, anneal_strategy="linear")
case("torch", "SequentialLR", lambda t, lr, factor, gamma, milestone: lr * (factor if t < milestone else gamma ** (t - milestone)),
     lr=0.2, factor=0.1, gamma=0.9, milestone=20)
case("torch", "ChainedScheduler", lambda t, lr, factor, total_iters, gamma: lr * (factor if t < total_iters else 1) * gamma**t,
     lr=0.2, factor=0.1, total_iters=20, gamma=0.9)
case("torch", "LambdaLR", lambda t, lr: lr * (2 + cos(t)), lr=0.2)


# Keras
def exponential(t, initial_learning_rate, decay_steps, decay_rate, staircase):
    q = t / decay_steps
    return initial_learning_rate * decay_rate ** (floor(q) if staircase else q)


def inverse_time(t, initial_learning_rate, decay_steps, decay_rate, staircase):
    q = t / decay_steps
    return initial_learning_rate / (1 + decay_rate * (floor(q) if staircase else q))


def piecewise(t, boundaries, values):
    for boundary, value in zip(boundaries, values):
        if t <= boundary:
            return value
    return values[-1]


def polynomial(t, initial_learning_rate, decay_steps, end_learning_rate, power, cycle):
    if cycle:
        decay_steps *= 1 if t == 0 else ceil(t / decay_steps)
    else:
        t = min(t, decay_steps)
    return (initial_learning_rate - end_learning_rate) * (1 - t / decay_steps) ** power + end_learning_rate


def cosine(t, initial_learning_rate, decay_steps, alpha, warmup_target=None, warmup_steps=0):
    peak = initial_learning_rate if warmup_target is None else warmup_target
    if t < warmup_steps:
        return initial_learning_rate + (peak - initial_learning_rate) * t / warmup_steps
    q = min(t - warmup_steps, decay_steps) / decay_steps
    return peak * ((1 - alpha) * 0.5 * (1 + cos(pi * q)) + alpha)


def cosine_restarts(t, initial_learning_rate, first_decay_steps, t_mul, m_mul, alpha):
    i, start, length = 0, 0, first_decay_steps
    while t >= start + length:  # the sum of the geometric series, written out
        i, start, length = i + 1, start + length, length * t_mul
    q = (t - start) / length
    return initial_learning_rate * ((1 - alpha) * 0.5 * m_mul**i * (1 + cos(pi * q)) + alpha)


for staircase in [False, True]:
    case("keras", "ExponentialDecay", exponential, initial_learning_rate=0.3, decay_steps=7, decay_rate=0.6, staircase=staircase)
    case("keras", "InverseTimeDecay", inverse_time, initial_learning_rate=0.3, decay_steps=7, decay_rate=0.6, staircase=staircase)
case("keras", "PiecewiseConstantDecay", piecewise, boundaries=[10, 30, 100], values=[1.0, 0.5, 0.7, 0.1])
for cycle in [False, True]:
    case("keras", "PolynomialDecay", polynomial, initial_learning_rate=0.3, decay_steps=25, end_learning_rate=0.01, power=0.5, cycle=cycle)
case("keras", "CosineDecay", cosine, initial_learning_rate=0.3, decay_steps=40, alpha=0.1)
case("keras", "CosineDecay", cosine, initial_learning_rate=0.1, decay_steps=40, alpha=0.0, warmup_target=0.4, warmup_steps=8)
case("keras", "CosineDecayRestarts", cosine_restarts, initial_learning_rate=0.3, first_decay_steps=5, t_mul=2.0, m_mul=1.0, alpha=0.0)
case("keras", "CosineDecayRestarts", cosine_restarts, initial_learning_rate=0.3, first_decay_steps=16, t_mul=1.5, m_mul=0.8, alpha=0.05)
case("keras", "CosineDecayRestarts", cosine_restarts, initial_learning_rate=0.3, first_decay_steps=10, t_mul=1.0, m_mul=0.9, alpha=0.05)


# optax
def optax_polynomial(t, init_value, end_value, power, transition_steps, transition_begin=0):
    left = 1 - min(max(t - transition_begin, 0), transition_steps) / transition_steps
    return (init_value - end_value) * left**power + end_value


def optax_exponential(t, init_value, transition_steps, decay_rate, transition_begin=0, staircase=False, end_value=None):
    if t <= transition_begin:
        return init_value
    q = (t - transition_begin) / transition_steps
    value = init_value * decay_rate ** (floor(q) if staircase else q)
    if end_value is not None:
        value = max(value, end_value) if decay_rate < 1 else min(value, end_value)
    return value


def optax_cosine(t, init_value, decay_steps, alpha, exponent):
    part = (0.5 * (1 + cos(pi * min(t, decay_steps) / decay_steps))) ** exponent
    return init_value * ((1 - alpha) * part + alpha)


def warmup(then):
    def value(t, init_value, peak_value, warmup_steps, **rest):
        if t < warmup_steps:
            return init_value + (peak_value - init_value) * t / warmup_steps
        return then(t - warmup_steps, peak_value, warmup_steps, **rest)
    return value


case("optax", "linear_schedule", lambda t, **kw: optax_polynomial(t, power=1, **kw),
     init_value=0.1, end_value=0.5, transition_steps=30, transition_begin=10)
case("optax", "polynomial_schedule", optax_polynomial, init_value=0.5, end_value=0.1, power=3, transition_steps=30, transition_begin=10)
case("optax", "exponential_decay", optax_exponential, init_value=0.5, transition_steps=12, decay_rate=0.5)
case("optax", "exponential_decay", optax_exponential,
     init_value=0.5, transition_steps=12, decay_rate=0.5, transition_begin=9, staircase=True, end_value=0.05)
case("optax", "exponential_decay", optax_exponential, init_value=0.01, transition_steps=10, decay_rate=2.0, end_value=0.7)
case("optax", "cosine_decay_schedule", optax_cosine, init_value=0.5, decay_steps=50, alpha=0.2, exponent=1.5)
case("optax", "warmup_constant_schedule", warmup(lambda t, peak, w: peak), init_value=0.02, peak_value=0.3, warmup_steps=15)
case("optax", "warmup_cosine_decay_schedule",
     warmup(lambda t, peak, w, decay_steps, end_value: optax_cosine(t, peak, decay_steps - w, end_value / peak, 1)),
     init_value=0.02, peak_value=0.3, warmup_steps=15, decay_steps=55, end_value=0.03)
case("optax", "warmup_exponential_decay_schedule",
     warmup(lambda t, peak, w, **rest: optax_exponential(t, peak, **rest)),
     init_value=0.02, peak_value=0.3, warmup_steps=15, transition_steps=8, decay_rate=0.7, transition_begin=4, end_value=0.01)
case("optax", "join_schedules", lambda t, boundaries: optax_exponential(t, 0.5, 10, 0.5) if t < boundaries[0]
     else 0.25 if t < boundaries[1] else optax_polynomial(t - boundaries[1], 0.4, 0.0, 1, 20), boundaries=[12, 30])
case("optax", "piecewise_constant_schedule", lambda t, init_value, boundaries, scales:
     init_value * (scales[0] if t >= boundaries[0] else 1) * (scales[1] if t >= boundaries[1] else 1),
     init_value=0.5, boundaries=[10, 40], scales=[0.5, 0.2])

# Papers: steps counted from 1 in Noam's, from 0 in the others.
case("paper", "noam", lambda t, factor, d, w: factor * d**-0.5 * min((t + 1) ** -0.5, (t + 1) * w**-1.5), factor=2.0, d=64, w=20)
case("paper", "fairseq_inverse_sqrt", lambda t, lr, w, init: init + t * (lr - init) / w if t < w else lr * w**0.5 * t**-0.5,
     lr=0.3, w=16, init=0.01)
case("paper", "transformers_inverse_sqrt", lambda t, lr, w, timescale: lr * t / w if t < w else lr / sqrt((t + timescale - w) / timescale),
     lr=0.3, w=12, timescale=50)
for shape, rest in {"linear": lambda q: 1 - q, "cosine": lambda q: 0.5 * (1 + cos(pi * q)), "one_minus_sqrt": lambda q: 1 - sqrt(q)}.items():
    case("paper", "wsd", lambda t, lr, w, s, d, end, shape, rest=rest:
         lr * t / w if t < w else lr if t < w + s else end + (lr - end) * rest(min((t - w - s) / d, 1)),
         lr=0.3, w=10, s=20, d=25, end=0.02, shape=shape)


def library_torch(name, kw):
    import torch
    import torch.optim.lr_scheduler as ls
    lr = kw.pop("lr")
    o = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr)
    if name == "SWALR":
        s = torch.optim.swa_utils.SWALR(o, **kw)
    elif name == "SequentialLR":
        parts = [ls.ConstantLR(o, kw["factor"], total_iters=10**9), ls.ExponentialLR(o, kw["gamma"])]
        s = ls.SequentialLR(o, parts, milestones=[kw["milestone"]])
    elif name == "ChainedScheduler":
        s = ls.ChainedScheduler([ls.ConstantLR(o, kw["factor"], kw["total_iters"]), ls.ExponentialLR(o, kw["gamma"])])
    else:
        s = ls.LambdaLR(o, lambda t: 2 + cos(t))
    values = []
    for _ in range(max(STEPS) + 1):
        values.append(o.param_groups[0]["lr"])
        o.step()
        s.step()
    return lambda t: values[t]


def library_keras(name, kw):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("JAX_ENABLE_X64", "true")
    import keras
    keras.backend.set_floatx("float64")
    schedule = getattr(keras.optimizers.schedules, name)(**kw)
    return lambda t: float(schedule(t))


def library_optax(name, kw):
    import jax
    import optax
    jax.config.update("jax_enable_x64", True)
    if name == "join_schedules":
        parts = [optax.exponential_decay(0.5, 10, 0.5), optax.constant_schedule(0.25), optax.linear_schedule(0.4, 0.0, 20)]
        schedule = optax.join_schedules(parts, kw["boundaries"])
    elif name == "piecewise_constant_schedule":
        schedule = optax.piecewise_constant_schedule(kw["init_value"], dict(zip(kw["boundaries"], kw["scales"])))
    else:
        schedule = getattr(optax, name)(**kw)
    return lambda t: float(schedule(t))


def check():
    failed = 0
    for library, name, kwargs, value in CASES:
        try:
            theirs = globals().get("library_" + library, lambda name, kw: None)(name, dict(kwargs))
        except ImportError as error:
            print(f"{library} {name}: not checked, {error}")
            continue
        if theirs is None:
            continue
        scale = max(abs(value(t)) for t in STEPS)
        worst = max((abs(theirs(t) - value(t)) / scale, t) for t in STEPS)
        # Keras's cosines take pi in single precision.
        bad = not worst[0] <= (1e-6 if library == "keras" and "Cosine" in name else 1e-14)
        failed += bad
        print(f"{library} {name} {kwargs}: {worst[0]:.1e} of the largest value at step {worst[1]}{'  FAILED' if bad else ''}")
    sys.exit(failed > 0)


if sys.argv[1] == "--check":
    check()
with open(sys.argv[1], "w") as f:
    for library, name, kwargs, value in CASES:
        case = {"library": library, "name": name, "kwargs": kwargs, "steps": STEPS, "value": [value(t) for t in STEPS]}
        f.write(json.dumps(case) + "\n")
