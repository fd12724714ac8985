"""Networks of PyTorch after some steps: their state_dicts, inputs and what they predict for them.

    python networks.py        writes convolutions.safetensors and lstm.safetensors beside this script; needs torch and safetensors
"""

from collections import OrderedDict
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn


class Last(nn.Module):
    """The last step of what an LSTM returns."""

    def forward(self, run):
        return run[0][:, -1]


def convolutions():
    layers = OrderedDict(
        conv1=nn.Conv2d(2, 6, 3, padding=1, bias=False),
        norm1=nn.BatchNorm2d(6),
        relu=nn.ReLU(),
        pool=nn.MaxPool2d(2),
        conv2=nn.Conv2d(6, 8, (3, 2), stride=(1, 2), dilation=(1, 2), padding="valid", groups=2),
        norm2=nn.GroupNorm(2, 8),
        silu=nn.SiLU(),
        flatten=nn.Flatten(),
        out=nn.Linear(16, 3),
    )
    return nn.Sequential(layers), (2, 8, 8)


def lstm():
    layers = OrderedDict(lstm=nn.LSTM(3, 7, num_layers=2, batch_first=True, bidirectional=True), last=Last(), out=nn.Linear(14, 3))
    return nn.Sequential(layers), (6, 3)


def trained(model, shape):
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
    for _ in range(20):
        x = torch.randn(32, *shape)
        loss = nn.functional.cross_entropy(model(x), (x.flatten(1).sum(1) > 0).long() + (x.flatten(1)[:, 0] > 1).long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    model.eval()
    x = torch.randn(20, *shape)
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    # The same weights in double precision, so that nothing is rounded but what Thalweg rounds.
    y = model.double()(x.double()).detach()
    return weights | {"x": x, "y": y}


for make in (convolutions, lstm):
    torch.manual_seed(12)
    save_file(trained(*make()), Path(__file__).parent / f"{make.__name__}.safetensors")
