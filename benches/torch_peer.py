"""What PyTorch takes for the same steps: one JSON object per row, as `thalweg bench --json` prints them.

usage: python benches/torch_peer.py [N ...]       (needs torch; runs on CUDA if there is a card, and always on the CPU)
"""
import json
import sys
import time

import torch

REPS = 9


def timed(device, step):
    samples = []
    for rep in range(2 + REPS):
        if device == "cuda":
            torch.cuda.synchronize()
        start = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        if rep >= 2:
            samples.append((time.perf_counter() - start) * 1e3)
    return sorted(samples)


def row(what, device, n, samples, streams):
    ms = samples[len(samples) // 2]
    name = torch.cuda.get_device_name() if device == "cuda" else f"{torch.get_num_threads()} threads"
    print(json.dumps({
        "what": what, "engine": f"torch {torch.__version__} {device}", "adapter": name, "n": n, "ms": ms,
        "min_ms": samples[0], "max_ms": samples[-1], "reps": len(samples), "gbps": n * 4 * streams / ms * 1e-6,
    }), flush=True)


def optimizers(p):
    optim = torch.optim
    yield "adamw", optim.AdamW([p], fused=True), 7
    yield "adam", optim.Adam([p], fused=True), 7
    yield "sgd", optim.SGD([p], lr=1e-3, fused=True), 3
    yield "sgd momentum", optim.SGD([p], lr=1e-3, momentum=0.9, fused=True), 5
    yield "adagrad", optim.Adagrad([p], fused=True) if p.device.type == "cpu" else optim.Adagrad([p], foreach=True), 5
    yield "rmsprop", optim.RMSprop([p], foreach=True), 5


def main():
    for n in [int(arg) for arg in sys.argv[1:]] or [1 << 20, 1 << 22, 1 << 24]:
        for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
            p = torch.nn.Parameter(torch.randn(n, device=device))
            p.grad = torch.randn(n, device=device)
            for what, optimizer, streams in optimizers(p):
                row(what, device, n, timed(device, optimizer.step), streams)
            optimizer = torch.optim.AdamW([p], fused=True)

            def clipped():
                torch.nn.utils.clip_grad_norm_([p], 1.0)
                optimizer.step()

            row("clip + adamw", device, n, timed(device, clipped), 8)
    for n in [512, 1024]:
        a, b = torch.randn(n, n), torch.randn(n, n)
        samples = timed("cpu", lambda: a @ b)
        print(json.dumps({"what": "matmul", "m": n, "ms": samples[len(samples) // 2], "gflops": 2 * n**3 / samples[len(samples) // 2] * 1e-6}))


main()
