"""Golden values of recurrent layers, attention, transformer blocks and adapters: what PyTorch computes.

usage: python sequences.py OUT.jsonl [SEED]      (needs torch; written with 2.15.0)

Lines as those of layers.py. The output is one list: outputs, then the last states, one after the other.
"""
import copy, json, sys
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

OUT = sys.argv[1]
SEED = int(sys.argv[2]) if len(sys.argv) > 2 else 7
g = torch.Generator().manual_seed(SEED)
randn = lambda *s: torch.randn(s, generator=g, dtype=torch.float64).float().double()   # exact in float32
flat = lambda t: t.detach().double().reshape(-1).tolist()
f = open(OUT, "w")


class Named(nn.Module):
    """A function of modules and inputs; parameters have the names of the only module."""
    def __init__(self, module, function):
        super().__init__()
        self.m, self.function = module, function

    def forward(self, *x):
        return torch.cat([y.reshape(-1) for y in self.function(self.m, *x)])


def run(module, inputs, dtype):
    m = copy.deepcopy(module).to(dtype)
    xs = [x.to(dtype).clone().requires_grad_() if x.is_floating_point() else x.clone() for x in inputs]
    y = m(*xs)
    i = torch.arange(y.numel(), dtype=torch.float64)
    loss = (y * (0.5 + torch.tanh(0.7 * i + 0.3)).to(dtype)).sum()
    loss.backward()
    grad = lambda p: p.grad if p.grad is not None else torch.zeros_like(p)
    named = {k.removeprefix("m."): p for k, p in m.named_parameters()}
    return dict(output=y, loss=loss, params=named, grads={k: grad(p) for k, p in named.items()},
                of_inputs=[grad(x) if x.is_floating_point() else torch.zeros(0) for x in xs])


def case(name, module, function, *inputs):
    module = Named(module.double(), function)
    for p in module.parameters():
        p.data = p.data.float().double()                     # float32 holds the start values exactly
    wide, single = run(module, inputs, torch.float64), run(module, inputs, torch.float32)
    error = lambda a, b: (a.double() - b.double()).abs().max().item() if a.numel() else 0.0
    f.write(json.dumps(dict(
        name=name,
        inputs=[dict(shape=list(x.shape), **({"floats": flat(x)} if x.is_floating_point() else {"indices": x.reshape(-1).tolist()})) for x in inputs],
        params={k: flat(p) for k, p in wide["params"].items()},
        output=dict(shape=list(wide["output"].shape), values=flat(wide["output"])), loss=wide["loss"].item(),
        grads={k: flat(p) for k, p in wide["grads"].items()}, of_inputs=[flat(x) for x in wide["of_inputs"]], buffers={},
        single=dict(output=error(single["output"], wide["output"]), loss=error(single["loss"], wide["loss"]),
                    grads={k: error(single["grads"][k], p) for k, p in wide["grads"].items()},
                    of_inputs=[error(s, x) for s, x in zip(single["of_inputs"], wide["of_inputs"])]))) + "\n")


def states(s):
    return list(s) if isinstance(s, tuple) else [s]


def plain(m, x):
    y, s = m(x)
    return [y, *states(s)]


def carried(m, x, *s):
    y, s = m(x, tuple(s) if len(s) == 2 else s[0])
    return [y, *states(s)]


def ragged(m, x, lengths, *s):
    packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
    y, s = m(packed, tuple(s) if len(s) == 2 else s[0])
    y, _ = pad_packed_sequence(y, batch_first=True, total_length=x.shape[1])
    return [y, *states(s)]


torch.manual_seed(SEED)
case("rnn", nn.RNN(5, 7, batch_first=True), plain, randn(3, 6, 5))
case("rnn_relu", nn.RNN(5, 7, nonlinearity="relu", bias=False, batch_first=True), carried, randn(3, 6, 5), randn(1, 3, 7))
case("lstm", nn.LSTM(5, 7, batch_first=True), plain, randn(3, 6, 5))
case("lstm_without_bias", nn.LSTM(5, 7, bias=False, batch_first=True), carried, randn(1, 6, 5), randn(1, 1, 7), randn(1, 1, 7))
lengths = torch.tensor([20, 3, 11, 1])
case("lstm_deep", nn.LSTM(5, 6, num_layers=2, bidirectional=True, batch_first=True), ragged,
     randn(4, 20, 5), lengths, randn(4, 4, 6), randn(4, 4, 6))
case("lstm_wide", nn.LSTM(17, 33, batch_first=True), plain, randn(9, 5, 17))
case("gru", nn.GRU(5, 7, batch_first=True), plain, randn(3, 6, 5))
case("gru_without_bias", nn.GRU(5, 7, bias=False, batch_first=True), plain, randn(3, 6, 5))
case("gru_deep", nn.GRU(5, 6, num_layers=2, bidirectional=True, batch_first=True), ragged, randn(4, 20, 5), lengths, randn(4, 4, 6))
case("rnn_ragged", nn.RNN(3, 4, bidirectional=True, batch_first=True), lambda m, x, l: ragged(m, x, l, torch.zeros(2, 3, 4, dtype=x.dtype)),
     randn(3, 5, 3), torch.tensor([2, 5, 4]))


def attend(m, x, memory, padding=None, causal=False):
    mask = torch.triu(torch.ones(x.shape[1], memory.shape[1], dtype=torch.bool), 1) if causal else None
    hidden = None if padding is None else padding > 0
    return [m(x, memory, memory, key_padding_mask=hidden, attn_mask=mask, need_weights=False)[0]]


def attention(width, heads, **kw):
    m = nn.MultiheadAttention(width, heads, batch_first=True, **kw)
    if m.in_proj_bias is not None:
        m.in_proj_bias.data, m.out_proj.bias.data = randn(3 * width), randn(width)
    return m


padding = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 1, 1, 1], [1, 0, 0, 1, 0]])
case("attention", attention(8, 2), lambda m, x: attend(m, x, x), randn(3, 5, 8))
case("attention_causal", attention(8, 4), lambda m, x: attend(m, x, x, causal=True), randn(3, 5, 8))
case("attention_padded", attention(12, 3), lambda m, x, p: attend(m, x, x, p), randn(3, 5, 12), padding)
first = torch.tensor([[0, 0, 0, 0, 0], [0, 0, 1, 1, 1], [0, 1, 0, 1, 0]])
case("attention_causal_padded", attention(8, 2), lambda m, x, p: attend(m, x, x, p, True), randn(3, 5, 8), first)
case("attention_across", attention(8, 2), lambda m, x, y, p: attend(m, x, y, p), randn(3, 7, 8), randn(3, 5, 8), padding)
case("attention_without_bias", attention(6, 1, bias=False), lambda m, x: attend(m, x, x), randn(2, 4, 6))
case("attention_wide", attention(10, 2), lambda m, x: attend(m, x, x, causal=True), randn(2, 67, 10))
block = lambda **kw: nn.TransformerEncoderLayer(8, 2, 20, dropout=0.0, batch_first=True, **kw)
case("block", block(norm_first=True, activation="gelu"), lambda m, x: [m(x)], randn(3, 5, 8))
case("block_after", block(), lambda m, x: [m(x)], randn(3, 5, 8))
case("block_padded", block(norm_first=True), lambda m, x, p: [m(x, src_key_padding_mask=p > 0)], randn(3, 5, 8), padding)


class LowRank(nn.Module):
    def __init__(self):
        super().__init__()
        base = nn.Linear(9, 5)
        self.weight, self.bias = (nn.Parameter(p.data, requires_grad=False) for p in (base.weight, base.bias))
        self.lora_A, self.lora_B = nn.Linear(9, 3, bias=False), nn.Linear(3, 5, bias=False)

    def forward(self, x):
        return x @ self.weight.T + self.bias + 2 / 3 * self.lora_B(self.lora_A(x))


case("low_rank", LowRank(), lambda m, x: [m(x)], randn(6, 9))
# Many samples, so that the error of single precision is no luck.
case("lstm_one_step", nn.LSTM(4, 1, batch_first=True), carried, randn(16, 1, 4), randn(1, 16, 1), randn(1, 16, 1))
