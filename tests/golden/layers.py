"""Golden values of layers, losses and small models: what PyTorch computes.

usage: python layers.py OUT.jsonl [SEED]      (needs torch; written with 2.15.0)

The form of a line is described in modules.py.
"""
import torch
from torch import nn
import torch.nn.functional as F
from modules import SEED, Residual, case, randn

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
