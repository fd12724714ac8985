"""Golden trajectories of Muon with AdamW beside it, from their papers' equations, in plain floats of 64 bits.

usage: python muon.py OUT.jsonl [SEED]      (needs nothing; same form as make.py's file)

Sources: Jordan et al. 2024, https://kellerjordan.github.io/posts/muon, with the average and the factors of torch.optim.Muon;
Loshchilov & Hutter 2019, arXiv:1711.05101. PyTorch iterates in bfloat16, so its own trajectories are no reference to 1e-10.
"""
import json, math, random, sys

OUT = sys.argv[1]
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 11
STEPS, SNAP = 12, [1, 2, 3, 12]
TENSORS = [("tall", [7, 3]), ("wide", [3, 7]), ("bias", [5]), ("square", [4, 4]), ("line", [1, 6]), ("wide too", [3, 7]),
           ("scale", []), ("kernel", [2, 3, 2]), ("column", [6, 1])]
COUNTS = [math.prod(shape) for _, shape in TENSORS]
rng = random.Random(SEED)
draw = lambda size: [[rng.gauss(0, size) for _ in range(n)] for n in COUNTS]
params0 = draw(1.0)
grads = [draw(0.5 + t % 5) for t in range(STEPS)]
grads[4] = [[0.0] * n for n in COUNTS]

def times(a, b):
    return [[sum(x * y for x, y in zip(row, column)) for column in zip(*b)] for row in a]

def newton_schulz(u, coefficients, eps, steps):
    a, b, c = coefficients
    turned = len(u) > len(u[0])
    x = [list(row) for row in (zip(*u) if turned else u)]
    norm = math.sqrt(sum(e * e for row in x for e in row))
    x = [[e / max(norm, eps) for e in row] for row in x]
    for _ in range(steps):
        xxt = times(x, list(zip(*x)))
        square = times(xxt, xxt)
        q = [[b * e + c * f for e, f in zip(r, s)] for r, s in zip(xxt, square)]
        x = [[a * e + f for e, f in zip(r, s)] for r, s in zip(x, times(q, x))]
    return [list(row) for row in zip(*x)] if turned else x

def factor(kind, rows, columns):
    return {"original": math.sqrt(max(1, rows / columns)), "match_rms_adamw": 0.2 * math.sqrt(max(rows, columns)),
            "spectral_unclamped": math.sqrt(rows / columns)}[kind]

def muon(**given):
    k = dict(lr=1e-3, weight_decay=0.1, momentum=0.95, nesterov=True, ns_steps=5, adjust_lr="original", adamw_lr=1e-3,
             adamw_beta1=0.9, adamw_beta2=0.999, adamw_eps=1e-8, adamw_weight_decay=0.01, maximize=False) | given
    xs, snapshots = [list(p) for p in params0], []
    ms, vs = [[0.0] * n for n in COUNTS], [[0.0] * n for n in COUNTS]
    for t in range(1, STEPS + 1):
        for (name, shape), x, g, m, v in zip(TENSORS, xs, grads[t - 1], ms, vs):
            g = [-e for e in g] if k["maximize"] else g
            if len(shape) == 2:
                mu, (rows, columns) = k["momentum"], shape
                for i in range(len(x)):
                    m[i] = mu * m[i] + (1 - mu) * g[i]
                u = [(1 - mu) * e + mu * f for e, f in zip(g, m)] if k["nesterov"] else m
                u = newton_schulz([u[r * columns:(r + 1) * columns] for r in range(rows)], (3.4445, -4.7750, 2.0315), 1e-7, k["ns_steps"])
                rate = k["lr"] * factor(k["adjust_lr"], rows, columns)
                for i in range(len(x)):
                    x[i] = x[i] - k["lr"] * k["weight_decay"] * x[i] - rate * u[i // columns][i % columns]
            else:
                b1, b2 = k["adamw_beta1"], k["adamw_beta2"]
                for i in range(len(x)):
                    m[i] = b1 * m[i] + (1 - b1) * g[i]
                    v[i] = b2 * v[i] + (1 - b2) * g[i] ** 2
                    x[i] -= k["adamw_lr"] * k["adamw_weight_decay"] * x[i]
                    x[i] -= k["adamw_lr"] * (m[i] / (1 - b1 ** t)) / (math.sqrt(v[i] / (1 - b2 ** t)) + k["adamw_eps"])
        if t in SNAP:
            snapshots.append([list(x) for x in xs])
    return {"kind": "optimizer", "rule": "Muon", "kwargs": given, "steps": SNAP, "params": snapshots,
            "state": {"exp_avg": ms, "exp_avg_sq": vs}}

with open(OUT, "w") as file:
    put = lambda line: file.write(json.dumps(line) + "\n")
    put({"seed": SEED, "tensors": [{"name": name, "shape": shape} for name, shape in TENSORS], "params0": params0, "grads": grads})
    put(muon(lr=0.02))
    put(muon(lr=0.05, nesterov=False, momentum=0.8, weight_decay=0.0, adjust_lr="match_rms_adamw"))
    put(muon(lr=0.05, adjust_lr="spectral_unclamped", ns_steps=3, maximize=True, adamw_lr=0.02, adamw_beta1=0.8,
             adamw_beta2=0.95, adamw_eps=0.01, adamw_weight_decay=0.1))
