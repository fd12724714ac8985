"""The times of PyTorch for the same steps: one JSON object per row, as `thalweg bench --json` prints them.

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


def optimizer(kind, *ps, **settings):
    """Fused where it fuses, else foreach, else as it is. It has taken its first step, so its state is there."""
    for way in [{"fused": True}, {"foreach": True}, {}]:
        try:
            optimizer = kind(ps, **settings, **way)
            optimizer.step()
            return optimizer
        except (TypeError, RuntimeError):
            # The optimizer has no such argument, or not on this device.
            if not way:
                raise


def parameter(device, *shape):
    p = torch.nn.Parameter(torch.randn(shape, device=device))
    p.grad = torch.randn(shape, device=device)
    return p


def optimizers(p):
    """Every rule that PyTorch has, under the names of `thalweg bench`."""
    optim = torch.optim
    kinds = [
        optim.SGD, optim.RMSprop, optim.Adam, optim.AdamW, optim.Adagrad, optim.RAdam, optim.Adamax, optim.Adadelta, optim.NAdam,
        optim.ASGD, optim.Rprop,
    ]
    for kind in kinds:
        yield kind.__name__.lower(), optimizer(kind, p)
    yield "sgd momentum", optimizer(optim.SGD, p, momentum=0.9)
    yield "rmsprop centered momentum", optimizer(optim.RMSprop, p, centered=True, momentum=0.9)
    yield "adamw amsgrad", optimizer(optim.AdamW, p, amsgrad=True)


def of_matrices(n, device):
    """Optimizers of matrices, in the shapes of `thalweg bench`: one with up to 1,024 columns, and as many of 128 × 128 as there are,
    the rest for AdamW."""
    columns = min(1024, n & -n)
    p = parameter(device, n // columns, columns)
    yield "adafactor", [optimizer(torch.optim.Adafactor, p)]
    square, rest = 128 * 128, n % (128 * 128)
    matrices = [parameter(device, 128, 128) for _ in range(n // square)]
    peers = [optimizer(torch.optim.Muon, *matrices)] if matrices else []
    yield "muon", peers + ([optimizer(torch.optim.AdamW, parameter(device, rest))] if rest else [])


# How many arrays these have to read and to write, as `thalweg bench` counts them.
MATRIX_STREAMS = {"adafactor": 7, "muon": 10}


def streams(optimizer, p):
    """Parameters and planes are read and written, gradients are read."""
    state = optimizer.state[p].values()
    return 3 + 2 * sum(torch.is_tensor(value) and value.shape == p.shape for value in state)


def clipped(p, adamw):
    torch.nn.utils.clip_grad_norm_([p], 1.0)
    adamw.step()


def main():
    for n in [int(arg) for arg in sys.argv[1:]] or [1 << 20, 1 << 22, 1 << 24]:
        for device in ["cpu"] + ["cuda"] * torch.cuda.is_available():
            p = parameter(device, n)
            for what, peer in optimizers(p):
                row(what, device, n, timed(device, peer.step), streams(peer, p))
            for what, peers in of_matrices(n, device):
                row(what, device, n, timed(device, lambda: [peer.step() for peer in peers]), MATRIX_STREAMS[what])
            adamw = optimizer(torch.optim.AdamW, p)
            row("clip + adamw", device, n, timed(device, lambda: clipped(p, adamw)), streams(adamw, p) + 1)
    for n in [512, 1024]:
        a, b = torch.randn(n, n), torch.randn(n, n)
        samples = timed("cpu", lambda: a @ b)
        print(json.dumps({"what": "matmul", "m": n, "ms": samples[len(samples) // 2], "gflops": 2 * n**3 / samples[len(samples) // 2] * 1e-6}))


if __name__ == "__main__":
    main()
