"""Optimizers of PyTorch in files that Thalweg reads, and back.

    python torch_state.py            writes torch/RULE.safetensors beside this script: 10 steps of each rule, and where 20 end; and
                                     torch/flat/RULE.safetensors, the same as torch's distributed checkpoints name it
    python torch_state.py --back DIR continues from DIR/RULE.safetensors and DIR/flat-RULE.safetensors, which Thalweg has written after
                                     10 steps, and says how far off it is

`to_file` and `from_file`, or `to_flat` and `from_flat`, are all that a program of one's own needs. Needs torch and safetensors.
"""

import json
import sys
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_optimizer_state_dict, set_optimizer_state_dict

SHAPES = {"w": (4, 3), "b": (5,)}
RULES = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1, amsgrad=True),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: torch.optim.Adagrad(p, lr=0.05, lr_decay=0.01),
    "nadam": lambda p: torch.optim.NAdam(p, lr=0.01),
    "radam": lambda p: torch.optim.RAdam(p, lr=0.01),
    "adadelta": lambda p: torch.optim.Adadelta(p, lr=1.0),
    "adamax": lambda p: torch.optim.Adamax(p, lr=0.01),
    "adafactor": lambda p: torch.optim.Adafactor(p, lr=0.2, weight_decay=0.01),
}
# What Thalweg keeps elsewhere, or computes from the number of steps.
LEFT_OUT = {"mu_product", "step"}


def to_file(optimizer, names, path, more=None):
    """Writes parameters and state; `names` are those of the parameters, in the order in which the optimizer has them."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    tensors = dict(more or {})
    for name, p in zip(names, params, strict=True):
        tensors[f"param.{name}"] = p.detach().clone()
        state = optimizer.state[p]
        for key, value in state.items():
            if torch.is_tensor(value) and key not in LEFT_OUT:
                tensors[f"state.{name}.{key}"] = value.clone()
        # SGD does not count its steps.
        steps = state["step"] if "step" in state else optimizer.steps
        tensors[f"state.{name}.step"] = torch.tensor(int(steps), dtype=torch.int64)
    save_file(tensors, path)


def from_file(optimizer, names, path):
    """Reads what Thalweg has written into an optimizer of the same rule and settings."""
    params = [p for group in optimizer.param_groups for p in group["params"]]
    with safe_open(path, "pt") as file:
        steps = json.loads(file.metadata()["steps"])
        for name, p in zip(names, params, strict=True):
            p.data.copy_(file.get_tensor(f"param.{name}"))
            prefix = f"state.{name}."
            state = {key[len(prefix) :]: file.get_tensor(key) for key in file.keys() if key.startswith(prefix)}
            state["step"] = torch.tensor(float(steps[name]))
            if isinstance(optimizer, torch.optim.NAdam):
                state["mu_product"] = torch.tensor(mu_product(optimizer.param_groups[0], steps[name]))
            if isinstance(optimizer, torch.optim.SGD):
                del state["step"]
            optimizer.state[p] = state


def flat_state(model, optimizer):
    return get_optimizer_state_dict(model, optimizer, options=StateDictOptions(flatten_optimizer_state_dict=True))


def to_flat(model, optimizer, path, more=None):
    """Writes parameters, state and settings under the names of distributed checkpoints: state.w.exp_avg, param_groups.w.lr."""
    tensors = {f"param.{name}": value.clone() for name, value in model.state_dict().items()} | (more or {})
    for name, value in flat_state(model, optimizer).items():
        if torch.is_tensor(value):
            tensors[name] = value.clone()
        elif isinstance(value, bool):
            tensors[name] = torch.tensor(value)
        elif isinstance(value, (list, tuple)):
            # Adafactor's eps of None is 0 in Thalweg.
            tensors[name] = torch.tensor([0.0 if x is None else x for x in value], dtype=torch.float64)
        elif value is not None:
            tensors[name] = torch.tensor(value, dtype=torch.float64)
    save_file(tensors, path)


def from_flat(model, optimizer, path):
    """Reads what Optimizer::export of Thalweg has written."""
    file = load_file(path)
    model.load_state_dict({name.removeprefix("param."): value for name, value in file.items() if name.startswith("param.")})
    state = flat_state(model, optimizer)
    for name, old in state.items():
        if name.endswith(".mu_product"):
            tensor = name.removeprefix("state.").removesuffix(".mu_product")
            steps = int(file[f"state.{tensor}.step"])
            state[name] = torch.tensor(mu_product(optimizer.param_groups[0], steps))
        elif name in file:
            new = file[name]
            if isinstance(old, (list, tuple)):
                state[name] = type(old)(None if was is None and x == 0 else x for was, x in zip(old, new.tolist(), strict=True))
            else:
                state[name] = new if torch.is_tensor(old) else type(old)(new.tolist())
    options = StateDictOptions(flatten_optimizer_state_dict=True)
    set_optimizer_state_dict(model, optimizer, state, options=options)


class Model(torch.nn.Module):
    """Parameters by their names."""

    def __init__(self, params):
        super().__init__()
        for name, p in zip(SHAPES, params, strict=True):
            self.register_parameter(name, p)


def mu_product(group, steps):
    """NAdam's product of momenta so far."""
    product = 1.0
    for t in range(1, steps + 1):
        product *= group["betas"][0] * (1 - 0.5 * 0.96 ** (t * group["momentum_decay"]))
    return product


def gradients():
    """20 gradients of each tensor, the same for all rules."""
    random = torch.Generator().manual_seed(5)
    return {name: torch.randn(20, *shape, generator=random) for name, shape in SHAPES.items()}


def fresh(rule):
    random = torch.Generator().manual_seed(3)
    # So small that rounding a parameter is far less than a millionth of how far any rule moves it.
    params = [torch.nn.Parameter(torch.randn(*shape, generator=random) / 64) for shape in SHAPES.values()]
    optimizer = RULES[rule](params)
    optimizer.steps = 0
    return params, optimizer


def run(params, optimizer, grads, steps):
    for t in steps:
        for p, name in zip(params, SHAPES, strict=True):
            p.grad = grads[name][t].clone()
        optimizer.step()
        optimizer.steps += 1


def forth(folder):
    (folder / "flat").mkdir(parents=True, exist_ok=True)
    grads = gradients()
    for rule in RULES:
        params, optimizer = fresh(rule)
        more = {f"start.{name}": p.detach().clone() for name, p in zip(SHAPES, params, strict=True)}
        twin, twin_optimizer = fresh(rule)
        run(twin, twin_optimizer, grads, range(20))
        more |= {f"end.{name}": p.detach().clone() for name, p in zip(SHAPES, twin, strict=True)}
        more |= {f"grads.{name}": g for name, g in grads.items()}
        run(params, optimizer, grads, range(10))
        to_file(optimizer, SHAPES, folder / f"{rule}.safetensors", more)
        to_flat(Model(params), optimizer, folder / "flat" / f"{rule}.safetensors", more)


def back(folder):
    grads = gradients()
    for rule in RULES:
        expected, twin = fresh(rule)
        start = [p.detach().clone() for p in expected]
        run(expected, twin, grads, range(20))
        for layout in ("", "flat-"):
            params, optimizer = fresh(rule)
            path = folder / f"{layout}{rule}.safetensors"
            if layout:
                from_flat(Model(params), optimizer, path)
            else:
                from_file(optimizer, SHAPES, path)
            run(params, optimizer, grads, range(10, 20))
            off = max((a - b).abs().max() for a, b in zip(params, expected, strict=True))
            moved = max((a - b).abs().max() for a, b in zip(expected, start, strict=True))
            print(f"{layout}{rule}: off by {off / moved:.1e} of the movement")
            assert off <= 1e-6 * moved, rule


if __name__ == "__main__":
    if sys.argv[1:2] == ["--back"]:
        back(Path(sys.argv[2]))
    else:
        forth(Path(__file__).parent / "torch")
