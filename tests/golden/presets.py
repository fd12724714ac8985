"""Golden trajectories of other libraries' versions of rules that PyTorch has: what their code computes, written down in plain floats.

usage: python presets.py OUT.jsonl [SEED]      (needs nothing)
       python presets.py --check               (compares with keras on jax and with optax, where they are installed)

A case starts from a library's own settings, written down here once more; its kwargs are what it changes. Where a buffer holds the
learning rate, or where decay does not, only a rate that changes from step to step can tell: `lr` is one value per step.

Sources: keras 3.15.1, keras/src/optimizers; optax 0.2.8, optax/_src; the decay of "loshchilov" is that of Loshchilov & Hutter 2019,
arXiv:1711.05101, algorithm 2, with a multiplier of 1.
"""
import os, sys
from math import sqrt
from trajectory import STEPS, Start, write


def mean(state, name, beta, value):
    state[name] = beta * state.get(name, 0.0) + (1 - beta) * value
    return state[name]


def keras_adam(beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=0.0, amsgrad=False):
    def update(x, g, t, state, lr):
        x -= x * weight_decay * lr
        m, v = mean(state, "m", beta_1, g), mean(state, "v", beta_2, g * g)
        if amsgrad:
            v = state["w"] = max(state.get("w", 0.0), v)
        return x - lr * sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (sqrt(v) + epsilon)
    return update


def keras_adamw(weight_decay=0.004, **kwargs):
    return keras_adam(weight_decay=weight_decay, **kwargs)


def keras_nadam(beta_1=0.9, beta_2=0.999, epsilon=1e-7, weight_decay=0.0):
    def update(x, g, t, state, lr):
        x -= x * weight_decay * lr
        u = lambda t: beta_1 * (1 - 0.5 * 0.96**t)
        product = state["_product"] = state.get("_product", 1.0) * u(t)
        m, v = mean(state, "m", beta_1, g), mean(state, "v", beta_2, g * g)
        m_hat = u(t + 1) * m / (1 - product * u(t + 1)) + (1 - u(t)) * g / (1 - product)
        return x - lr * m_hat / (sqrt(v / (1 - beta_2**t)) + epsilon)
    return update


def keras_adagrad(initial_accumulator_value=0.1, epsilon=1e-7):
    def update(x, g, t, state, lr):
        state["sum"] = state.get("sum", initial_accumulator_value) + g * g
        return x - lr * g / sqrt(state["sum"] + epsilon)
    return update


def keras_rmsprop(rho=0.9, momentum=0.0, epsilon=1e-7, centered=False):
    def update(x, g, t, state, lr):
        square = mean(state, "q", rho, g * g)
        if centered:
            square -= mean(state, "a", rho, g) ** 2
        step = lr * g / sqrt(square + epsilon)
        if momentum > 0:
            step = state["b"] = momentum * state.get("b", 0.0) + step
        return x - step
    return update


def keras_sgd(momentum=0.0, nesterov=False):
    def update(x, g, t, state, lr):
        if momentum == 0:
            return x - lr * g
        m = state["_m"] = momentum * state.get("_m", 0.0) - lr * g
        state["b"] = -m
        return x + (momentum * m - lr * g if nesterov else m)
    return update


def optax_adam(b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.0, nesterov=False):
    def update(x, g, t, state, lr):
        m, v = mean(state, "m", b1, g), mean(state, "v", b2, g * g)
        m_hat = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t) if nesterov else m / (1 - b1**t)
        return x - lr * (m_hat / (sqrt(v / (1 - b2**t)) + eps) + weight_decay * x)
    return update


def optax_adamw(weight_decay=1e-4, **kwargs):
    return optax_adam(weight_decay=weight_decay, **kwargs)


def optax_nadam(**kwargs):
    return optax_adam(nesterov=True, **kwargs)


def optax_adagrad(initial_accumulator_value=0.1, eps=1e-7):
    return keras_adagrad(initial_accumulator_value, eps)


def optax_rmsprop(decay=0.9, eps=1e-8, momentum=0.0, centered=False):
    return keras_rmsprop(decay, momentum, eps, centered)


def optax_sgd(momentum=0.0, nesterov=False):
    def update(x, g, t, state, lr):
        if momentum == 0:
            return x - lr * g
        b = state["b"] = g + momentum * state.get("b", 0.0)
        return x - lr * (g + momentum * b if nesterov else b)
    return update


def loshchilov_adamw(weight_decay):
    adam = optax_adam()
    return lambda x, g, t, state, lr: adam((1 - weight_decay) * x, g, t, state, lr)


def loshchilov_lion(weight_decay):
    def update(x, g, t, state, lr):
        c = 0.9 * state.get("m", 0.0) + 0.1 * g
        mean(state, "m", 0.99, g)
        return (1 - weight_decay) * x - lr * ((c > 0) - (c < 0))
    return update


# Library, rule, settings under the library's names, the rate or its peak, whether it changes from step to step.
CASES = [
    ("keras", "Adam", {}, 0.003, True),
    ("keras", "Adam", dict(beta_1=0.8, beta_2=0.95, epsilon=1e-3), 0.003, False),
    ("keras", "Adam", dict(amsgrad=True), 0.003, False),
    ("keras", "AdamW", {}, 0.003, True),
    ("keras", "AdamW", dict(weight_decay=0.2, epsilon=1e-3), 0.01, False),
    ("keras", "NAdam", {}, 0.003, False),
    ("keras", "NAdam", dict(beta_1=0.7, beta_2=0.99), 0.003, True),
    ("keras", "NAdam", dict(weight_decay=0.2), 0.003, True),
    ("keras", "Adagrad", {}, 0.02, False),
    ("keras", "Adagrad", dict(initial_accumulator_value=0.3, epsilon=0.2), 0.02, True),
    ("keras", "RMSprop", {}, 0.003, False),
    ("keras", "RMSprop", dict(momentum=0.9), 0.003, True),
    ("keras", "RMSprop", dict(rho=0.8, momentum=0.5, epsilon=0.1, centered=True), 0.003, True),
    ("keras", "SGD", {}, 0.01, True),
    ("keras", "SGD", dict(momentum=0.9), 0.01, True),
    ("keras", "SGD", dict(momentum=0.9, nesterov=True), 0.01, True),
    ("optax", "Adam", {}, 0.003, True),
    ("optax", "AdamW", {}, 0.003, True),
    ("optax", "AdamW", dict(b1=0.8, b2=0.95, eps=1e-3, weight_decay=0.2), 0.003, True),
    ("optax", "NAdam", {}, 0.003, False),
    ("optax", "NAdam", dict(b1=0.7, b2=0.99, eps=1e-3), 0.003, True),
    ("optax", "Adagrad", {}, 0.02, False),
    ("optax", "Adagrad", dict(initial_accumulator_value=0.3, eps=0.2), 0.02, True),
    ("optax", "RMSprop", {}, 0.003, False),
    ("optax", "RMSprop", dict(momentum=0.9), 0.003, True),
    ("optax", "RMSprop", dict(decay=0.8, momentum=0.5, eps=0.1, centered=True), 0.003, True),
    ("optax", "SGD", {}, 0.01, True),
    ("optax", "SGD", dict(momentum=0.9), 0.01, True),
    ("optax", "SGD", dict(momentum=0.9, nesterov=True), 0.01, True),
    ("loshchilov", "AdamW", dict(weight_decay=0.01), 0.003, True),
    ("loshchilov", "Lion", dict(weight_decay=0.01), 0.003, True),
]
# PyTorch's names, which are this crate's but for the initial value of Adagrad.
OURS = {"beta_1": "beta1", "beta_2": "beta2", "b1": "beta1", "b2": "beta2", "epsilon": "eps", "rho": "alpha", "decay": "alpha"}


def start_of(seed):
    start = Start(seed)
    # Without a gradient it only decays, by less than 1e-12 of that could resolve; at 0 it has to stay.
    start.params[1][3] = 0.0
    return start


def rates(peak, changes):
    return [peak * (1 - t % 7 / 10) for t in range(STEPS)] if changes else [peak] * STEPS


def cases(start):
    for library, rule, kwargs, peak, changes in CASES:
        update = globals()[f"{library}_{rule.lower()}"](**kwargs)
        ours = {OURS.get(name, name): value for name, value in kwargs.items()}
        yield start.case(rule, update, ours, lr=rates(peak, changes), library=library)


def theirs_keras(start, rule, kwargs, lr):
    os.environ.setdefault("KERAS_BACKEND", "jax")
    os.environ.setdefault("JAX_ENABLE_X64", "true")
    import keras
    keras.backend.set_floatx("float64")
    x = [keras.Variable(p) for p in start.params]
    optimizer = getattr(keras.optimizers, {"NAdam": "Nadam"}.get(rule, rule))(**kwargs)
    optimizer.build(x)
    for grads, rate in zip(start.grads, lr):
        optimizer.learning_rate = rate
        optimizer.apply([keras.ops.convert_to_tensor(g, dtype="float64") for g in grads])
        yield [v for p in x for v in p.numpy().tolist()]


def theirs_optax(start, rule, kwargs, lr):
    import jax, jax.numpy as jnp, optax
    jax.config.update("jax_enable_x64", True)
    x, rates = [jnp.array(p) for p in start.params], jnp.array(lr)
    optimizer = getattr(optax, rule.lower())(lambda count: rates[count], **kwargs)
    state = optimizer.init(x)
    for grads in start.grads:
        updates, state = optimizer.update([jnp.array(g) for g in grads], state, x)
        x = optax.apply_updates(x, updates)
        yield [v for p in x for v in p.tolist()]


def check():
    failed, start = 0, start_of(7)
    flat = lambda arrays: [x for array in arrays for x in array]
    for (library, rule, kwargs, *_), case in zip(CASES, cases(start)):
        if library == "loshchilov":
            continue
        try:
            theirs = list(globals()[f"theirs_{library}"](start, rule, kwargs, case["lr"]))
        except ImportError as error:
            print(f"{library} {rule} {kwargs}: not checked, {error}")
            continue
        pairs = [pair for t, ours in zip(case["steps"], case["params"]) for pair in zip(flat(ours), theirs[t - 1], flat(start.params))]
        farthest = [max(abs(b - x) for _, b, x in pairs[i :: len(theirs[0])]) for i in range(len(theirs[0]))] * len(case["steps"])
        worst = max(abs(a - b) / (far or 1e-300) if a != b else 0.0 for (a, b, _), far in zip(pairs, farthest))
        bad = not worst <= 1e-11
        failed += bad
        print(f"{library} {rule} {kwargs}: {worst:.1e} of the movement{'  FAILED' if bad else ''}")
    sys.exit(failed > 0)


if sys.argv[1] == "--check":
    check()
start = start_of(int(sys.argv[2]) if len(sys.argv) > 2 else 7)
write(sys.argv[1], start, cases(start))
