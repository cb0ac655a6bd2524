"""Functions applied to all examples of a split, on all devices of this process."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from vqjax.data.batches import evaluation_batches
from vqjax.data.splits import Split
from vqjax.runs.devices.counts import round_up_to_devices
from vqjax.runs.devices.layouts import PARALLEL

_BATCH = 256  # images that go through networks together, fewer if they are large
_PIXELS = 2**20  # of those images together


def images_at_a_time(shape: tuple[int, ...]) -> int:
    """Return how many images (H, W, C), or clips (T, H, W, C), may go through networks together."""
    return min(_BATCH, max(1, _PIXELS // math.prod(shape[:-1])))


class Mapper:
    """Applies functions to all examples of a split, on all devices of this process.

    A function is compiled once for each batch size. The sizes are powers of two up to the one that is asked for,
    rounded up to the devices.
    """

    def __init__(self, fixed: Any, how: str):
        """Args:
        fixed: the first argument of the functions, on the host.
        how: an entry of PARALLEL.
        """
        self._program = PARALLEL[how](jax.local_devices())
        self._fixed, self._compiled = self._program.replicate(fixed), dict[Callable, Callable]()

    def parts(self, function: Callable, split: Split, batch_size: int, title: str) -> Iterator[Any]:
        """Yield the results of a function batch by batch, in order, with a progress bar if it takes long.

        Args:
          function: (fixed, batch) -> a tree of arrays with the batch's leading axis.
          split: of N examples, 1 or more.
          batch_size: maximum number of examples at a time, before rounding.
          title: of the progress bar.

        Yields:
          Trees of NumPy arrays, of N examples together.
        """
        program = self._program
        if function not in self._compiled:
            self._compiled[function] = program.compile(function, sharded=True)
        compiled, size = self._compiled[function], min(batch_size, 1 << (len(split) - 1).bit_length())
        with tqdm(total=len(split), desc=title, unit=" images", disable=None, delay=2) as progress:
            for batch in evaluation_batches(split, round_up_to_devices(size)):
                results = program.gather(compiled(self._fixed, program.shard(batch)))
                yield jax.tree.map(lambda x, real=batch["real"]: x[real], results)
                progress.update(int(batch["real"].sum()))

    def __call__(self, function: Callable, split: Split, batch_size: int, title: str) -> Any:
        """Return all results of `parts` as one tree of NumPy arrays of N examples."""
        parts = list(self.parts(function, split, batch_size, title))
        return jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


def map_split(function: Callable, fixed: Any, split: Split, batch_size: int, how: str, title: str) -> Any:
    """Apply one function to a split, once; the arguments are those of `Mapper` and of its call."""
    return Mapper(fixed, how)(function, split, batch_size, title)
