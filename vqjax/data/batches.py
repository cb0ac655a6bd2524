"""The order of a split's examples: batches as a function of (seed, step)."""

import functools
from collections.abc import Iterator

import numpy as np

from vqjax.data.splits import Split


@functools.lru_cache(maxsize=2)
def _order(size: int, epoch: int, seed: int, shuffle: bool) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size) if shuffle else np.arange(size)


def batch_rows(size: int, batch_size: int, step: int, seed: int, shuffle: bool) -> np.ndarray:
    """Rows (batch_size,) of the global batch of a step, counted from 0.

    The epochs follow each other without a gap: a batch may end one and begin the next, and each row comes
    once an epoch.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // size
    rows = [_order(size, int(e), seed, shuffle)[positions[epochs == e] % size] for e in np.unique(epochs)]
    return np.concatenate(rows)


def batches(split: Split, batch_size: int, seed: int, shuffle: bool, start: int = 0) -> Iterator[dict]:
    """Endless global batches from step `start` on.

    Yields dicts of the split's arrays (B, ...) and `example` (B,) int32, the position in the global batch, by which
    noise and augmentation are keyed.
    """
    step = start
    while True:
        rows = batch_rows(len(split), batch_size, step, seed, shuffle)
        yield {**split[rows].arrays, "example": np.arange(batch_size, dtype=np.int32)}
        step += 1


def evaluation_batches(split: Split, batch_size: int) -> Iterator[dict]:
    """The whole split once, in order: batches as above, the last one padded, with `real` (B,) bool for the mask."""
    for start in range(0, len(split), batch_size):
        positions = np.arange(start, start + batch_size)
        rows = split[np.minimum(positions, len(split) - 1)]
        yield {**rows.arrays, "example": positions.astype(np.int32), "real": positions < len(split)}
