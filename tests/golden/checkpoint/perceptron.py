"""A perceptron of PyTorch with batch normalisation, after some steps: its state_dict, inputs and what it predicts for them.

    python perceptron.py        writes perceptron.safetensors beside this script; needs torch and safetensors
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn


class Perceptron(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(
            nn.Linear(5, 16), nn.BatchNorm1d(16), nn.GELU(), nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3)
        )

    def forward(self, x):
        return self.net(x)


torch.manual_seed(11)
model = Perceptron()
optimizer = torch.optim.AdamW(model.parameters(), lr=0.02)
for _ in range(20):
    x = torch.randn(32, 5)
    loss = nn.functional.cross_entropy(model(x), (x.sum(1) > 0).long() + (x[:, 0] > 1).long())
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
model.eval()
x = torch.randn(40, 5)
weights = {name: value.clone() for name, value in model.state_dict().items()}
# The same weights in double precision, so that nothing is rounded but what Thalweg rounds.
y = model.double()(x.double()).detach()
save_file(weights | {"x": x, "y": y}, Path(__file__).parent / "perceptron.safetensors")
