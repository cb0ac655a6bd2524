"""Whether a 3 x 3 convolution of few channels can be faster than XLA's on a CPU: other ways of it, and PyTorch's.

pip install -r requirements.txt -r benchmarks/requirements.txt && python -m benchmarks.convolutions

One thread, float32. Processor time, the least of seven rounds, of the convolution and its two gradients.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_multi_thread_eigen=false"

import jax
import jax.numpy as jnp
import numpy as np
import torch
from jax import lax

SHAPES = ((64, 32, 8), (64, 16, 16), (64, 8, 32))  # images, pixels a side, channels


def whole(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """XLA's own convolution of x (B, H, W, C) with a kernel (3, 3, C, F)."""
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def blocks(size: int) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Makes the convolution as one product, for blocks of so many neighbors in a row.

    A block reads 3 x (size + 2) positions, so the product is as wide as `size` times F, and has (size + 2) / 3 times
    the operations. Size 1 is a product over patches.
    """

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        batch, height, width, channels = x.shape
        padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1 + size), (0, 0)))
        patches = [
            padded[:, row : row + height, shift : shift + width : size] for row in range(3) for shift in range(size + 2)
        ]
        wide = jnp.zeros((3, size + 2, channels, size, kernel.shape[-1]), x.dtype)
        for place in range(size):
            wide = wide.at[:, place : place + 3, :, place].set(kernel)
        product = jnp.concatenate(patches, -1) @ wide.reshape(3 * (size + 2) * channels, -1)
        return product.reshape(batch, height, width, -1)

    return convolve


WAYS = {"XLA's": whole, "patches": blocks(1), "blocks of 2": blocks(2), "blocks of 4": blocks(4)}


def processor_seconds(run: Callable[[], Any], rounds: int = 7, times: int = 5) -> float:
    """The least processor time of a call."""
    run()
    found = []
    for _ in range(rounds):
        started = time.process_time()
        for _ in range(times):
            run()
        found.append((time.process_time() - started) / times)
    return min(found)


def measure(count: int, side: int, channels: int) -> Iterator[tuple[str, float]]:
    """Each way and its time."""
    x = jax.random.normal(jax.random.key(0), (count, side, side, channels))
    kernel = jax.random.normal(jax.random.key(1), (3, 3, channels, channels))
    expected = whole(x, kernel)
    for name, way in WAYS.items():
        np.testing.assert_allclose(way(x, kernel), expected, atol=1e-3)
        both = jax.jit(lambda x, kernel, y, way=way: jax.vjp(way, x, kernel)[1](y) + (way(x, kernel),))
        yield name, processor_seconds(lambda both=both: jax.block_until_ready(both(x, kernel, expected)))
    torch.set_num_threads(1)
    for name, layout in (("PyTorch", torch.contiguous_format), ("channels last", torch.channels_last)):
        images = torch.from_numpy(np.array(x)).permute(0, 3, 1, 2).contiguous(memory_format=layout).requires_grad_()
        module = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False).to(memory_format=layout)
        y = module(images).detach()
        yield name, processor_seconds(lambda images=images, module=module, y=y: module(images).backward(y))


def parser() -> argparse.ArgumentParser:
    """Return the parser of the arguments, which are none."""
    return argparse.ArgumentParser(prog="python -m benchmarks.convolutions", description=__doc__)


def main() -> None:
    parser().parse_args()
    print("| images, pixels, channels | way | ms | GFLOP/s |\n| --- | --- | --- | --- |")
    for shape in SHAPES:
        count, side, channels = shape
        work = 3 * 2 * count * side**2 * channels**2 * 9
        for name, seconds in measure(*shape):
            cells = f"{count}, {side} x {side}, {channels}", name, f"{1e3 * seconds:.2f}", f"{work / seconds / 1e9:.0f}"
            print(f"| {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
