"""Golden trajectories of Lion, which PyTorch lacks: its paper's algorithm, written down in plain floats.

usage: python lion.py OUT.jsonl [SEED]      (needs nothing; same form as make.py's file)

Source: Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", arXiv:2302.06675, algorithm 2:
  c = beta1*m + (1 - beta1)*g;  theta = theta - eta*(sign(c) + lambda*theta);  m = beta2*m + (1 - beta2)*g
Every gradient keeps c away from 0 by more than rounding could matter, or c is exactly 0.
"""
import json, random, sys

OUT = sys.argv[1]
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 7
STEPS, SNAP = 24, [1, 2, 3, 7, 24]
SHAPES = [("bias", [5]), ("weight", [3, 4]), ("scale", [])]
COUNTS = [5, 12, 1]
rng = random.Random(SEED)
draw = lambda size: [[rng.gauss(0, size) for _ in range(n)] for n in COUNTS]
params0 = draw(1.0)
grads = [draw(0.5 + t % 5) for t in range(STEPS)]
grads[4] = [[0.0] * n for n in COUNTS]
grads[9][1] = [g * 1e4 for g in grads[9][1]]
for step in grads:
    step[1][3] = 0.0                                       # never a gradient: sign(0) is 0

def lion(**kwargs):
    # What is not given is the paper's default. A rate of 1e-4 moves too little to be compared to 1e-12 of the movement.
    lr, (beta1, beta2) = kwargs["lr"], kwargs.get("betas", (0.9, 0.99))
    weight_decay, maximize = kwargs.get("weight_decay", 0.0), kwargs.get("maximize", False)
    theta, m, snapshots = [list(p) for p in params0], [[0.0] * n for n in COUNTS], []
    for t in range(STEPS):
        for k, n in enumerate(COUNTS):
            for i in range(n):
                g = -grads[t][k][i] if maximize else grads[t][k][i]
                c = beta1 * m[k][i] + (1 - beta1) * g
                assert c == 0 or abs(c) > 1e-9 * (beta1 * abs(m[k][i]) + (1 - beta1) * abs(g)), "another seed, please"
                theta[k][i] -= lr * ((c > 0) - (c < 0) + weight_decay * theta[k][i])
                m[k][i] = beta2 * m[k][i] + (1 - beta2) * g
        if t + 1 in SNAP:
            snapshots.append([list(p) for p in theta])
    return {"kind": "optimizer", "rule": "Lion", "kwargs": kwargs, "steps": SNAP, "params": snapshots, "state": {"exp_avg": m}}

with open(OUT, "w") as file:
    put = lambda line: file.write(json.dumps(line) + "\n")
    tensors = [{"name": name, "shape": shape} for name, shape in SHAPES]
    put({"seed": SEED, "tensors": tensors, "params0": params0, "grads": grads})
    put(lion(lr=0.003))
    put(lion(lr=0.02))
    put(lion(lr=0.01, weight_decay=0.1))
    put(lion(lr=0.003, betas=(0.95, 0.98)))
    put(lion(lr=0.01, betas=(0.5, 0.9), weight_decay=0.3, maximize=True))
