"""One training step of configs/cifar10_ema.py against its PyTorch twin, in turn, in one process:

pip install -r requirements.txt -r benchmarks/requirements.txt && python -m benchmarks.train_step
"""

import argparse
import statistics
import time
from collections.abc import Callable

import jax
import numpy as np
import torch
import torch.nn.functional as F
from tqdm import trange

from benchmarks.torch_twin import Autoencoder
from configs import cifar10_ema
from vqjax import tasks
from vqjax.runs.devices import PARALLEL
from vqjax.runs.state import initial_state
from vqjax.training import optimizers
from vqjax.training.steps import train_step

VARIANCE = 0.0627


def vqjax_runner(images: np.ndarray) -> Callable[[int], None]:
    """A function that takes n steps, the batch coming from the host each time."""
    config = cifar10_ema.get_config()
    task = tasks.build(config)
    task.facts = {**task.facts, "variance": VARIANCE}
    optimizer, schedule = optimizers.make(config)
    program = PARALLEL[config.parallel]()
    step = program.compile(train_step(task, optimizer, schedule, *jax.random.split(jax.random.key(1))), donate=True)
    state = program.replicate(jax.device_get(initial_state(jax.jit(task.init)(jax.random.key(0)), optimizer)))
    batch = {"image": images, "label": np.zeros(len(images), np.int32), "example": np.arange(len(images))}

    def run(steps: int) -> None:
        nonlocal state
        for _ in range(steps):
            state, metrics = step(state, program.shard(batch))
        jax.block_until_ready((state, metrics))

    return run


def torch_runner(images: np.ndarray, channels_last: bool) -> Callable[[int], None]:
    """The same in PyTorch, eager."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = Autoencoder().to(memory_format=layout)
    optimizer = torch.optim.Adam(model.parameters(), 3e-4, amsgrad=True)

    def run(steps: int) -> None:
        for _ in range(steps):
            x = torch.from_numpy(images).permute(0, 3, 1, 2).to(torch.float32).contiguous(memory_format=layout)
            x = x / 127.5 - 1
            output, loss = model(x)
            optimizer.zero_grad()
            (F.mse_loss(output, x) / VARIANCE + loss).backward()
            optimizer.step()

    return run


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.train_step", description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=20, help="per round")
    parser.add_argument("--batch_size", type=int, default=32)
    arguments = parser.parse_args()
    images = np.random.default_rng(0).integers(0, 256, (arguments.batch_size, 32, 32, 3), dtype=np.uint8)
    runners = {
        "vqjax": vqjax_runner(images),
        "torch": torch_runner(images, channels_last=False),
        "torch, channels last": torch_runner(images, channels_last=True),
    }
    seconds = {name: [] for name in runners}
    for run in runners.values():
        run(3)  # compile, warm up
    for _ in trange(arguments.rounds, unit="round", disable=None):
        for name, run in runners.items():
            start = time.perf_counter()
            run(arguments.steps)
            seconds[name].append((time.perf_counter() - start) / arguments.steps)
    device = jax.devices()[0].device_kind
    print(f"jax {jax.__version__}, torch {torch.__version__}, batch {arguments.batch_size}, {device}")
    for name, values in seconds.items():
        ratio = statistics.median(b / a for a, b in zip(seconds["vqjax"], values))
        print(f"{name:>22}: {1e3 * statistics.median(values):6.1f} ms a step (median), {ratio:.2f} x vqjax's time")


if __name__ == "__main__":
    main()
