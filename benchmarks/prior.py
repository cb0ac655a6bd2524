"""Sampling and training of the PixelCNN against its PyTorch twin, in turn, in one process:

pip install -r requirements.txt -r benchmarks/requirements.txt && python -m benchmarks.prior
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
import torch.nn.functional as F

from benchmarks import torch_pixelcnn
from vqjax.networks.pixelcnn import PixelCNN
from vqjax.tasks.sampling import ANCESTRAL, sample

K, CLASSES, WIDTH, LAYERS, HEAD = 512, 10, 64, 15, 512
SIZES = [((8, 8), 64), ((16, 16), 16)]  # grid, batch


def vqjax_runners(grid: tuple[int, int], batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """Functions that draw a batch of samples, and that take a training step."""
    labels, examples = jnp.arange(batch) % CLASSES, jnp.arange(batch)
    codes = jax.random.randint(jax.random.key(0), (batch, *grid), 0, K)
    prior = PixelCNN(K, CLASSES, grid, jnp.float32, WIDTH, LAYERS, HEAD, 0.0)
    variables = jax.jit(prior.init)(jax.random.key(1), codes[:1], labels[:1])
    draw = jax.jit(lambda variables: sample(prior, variables, labels, examples, 0, ANCESTRAL))
    optimizer = optax.adam(3e-4)
    state = variables, optimizer.init(variables)

    def loss(variables):
        return optax.softmax_cross_entropy_with_integer_labels(prior.apply(variables, codes, labels), codes).mean()

    @jax.jit
    def step(variables, opt_state):
        updates, opt_state = optimizer.update(jax.grad(loss)(variables), opt_state)
        return optax.apply_updates(variables, updates), opt_state

    def train():
        nonlocal state
        state = jax.block_until_ready(step(*state))

    return lambda: jax.block_until_ready(draw(variables)), train


def torch_runners(grid: tuple[int, int], batch: int) -> tuple[Callable[[], None], Callable[[], None]]:
    """The same in PyTorch, eager."""
    model = torch_pixelcnn.PixelCNN(K, CLASSES, WIDTH, LAYERS, HEAD)
    labels, codes = torch.arange(batch) % CLASSES, torch.randint(0, K, (batch, *grid))
    optimizer = torch.optim.Adam(model.parameters(), 3e-4)

    def train():
        optimizer.zero_grad()
        F.cross_entropy(model(codes, labels), codes).backward()
        optimizer.step()

    return lambda: model.sample(labels, grid), train


def seconds(run: Callable[[], None], times: int) -> float:
    """A run's mean time over so many."""
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.prior", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    device = jax.devices()[0].device_kind
    print(f"jax {jax.__version__}, torch {torch.__version__}, {device}; width {WIDTH}, {LAYERS} layers, K {K}")
    for grid, batch in SIZES:
        ours, theirs = vqjax_runners(grid, batch), torch_runners(grid, batch)
        for run in (*ours, theirs[1]):
            run()  # compile, warm up
        for name, times, kind in (("sampling", 1, 0), ("training step", 3, 1)):
            rows = np.array([[seconds(ours[kind], times), seconds(theirs[kind], times)] for _ in range(rounds)])
            ratio = statistics.median(rows[:, 1] / rows[:, 0])
            here, there = np.median(rows, axis=0)
            text = f"{1e3 * here:.0f} ms, torch {1e3 * there:.0f} ms"
            if name == "sampling":
                count = batch * grid[0] * grid[1]
                text = f"{count / here:,.0f} codes/s, torch {count / there:,.0f} codes/s"
            print(f"{grid[0]:>2} x {grid[1]:<2} batch {batch:<3} {name:<14} {text}: {ratio:.1f} times as fast")


if __name__ == "__main__":
    main()
