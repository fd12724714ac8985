"""Golden trajectories of torch.optim.LBFGS in float64, on problems whose loss and gradient are easily written down twice.

usage: python lbfgs.py OUT.jsonl [SEED]      (needs torch; written with 2.15.0)

Line 1 is a header: {"torch", "seed", "problems": {name: {"start": [..], ..its data..}}}. Every further line is one case:
  {"problem", "kwargs", "params": [step][..], "evaluations": [step], "iterations": [step], "loss": [step]}
Parameters are those after each step, evaluations and iterations are counted from the start, the loss is the closure's first in
the step.
"""
import json, sys
import torch

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)
OUT = sys.argv[1]
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 7
g = torch.Generator().manual_seed(SEED)
scale = torch.logspace(0, 2, 6)                            # curvatures from 1 to 100
shift = torch.randn(6, generator=g)
rows = torch.randn(24, 4, generator=g)
labels = (rows @ torch.randn(4, generator=g) + 0.5 * torch.randn(24, generator=g) > 0).double()
PROBLEMS = {
    "rosenbrock": {"start": [-1.2, 1.0]},
    "rosenbrock chain": {"start": [-1.2, 1.0, -0.7, 0.4, 1.3, -0.2, 0.1, 0.9]},
    "quadratic": {"start": [0.0] * 6, "scale": scale.tolist(), "shift": shift.tolist()},
    "kink": {"start": [1.0, 1.0]},
    "logistic": {"start": [0.0] * 4, "rows": rows.tolist(), "labels": labels.tolist(), "l2": 0.01},
}

def loss(problem, x):
    if problem.startswith("rosenbrock"):
        return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()
    if problem == "kink":                                  # no step satisfies the curvature condition: brackets shrink to points
        return (x[0] - 0.3).abs() + 0.5 * x[0] ** 2 + 1.5 * x[1] ** 2 + 0.5 * x[0] * x[1]
    if problem == "quadratic":
        return 0.5 * (scale * (x - shift) ** 2).sum()
    z = rows @ x
    return (torch.nn.functional.softplus(z) - labels * z).sum() / len(labels) + 0.5 * 0.01 * (x ** 2).sum()

def case(problem, steps, **kwargs):
    x = torch.nn.Parameter(torch.tensor(PROBLEMS[problem]["start"]))
    optimizer = torch.optim.LBFGS([x], **kwargs)
    def closure():
        optimizer.zero_grad()
        value = loss(problem, x)
        value.backward()
        return value
    record = {"problem": problem, "kwargs": kwargs, "params": [], "evaluations": [], "iterations": [], "loss": []}
    for _ in range(steps):
        record["loss"].append(optimizer.step(closure).item())
        record["params"].append(x.tolist())
        state = optimizer.state[x]
        record["evaluations"].append(state["func_evals"])
        record["iterations"].append(state["n_iter"])
    file.write(json.dumps(record) + "\n")

with open(OUT, "w") as file:
    file.write(json.dumps({"torch": torch.__version__, "seed": SEED, "problems": PROBLEMS}) + "\n")
    wolfe = {"line_search_fn": "strong_wolfe"}
    for max_iter in [3, 5, 9]:
        case("kink", 1, max_iter=max_iter, max_eval=200, **wolfe)
    for problem in [problem for problem in PROBLEMS if problem != "kink"]:
        case(problem, 6, max_iter=4, **wolfe)
        case(problem, 6, max_iter=4, history_size=3, **wolfe)
        case(problem, 3, **wolfe)
        case(problem, 6, lr=0.3, max_iter=5, max_eval=4, history_size=2, **wolfe)
    case("rosenbrock", 8, lr=0.05, max_iter=5)
    case("quadratic", 6, max_iter=4)
    case("quadratic", 6, lr=0.5, max_iter=3, history_size=2)
    case("logistic", 6, max_iter=4)
    case("logistic", 8, lr=0.7, max_iter=5, history_size=3)
    case("logistic", 4)
