"""What the scripts share that write a rule's equations down in plain floats: start values, gradients, the loop, the file's form.

An update is a function of one element: update(x, g, t, state, lr) returns the new x; state is a dictionary of its own. The form is
that of make.py's file. A case may have "library", whose settings it starts from, "lr", one value per step, and "eval", what the
rule evaluates with at the recorded steps.
"""
import json, random

STEPS, SNAP = 24, [1, 2, 3, 7, 24]
SHAPES = [("bias", [5]), ("weight", [3, 4]), ("scale", [])]
COUNTS = [5, 12, 1]


class Start:
    def __init__(self, seed):
        rng = random.Random(seed)
        draw = lambda size: [[rng.gauss(0, size) for _ in range(n)] for n in COUNTS]
        self.seed = seed
        self.params = draw(1.0)
        self.grads = [draw(0.5 + t % 5) for t in range(STEPS)]
        self.grads[4] = [[0.0] * n for n in COUNTS]
        self.grads[9][1] = [g * 1e4 for g in self.grads[9][1]]
        for step in self.grads:
            step[1][3] = 0.0                               # never a gradient

    def header(self):
        tensors = [{"name": name, "shape": shape} for name, shape in SHAPES]
        return {"seed": self.seed, "tensors": tensors, "params0": self.params, "grads": self.grads}

    def case(self, rule, update, kwargs, lr=None, maximize=False, evaluate=None, **rest):
        """A trajectory; what is not in kwargs is the rule's default here too. `lr` is the rate by step, or else that of kwargs."""
        x = [list(p) for p in self.params]
        states = [[{} for _ in p] for p in self.params]
        params, evals = [], []
        for t in range(1, STEPS + 1):
            for k, n in enumerate(COUNTS):
                for i in range(n):
                    g = -self.grads[t - 1][k][i] if maximize else self.grads[t - 1][k][i]
                    x[k][i] = update(x[k][i], g, t, states[k][i], lr[t - 1] if lr else kwargs["lr"])
            if t in SNAP:
                params.append([list(p) for p in x])
                if evaluate:
                    evals.append([[evaluate(x, state) for x, state in zip(*pair)] for pair in zip(x, states)])
        planes = [name for name in states[0][0] if not name.startswith("_")]
        state = {name: [[state[name] for state in tensor] for tensor in states] for name in planes}
        kwargs = kwargs | ({"maximize": True} if maximize else {})
        more = rest | ({"lr": lr} if lr else {}) | ({"eval": evals} if evaluate else {})
        return {"kind": "optimizer", "rule": rule, "kwargs": kwargs, **more, "steps": SNAP, "params": params, "state": state}


def write(file, start, cases):
    with open(file, "w") as f:
        for line in [start.header(), *cases]:
            f.write(json.dumps(line) + "\n")
