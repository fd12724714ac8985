"""Golden values of layers, losses and small models: what PyTorch computes.

usage: python layers.py OUT.jsonl [SEED]      (needs torch; written with 2.15.0)

A line per case: {"name", "inputs": [{"shape", "floats" or "indices"}], "params": {name: [..]}, "output": {"shape", "values"}, "loss",
"grads": {name: [..]}, "of_inputs": [[..]..], "buffers": {name: [..]}, "single": {"output", "loss", "grads", "of_inputs"}}. All but `single`,
which is the same in float32 with the largest error against float64 per list, is in float64. The loss of a layer is the sum of its output times
w[i] = 0.5 + tanh(0.7 i + 0.3) over its elements i.
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


torch.manual_seed(SEED)
x = randn(7, 12) * 1.5
for name, function in [("relu", F.relu), ("leaky_relu", lambda x: F.leaky_relu(x, 0.02)), ("elu", lambda x: F.elu(x, 1.3)), ("gelu", F.gelu),
                       ("gelu_tanh", lambda x: F.gelu(x, approximate="tanh")), ("silu", F.silu), ("tanh", torch.tanh), ("sigmoid", torch.sigmoid),
                       ("softplus", lambda x: F.softplus(x, threshold=1e9)), ("softmax", lambda x: F.softmax(x, -1)),
                       ("log_softmax", lambda x: F.log_softmax(x, -1))]:
    case(name, function, x)
case("linear", nn.Linear(12, 5), x)
case("linear_without_bias", nn.Linear(12, 5, bias=False), x)
case("linear_of_three", nn.Linear(4, 6), randn(3, 5, 4))
case("linear_wide", nn.Linear(130, 67), randn(33, 130))
case("embedding", nn.Embedding(6, 5, padding_idx=2), torch.tensor([[1, 2, 5], [0, 1, 1]]))
for training in [True, False]:
    suffix = "" if training else "_eval"
    norm = nn.BatchNorm1d(12).double()
    norm.weight.data, norm.bias.data = randn(12), randn(12)
    norm.running_mean, norm.running_var = torch.zeros(12), torch.ones(12)
    case("batch_norm" + suffix, norm.train(training), x * 2 + 0.5)
    case("batch_norm_of_three" + suffix, nn.BatchNorm1d(3, eps=1e-3, momentum=0.3).train(training), randn(4, 3, 5) + 1)
case("batch_norm_plain", nn.BatchNorm1d(4, affine=False), randn(9, 4))
norm = nn.LayerNorm(12); norm.weight.data, norm.bias.data = randn(12), randn(12)
case("layer_norm", norm, x)
case("layer_norm_of_two", nn.LayerNorm((3, 4)), randn(5, 3, 4))
case("layer_norm_plain", nn.LayerNorm(12, elementwise_affine=False, eps=1e-2), x)
norm = nn.RMSNorm(12, eps=2 ** -23); norm.weight.data = randn(12)
case("rms_norm", norm, x)
case("residual", Residual(nn.Sequential(nn.Linear(12, 12), nn.Tanh())), x)
case("perceptron", nn.Sequential(nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, 8), nn.ReLU(), nn.Linear(8, 3)), x)
case("deep", nn.Sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.GELU(), nn.Linear(8, 8), nn.LayerNorm(8), nn.SiLU(), nn.Linear(8, 2)), x)
case("flatten", nn.Sequential(nn.Flatten(), nn.Linear(12, 2)), randn(5, 3, 4))

p, t = randn(6, 4) * 2, randn(6, 4)
for kind in ["mean", "sum"]:
    case("squared_error_" + kind, lambda x, t: F.mse_loss(x, t, reduction=kind), p, t, loss=True)
    case("absolute_error_" + kind, lambda x, t: F.l1_loss(x, t, reduction=kind), p, t, loss=True)
    case("huber_" + kind, lambda x, t: F.huber_loss(x, t, reduction=kind, delta=0.7), p, t, loss=True)
    case("binary_" + kind, lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction=kind), p * 5, (t > 0).double() * 0.8 + 0.1, loss=True)
    case("binary_weighted_" + kind, lambda x, t: F.binary_cross_entropy_with_logits(x, t, reduction=kind, pos_weight=torch.tensor(2.5, dtype=x.dtype)),
         p, (t > 0).double(), loss=True)
    case("kl_" + kind, lambda x, t: F.kl_div(x, t.detach(), reduction=kind), F.log_softmax(p, -1), F.softmax(t, -1).float().double(), loss=True)
    z, labels = randn(8, 5) * 3, torch.tensor([0, 4, 2, 2, 1, 3, 0, 4])
    w = [0.5, 1.0, 2.0, 0.25, 1.5]
    of = lambda x, **kw: F.cross_entropy(x, labels, reduction=kind, **kw)
    case("cross_entropy_" + kind, lambda x, l: of(x), z, labels, loss=True)
    case("cross_entropy_smooth_" + kind, lambda x, l: of(x, label_smoothing=0.1), z, labels, loss=True)
    case("cross_entropy_weighted_" + kind, lambda x, l: of(x, weight=torch.tensor(w, dtype=x.dtype)), z, labels, loss=True)
    case("cross_entropy_ignored_" + kind, lambda x, l: of(x, ignore_index=2), z, labels, loss=True)
    case("cross_entropy_all_" + kind, lambda x, l: of(x, ignore_index=2, label_smoothing=0.2, weight=torch.tensor(w, dtype=x.dtype)), z, labels, loss=True)
case("cross_entropy_large", lambda x, l: F.cross_entropy(x, l), randn(5, 3) * 60, torch.tensor([0, 1, 2, 0, 1]), loss=True)
