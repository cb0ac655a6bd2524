"""The order of a split's examples: batches as a function of (seed, step)."""

import functools
from collections.abc import Iterator

import numpy as np

from vqjax.data import streaming
from vqjax.data.splits import Split


@functools.lru_cache(maxsize=2)
def _order(size: int, epoch: int, seed: int, shuffle: bool) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size) if shuffle else np.arange(size)


def process_slice(batch_size: int, process: int = 0, processes: int = 1) -> np.ndarray:
    """The positions in the global batch that one of several processes reads, as many as any other.

    Its devices' share of the batch: process 1 of 2 has the second half.
    """
    return np.arange(process * batch_size // processes, (process + 1) * batch_size // processes)


def batch_rows(
    size: int, batch_size: int, step: int, seed: int, shuffle: bool, process: int = 0, processes: int = 1
) -> np.ndarray:
    """Rows of the global batch of a step, counted from 0: (batch_size,), or the share of one of several processes.

    The epochs follow each other without a gap: a batch may end one and begin the next, and each row comes
    once an epoch.
    """
    positions = step * batch_size + process_slice(batch_size, process, processes)
    epochs = positions // size
    rows = [_order(size, int(e), seed, shuffle)[positions[epochs == e] % size] for e in np.unique(epochs)]
    return np.concatenate(rows)


def batches(
    split: Split,
    batch_size: int,
    seed: int,
    shuffle: bool,
    start: int = 0,
    process: int = 0,
    processes: int = 1,
) -> Iterator[dict]:
    """Endless batches for training from step `start` on: global ones, or the share of one of several processes.

    Yields dicts of the split's arrays (B, ...) and `example` (B,) int32, the position in the global batch, by which
    noise and augmentation are keyed.
    """
    make = functools.partial(_batch, split, batch_size, seed, shuffle, process, processes)
    if split.streamed:
        yield from streaming.prefetch_batches(make, start, num_workers(split))
    step = start
    while True:
        yield make(step)
        step += 1


def num_workers(split: Split) -> int:
    """The processes that a streamed split is decoded by."""
    return max(array.source.workers for array in split.arrays.values() if isinstance(array, streaming.LazyImages))


def _batch(
    split: Split, batch_size: int, seed: int, shuffle: bool, process: int, processes: int, step: int
) -> dict[str, np.ndarray]:
    rows = batch_rows(len(split), batch_size, step, seed, shuffle, process, processes)
    example = process_slice(batch_size, process, processes).astype(np.int32)
    keys = [(seed, step, int(position)) for position in example] if split.streamed else []
    arrays = {
        name: array.take(rows, keys) if isinstance(array, streaming.LazyImages) else array[rows]
        for name, array in split.arrays.items()
    }
    return {**arrays, "example": example}


def evaluation_batches(split: Split, batch_size: int, process: int = 0, processes: int = 1) -> Iterator[dict]:
    """The whole split once, in order: batches as above, the last one padded, with `real` (B,) bool for the mask."""
    for start in range(0, len(split), batch_size):
        positions = start + process_slice(batch_size, process, processes)
        rows = split[np.minimum(positions, len(split) - 1)]
        yield {**rows.arrays, "example": positions.astype(np.int32), "real": positions < len(split)}
