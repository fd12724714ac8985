"""Golden values of PyTorch modules: one line of JSON per case, for the scripts beside this one.

A line: {"name", "inputs": [{"shape", "floats" or "indices"}], "params": {name: [..]}, "output": {"shape", "values"}, "loss",
"grads": {name: [..]}, "of_inputs": [[..]..], "buffers": {name: [..]}, "single": {"output", "loss", "grads", "of_inputs"}}. All but `single`,
which is the same in float32 with the largest error against float64 per list, is in float64. The loss of a layer is the sum of its output times
w[i] = 0.5 + tanh(0.7 i + 0.3) over its elements i.

A script's arguments are OUT.jsonl [SEED].
"""
import json, sys
import torch
from torch import nn
import torch.nn.functional as F

OUT = sys.argv[1]
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 5
g = torch.Generator().manual_seed(SEED)
randn = lambda *s: torch.randn(s, generator=g, dtype=torch.float64).float().double()   # exact in float32
flat = lambda t: t.detach().double().reshape(-1).tolist()
f = open(OUT, "w")


def weights(y):
    i = torch.arange(y.numel(), dtype=torch.float64)
    return (0.5 + torch.tanh(0.7 * i + 0.3)).reshape(y.shape)


class Wrapped(nn.Module):
    """A function as a module without parameters."""
    def __init__(self, f):
        super().__init__()
        self.f = f

    def forward(self, *x):
        return self.f(*x)


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


def run(module, inputs, dtype, loss_of):
    import copy
    m = copy.deepcopy(module).to(dtype)
    xs = [x.to(dtype).clone().requires_grad_() if x.is_floating_point() else x.clone() for x in inputs]
    y = m(*xs)
    loss = loss_of(y)
    grads = {}
    if loss.requires_grad:
        loss.backward()
    return dict(output=y, loss=loss, params={k: p for k, p in m.named_parameters()},
                grads={k: (p.grad if p.grad is not None else torch.zeros_like(p)) for k, p in m.named_parameters()},
                of_inputs=[(x.grad if x.grad is not None else torch.zeros_like(x)) if x.is_floating_point() else torch.zeros(0) for x in xs],
                buffers={k: b for k, b in m.named_buffers() if b.is_floating_point()})


def case(name, module, *inputs, loss=False):
    """A layer, or with `loss` a module whose output is the loss."""
    module = module if isinstance(module, nn.Module) else Wrapped(module)
    module = module.double()
    for p in module.parameters():
        p.data = p.data.float().double()                     # float32 holds the start values exactly
    loss_of = (lambda y: y) if loss else (lambda y: (y * weights(y).to(y.dtype)).sum())
    wide, single = run(module, inputs, torch.float64, loss_of), run(module, inputs, torch.float32, loss_of)
    error = lambda a, b: (a.double() - b.double()).abs().max().item() if a.numel() else 0.0
    f.write(json.dumps(dict(
        name=name,
        inputs=[dict(shape=list(x.shape), **({"floats": flat(x)} if x.is_floating_point() else {"indices": x.reshape(-1).tolist()})) for x in inputs],
        params={k: flat(p) for k, p in wide["params"].items()},
        output=dict(shape=list(wide["output"].shape), values=flat(wide["output"])), loss=wide["loss"].item(),
        grads={k: flat(p) for k, p in wide["grads"].items()}, of_inputs=[flat(x) for x in wide["of_inputs"]],
        buffers={k: flat(b) for k, b in wide["buffers"].items()},
        single=dict(output=error(single["output"], wide["output"]), loss=error(single["loss"], wide["loss"]),
                    grads={k: error(single["grads"][k], p) for k, p in wide["grads"].items()},
                    of_inputs=[error(s, x) for s, x in zip(single["of_inputs"], wide["of_inputs"])]))) + "\n")
