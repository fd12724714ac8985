"""PyTorch and Thalweg in turns, whole training steps of networks: one JSON object per network, with quartiles of the ratio of their times.

As torch_turns.py: each side takes three turns at a time, in random order, and the third counts. PyTorch runs eagerly, with a fused AdamW,
and a convolutional network with its channels last as well.

usage: python benches/network_peers.py THALWEG [PAIRS [NETWORK ...]]      (THALWEG is the built binary; needs torch)
"""
import json
import random
import subprocess
import sys
import time

import torch
from torch import nn

# Where the system puts a program's memory makes a difference that lasts as long as the program.
STARTS = 3
STEPS = 10


class Last(nn.Module):
    """A network over the last output of an LSTM."""

    def __init__(self):
        super().__init__()
        self.lstm, self.head = nn.LSTM(64, 128, batch_first=True), nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.lstm(x)[1][0][0])


class Mean(nn.Module):
    """A network over the mean of a transformer block's outputs."""

    def __init__(self):
        super().__init__()
        settings = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        self.block, self.head = nn.TransformerEncoderLayer(128, 4, 512, **settings), nn.Linear(128, 10)

    def forward(self, x):
        return self.head(self.block(x).mean(1))


def perceptron():
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10))


def cnn(side, first, second):
    return nn.Sequential(
        nn.Conv2d(1, first, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(first, second, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(second * (side // 4) ** 2, 10),
    )


# Model, shape of a sample, samples of a batch; by the names of `thalweg bench`.
NETWORKS = {
    "perceptron 784-128-64-10": (perceptron, (784,), 64),
    "cnn": (lambda: cnn(28, 16, 32), (1, 28, 28), 64),
    "digits cnn": (lambda: cnn(8, 8, 16), (1, 8, 8), 32),
    "lstm": (Last, (32, 64), 64),
    "transformer block": (Mean, (64, 128), 16),
}


def peer(name, channels_last):
    """Takes some training steps; returns the milliseconds of one."""
    make, shape, batch = NETWORKS[name]
    model, x, labels = make(), torch.rand(batch, *shape), torch.randint(10, (batch,))
    if channels_last:
        model, x = (of.to(memory_format=torch.channels_last) for of in (model, x))
    optimizer, criterion = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True), nn.CrossEntropyLoss()

    def steps():
        start = time.perf_counter()
        for _ in range(STEPS):
            optimizer.zero_grad(set_to_none=True)
            criterion(model(x), labels).backward()
            optimizer.step()
        return (time.perf_counter() - start) * 1e3 / STEPS

    return steps


def in_turns(command, sides, pairs):
    """Milliseconds of all sides, turn by turn, over several starts of the command."""
    found = {name: [] for name in [*sides, "thalweg"]}
    for _ in range(STARTS):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as ours:

            def own():
                ours.stdin.write("\n")
                return float(ours.stdout.readline())

            for _ in range(-(-pairs // STARTS)):
                for name, side in random.sample([*sides.items(), ("thalweg", own)], len(sides) + 1):
                    found[name].append([side() for _ in range(3)][-1])
            ours.stdin.close()
    return found


def quartiles(values):
    return [sorted(values)[len(values) * quarter // 4] for quarter in (1, 2, 3)]


def main():
    thalweg, *rest = sys.argv[1:]
    pairs = int(rest[0]) if rest else 30
    for name in rest[1:] or NETWORKS:
        layouts = {"torch": False, **({"torch channels last": True} if "cnn" in name else {})}
        sides = {of: peer(name, last) for of, last in layouts.items()}
        command = [thalweg, "bench", "--turns", "--engine", "cpu", "--what", f"network {name}"]
        found = in_turns(command, sides, pairs)
        own = found["thalweg"]
        print(json.dumps({
            "network": name, "threads": torch.get_num_threads(), "pairs": len(own), "torch": torch.__version__, "ms": quartiles(own),
            "peers_ms": {of: quartiles(found[of]) for of in sides},
            "peers_over_ours": {of: quartiles([a / b for a, b in zip(found[of], own)]) for of in sides},
        }), flush=True)


main()
