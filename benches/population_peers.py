"""What peers take to train the populations of `thalweg bench --what population`: one JSON object per row, with model-steps per second.

The models are perceptrons 64-H-10 on the digits, batches of 64, Adam; each has its own learning rate, its own weights and its own order of
batches, as our lanes have. Peers:

- "torch, one after the other": a module and a fused Adam per model;
- "torch, batched by hand": all models as one batch of products (baddbmm), Adam written out, since torch.optim has no rates per model;
- "jax, vmap": a jitted step of optax.adam under vmap, where jax and optax are installed.

usage: python benches/population_peers.py [THREADS]       (needs torch; runs on the CPU; THREADS is 2 unless given)
"""
import gzip
import json
import pathlib
import sys
import time

import torch

BATCH = 64
CLASSES = 10
# Lanes, and the width of the hidden layer: those of `thalweg bench`.
POPULATIONS = [(16, 32), (64, 32), (256, 32), (64, 128)]
WARM_UP = 5
SECONDS = 2.0


def digits():
    """Features and classes of the digits that the crate has."""
    path = pathlib.Path(__file__).parent.parent / "src/data/digits.csv.gz"
    lines = gzip.open(path, "rt").read().splitlines()
    rows = [[float(x) for x in line.split(",")] for line in lines if line[0].isdigit()]
    rows = torch.tensor(rows[: len(rows) // BATCH * BATCH])
    return rows[:, :-1].contiguous(), rows[:, -1].long()


def rates(lanes):
    return [1e-4 * 1e3 ** (lane / lanes) for lane in range(lanes)]


def orders(rows, lanes):
    """Of each lane, the rows of each batch of an epoch: batches, lanes, rows."""
    of_lane = [torch.randperm(rows).reshape(-1, BATCH) for _ in range(lanes)]
    return torch.stack(of_lane, 1)


def one_after_the_other(x, y, lanes, hidden):
    order = orders(len(x), lanes)
    models = [
        torch.nn.Sequential(torch.nn.Linear(x.shape[1], hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, CLASSES))
        for _ in range(lanes)
    ]
    adams = [torch.optim.Adam(model.parameters(), lr=lr, fused=True) for model, lr in zip(models, rates(lanes))]

    def step(number):
        for model, adam, rows in zip(models, adams, order[number % len(order)]):
            adam.zero_grad()
            torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
            adam.step()

    return step


def start(lanes, width, hidden):
    """Weights and biases of all models."""
    uniform = lambda inputs, *shape: (torch.rand(lanes, *shape) * 2 - 1) * inputs**-0.5
    shapes = [(width, (width, hidden)), (width, (1, hidden)), (hidden, (hidden, CLASSES)), (hidden, (1, CLASSES))]
    return [uniform(inputs, *shape) for inputs, shape in shapes]


def batched_by_hand(x, y, lanes, hidden):
    order = orders(len(x), lanes)
    params = [param.requires_grad_() for param in start(lanes, x.shape[1], hidden)]
    means, squares = [[torch.zeros_like(param) for param in params] for _ in range(2)]
    lr = torch.tensor(rates(lanes)).reshape(lanes, 1, 1)

    def step(number):
        rows = order[number % len(order)]
        w, b, v, c = params
        h = torch.relu(torch.baddbmm(b, x[rows], w))
        logits = torch.baddbmm(c, h, v).reshape(lanes * BATCH, CLASSES)
        loss = torch.nn.functional.cross_entropy(logits, y[rows].flatten(), reduction="sum") / BATCH
        grads = torch.autograd.grad(loss, params)
        first, second = 1 - 0.9 ** (number + 1), 1 - 0.999 ** (number + 1)
        with torch.no_grad():
            torch._foreach_lerp_(means, grads, 0.1)
            torch._foreach_mul_(squares, 0.999)
            torch._foreach_addcmul_(squares, grads, grads, 0.001)
            for param, mean, square in zip(params, means, squares):
                param.sub_(lr / first * mean / ((square / second).sqrt() + 1e-8))

    return step


def jax_vmap(x, y, lanes, hidden):
    import jax
    import jax.numpy as jnp
    import optax

    adam = optax.inject_hyperparams(optax.adam)(learning_rate=1e-3)

    def loss(params, x, y):
        w, b, v, c = params
        logits = jax.nn.relu(x @ w + b) @ v + c
        return optax.softmax_cross_entropy_with_integer_labels(logits, y).mean()

    def state_of(params, lr):
        state = adam.init(params)
        state.hyperparams["learning_rate"] = lr
        return state

    def one(params, state, rows):
        grads = jax.grad(loss)(params, data[rows], classes[rows])
        updates, state = adam.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    data, classes = jnp.array(x.numpy()), jnp.array(y.numpy())
    order = jnp.array(orders(len(x), lanes).numpy())
    params = tuple(jnp.array(param.numpy()) for param in start(lanes, x.shape[1], hidden))
    state = jax.vmap(state_of)(params, jnp.array(rates(lanes)))
    run = jax.jit(jax.vmap(one), donate_argnums=(0, 1))
    held = [params, state]

    def step(number):
        held[:] = run(*held, order[number % len(order)])
        jax.block_until_ready(held[0])

    return step


PEERS = {
    "torch, one after the other": one_after_the_other,
    "torch, batched by hand": batched_by_hand,
    "jax, vmap": jax_vmap,
}


def main():
    torch.set_num_threads(int(sys.argv[1]) if sys.argv[1:] else 2)
    x, y = digits()
    for lanes, hidden in POPULATIONS:
        for peer, make in PEERS.items():
            try:
                step = make(x, y, lanes, hidden)
            except ImportError as error:
                print(f"no row of {peer}: {error}", file=sys.stderr)
                continue
            for number in range(WARM_UP):
                step(number)
            begin, number = time.perf_counter(), WARM_UP
            while time.perf_counter() - begin < SECONDS:
                step(number)
                number += 1
            seconds = time.perf_counter() - begin
            print(json.dumps({
                "what": "population", "peer": peer, "lanes": lanes, "hidden": hidden, "batch": BATCH,
                "model_steps_per_s": lanes * (number - WARM_UP) / seconds,
            }), flush=True)


main()
