"""Golden mixtures of Optuna's tree-structured Parzen estimator: weights, kernels and log densities for fixed histories.

usage: python tpe.py OUT.jsonl      (needs optuna 5.0.0 from PyPI)

Where observations tie, numpy leaves their order to its sorting network, and with it which of them gets which width. The order is made that
of the trials here, as ours is.
"""
import json, math, random, sys, warnings
import numpy as np
import optuna
from optuna.distributions import CategoricalDistribution as Choice, FloatDistribution as Float, IntDistribution as Int
from optuna.samplers import TPESampler
from optuna.samplers._tpe import sampler as tpe
from optuna.trial import TrialState, create_trial

assert optuna.__version__ == "5.0.0", optuna.__version__
optuna.logging.set_verbosity(optuna.logging.ERROR)
unstable = np.argsort
np.argsort = lambda a, **kwargs: unstable(a, **(kwargs | {"kind": "stable"}))

# Each with its text as the space has it.
SPACES = {
    "numbers": {"x": ("uniform:-5:10", Float(-5, 10)), "lr": ("log:1e-5:1e-1", Float(1e-5, 1e-1, log=True))},
    "steps": {
        "layers": ("int:1:8", Int(1, 8)), "hidden": ("int:32:512:32", Int(32, 512, step=32)),
        "width": ("logint:1:1000", Int(1, 1000, log=True)), "dropout": ("step:0:0.5:0.1", Float(0, 0.5, step=0.1)),
        "rows": ("int:-5000:5000", Int(-5000, 5000)),
    },
    "choices": {"rule": ("choice:adam,sgd,lion", Choice(["adam", "sgd", "lion"])), "size": ("choice:32,64", Choice([32, 64]))},
    "mixed": {
        "lr": ("log:1e-4:1", Float(1e-4, 1, log=True)), "rule": ("choice:adam,sgd", Choice(["adam", "sgd"])),
        "hidden": ("logint:8:512", Int(8, 512, log=True)), "momentum": ("uniform:0:0.99", Float(0, 0.99)),
        "decay": ("step:0:0.3:0.05", Float(0, 0.3, step=0.05)),
    },
    "narrow": {"x": ("uniform:10:10.5", Float(10, 10.5))},
}


def draw(rng, distribution, spread):
    """A value near the middle, or anywhere; bounds are hit now and then."""
    if isinstance(distribution, Choice):
        return rng.choice(distribution.choices)
    low, high = distribution.low, distribution.high
    a, b = (math.log(low), math.log(high)) if distribution.log else (low, high)
    u = rng.choice([0.0, 1.0]) if rng.random() < 0.05 else 0.5 + spread * (rng.random() - 0.5)
    x = math.exp(a + u * (b - a)) if distribution.log else a + u * (b - a)
    if distribution.step:
        x = low + round((x - low) / distribution.step) * distribution.step
    return type(low)(min(max(x, low), high))


def history(rng, space, n, running, stopped, spread):
    distributions = {name: distribution for name, (_, distribution) in space.items()}
    states = [TrialState.COMPLETE] * (n - running - stopped) + [TrialState.PRUNED] * stopped
    rng.shuffle(states)
    for state in states + [TrialState.RUNNING] * running:
        params = {name: draw(rng, distribution, spread) for name, distribution in distributions.items()}
        value = round(rng.gauss(0, 1), 1)                          # ties among values
        reports = {rng.randint(1, 3): value} if state == TrialState.PRUNED else {}
        yield create_trial(
            state=state, value=value if state == TrialState.COMPLETE else None, params=params, distributions=distributions,
            intermediate_values=reports,
        )


def trial_line(trial):
    line = {"params": trial.params}
    if trial.state == TrialState.COMPLETE:
        return line | {"value": trial.value}
    if trial.state == TrialState.PRUNED:
        step, value = max(trial.intermediate_values.items())
        return line | {"step": step, "value": value}
    return line


def kernels(distribution):
    if hasattr(distribution, "mu"):
        return {"mu": distribution.mu.tolist(), "sigma": distribution.sigma.tolist()}
    return {"weights": distribution.weights.tolist()}


def mixture(estimator, space, probes):
    internal = {name: np.asarray([d.to_internal_repr(probe[name]) for probe in probes]) for name, (_, d) in space.items()}
    own = estimator._mixture_distribution
    return {
        "weights": own.weights.tolist(),
        "kernels": {name: kernels(distribution) for name, distribution in zip(space, own.distributions)},
        "log_density": estimator.log_pdf(internal).tolist(),
    }


def case(rng, name, n, running=0, stopped=0, maximize=False, hyperopt=False, liar=True, spread=1.0):
    space = SPACES[name]
    study = optuna.create_study(direction="maximize" if maximize else "minimize")
    trials = list(history(rng, space, n, running, stopped, spread))
    study.add_trials(trials)
    settings = {"gamma": tpe.hyperopt_default_gamma} if hyperopt else {}
    sampler = TPESampler(constant_liar=liar, **settings)
    own = study.trials if liar else [trial for trial in study.trials if trial.state != TrialState.RUNNING]
    finished = sum(trial.state != TrialState.RUNNING for trial in own)
    gamma = tpe.hyperopt_default_gamma if hyperopt else tpe.default_gamma
    below, above = tpe._split_trials(study, own, gamma(finished))
    distributions = {key: distribution for key, (_, distribution) in space.items()}
    probes = [{key: draw(rng, distribution, 1.0) for key, distribution in distributions.items()} for _ in range(8)]
    build = lambda part, is_below: sampler._build_parzen_estimator(study, distributions, part, handle_below=is_below)
    return {
        "space": "; ".join(f"{key}={text}" for key, (text, _) in space.items()), "maximize": maximize, "hyperopt": hyperopt,
        "liar": liar, "trials": [trial_line(trial) for trial in trials], "probes": probes,
        "below": mixture(build(below, True), space, probes), "above": mixture(build(above, False), space, probes),
    }


def cases():
    rng = random.Random(5)
    for name in SPACES:
        # No trial, one, few, around the 25 that have the full weight, many.
        for n in [0, 1, 3, 25, 26, 27]:
            yield case(rng, name, n)
        yield case(rng, name, 40, running=9)
        yield case(rng, name, 40, running=9, liar=False)
        yield case(rng, name, 33, running=3, stopped=31 - 3)
        yield case(rng, name, 30, stopped=30, maximize=True)
        yield case(rng, name, 50, maximize=True, hyperopt=True)
        yield case(rng, name, 45, spread=0.01)
    yield case(rng, "mixed", 120, running=10)


warnings.simplefilter("ignore")
with open(sys.argv[1], "w") as file:
    for line in cases():
        file.write(json.dumps(line) + "\n")
