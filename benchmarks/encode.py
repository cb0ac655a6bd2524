"""Images per second of `Tokenizer.encode` and of the compiled encoder alone, in turn, the weights those of a new run.

python -m benchmarks.encode --data_dir ~/tensorflow_datasets

The encoder alone is one `jax.jit` on batches of the same size that lie on the device already; its codes stay there.
"""

import argparse
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import vqjax
from vqjax.config.schema import Settings
from vqjax.data import datasets
from vqjax.tasks import complete

BATCH = 256


def seconds(function):
    start = time.perf_counter()
    jax.block_until_ready(function())
    return time.perf_counter() - start


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments."""
    arguments = argparse.ArgumentParser(prog="python -m benchmarks.encode", description=__doc__)
    arguments.add_argument("--config", default="cifar10_ema")
    arguments.add_argument("--data_dir", default="", help="where the set lies; without it, random images")
    arguments.add_argument("--count", type=int, default=10_000)
    arguments.add_argument("--rounds", type=int, default=5)
    return arguments


def main():
    arguments = parser().parse_args()
    config = vqjax.get_config(arguments.config)
    config.data.data_dir = arguments.data_dir
    completed = complete(Settings.of(config))
    task = completed.build()
    variables = jax.device_get(jax.jit(task.init)(jax.random.key(0)))
    tokenizer = vqjax.Tokenizer(Path(), task, variables, 0)
    if arguments.data_dir:
        images = datasets.read_split(completed.dataset, "test").arrays["image"][: arguments.count]
    else:
        images = np.random.default_rng(0).integers(0, 256, (arguments.count, *task.image_shape)).astype(np.uint8)
    alone, weights = jax.jit(task.encode), jax.device_put(variables)
    batches = [jnp.asarray(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
    ways = {
        "the encoder alone": lambda: [alone(weights, batch) for batch in batches],
        "Tokenizer.encode": lambda: tokenizer.encode(images),
    }
    taken = {name: [] for name in ways}
    for number in range(arguments.rounds + 1):
        for name, way in ways.items():
            if (duration := seconds(way)) and number:  # the first round compiles
                taken[name].append(duration)
    rates = {name: len(images) / statistics.median(times) for name, times in taken.items()}
    device = f"{jax.local_device_count()} x {jax.devices()[0].device_kind}"
    print(f"{device}, {len(images):,} images of {task.image_shape}, median of {arguments.rounds}")
    for name, rate in rates.items():
        print(f"{name:<20}{rate:>10,.0f} images/s   {min(taken[name]):.3f} to {max(taken[name]):.3f} s")
    print(f"{rates['Tokenizer.encode'] / rates['the encoder alone']:.1%}")


if __name__ == "__main__":
    main()
