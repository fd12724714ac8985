"""PyTorch and Thalweg in turns, step by step: one JSON object per row, with quartiles of the ratio of their times.

Bandwidth of a shared machine changes within seconds, so programs that run one after the other say little about each other. Here
each takes three steps at a time, in random order; the third counts.

usage: python benches/torch_turns.py THALWEG [N [PAIRS [ROW ...]]]   (THALWEG is the built binary; needs torch; with a CUDA card,
                                                                      the card too)
"""
import json
import random
import subprocess
import sys
import time

import torch
from torch_peer import clipped, of_matrices, optimizer, optimizers, parameter


def rows(n, device):
    """Names of `thalweg bench`, and what PyTorch does for them."""
    p = parameter(device, n)
    for what, peer in optimizers(p):
        yield what, peer.step
    for what, peers in of_matrices(n, device):
        yield what, lambda: [peer.step() for peer in peers]
    adamw = optimizer(torch.optim.AdamW, p)
    yield "clip + adamw", lambda: clipped(p, adamw)
    # PyTorch's state has the parameters' type, so that its step is the one in single precision.
    yield "adamw_bf16", adamw.step


def timed(device, step):
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    synchronize()
    start = time.perf_counter()
    step()
    synchronize()
    return (time.perf_counter() - start) * 1e3


# Where the system puts a program's memory makes a difference of a tenth that lasts as long as the program.
STARTS = 4


def in_turns(command, device, step, pairs):
    """Milliseconds of both, pair by pair, over several starts of the command."""
    found = {"torch": [], "thalweg": []}
    for _ in range(STARTS):
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as ours:

            def own():
                ours.stdin.write("\n")
                return float(ours.stdout.readline())

            sides = {"torch": lambda: timed(device, step), "thalweg": own}
            for _ in range(-(-pairs // STARTS)):
                for name in random.sample(list(sides), 2):
                    found[name].append([sides[name]() for _ in range(3)][-1])
            ours.stdin.close()
    return found["torch"], found["thalweg"]


def quartiles(values):
    return [sorted(values)[len(values) * quarter // 4] for quarter in (1, 2, 3)]


def main():
    thalweg, *rest = sys.argv[1:]
    n, pairs = (int(arg) for arg in (rest + ["16777216", "40"][len(rest):])[:2])
    for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
        engine = {"cpu": "cpu", "cuda": "gpu"}[device]
        for what, step in rows(n, device):
            if rest[2:] and what not in rest[2:]:
                continue
            command = [thalweg, "bench", "--turns", "--engine", engine, "--what", what, "--n", str(n)]
            torch_ms, ms = in_turns(command, device, step, pairs)
            name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
            print(json.dumps({
                "what": what, "engine": engine, "adapter": name, "n": n, "pairs": len(ms), "torch": torch.__version__,
                "torch_ms": quartiles(torch_ms), "ms": quartiles(ms),
                "torch_over_ours": quartiles([a / b for a, b in zip(torch_ms, ms)]),
            }), flush=True)


main()
