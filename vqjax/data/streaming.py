"""Sets that are not held in memory: images decoded batch by batch, ahead of the step."""

import collections
import concurrent.futures
import functools
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from vqjax.data.workers import worker_batches

_AHEAD = 2  # batches that are made before they are asked for


class Source(Protocol):
    """Where the images of a split lie. It travels to the processes that decode.

    Attributes:
      shape: (H, W, C) of an image.
      workers: processes that decode batches of training; 0: threads of this one.
    """

    shape: tuple[int, int, int]
    workers: int

    def decode(self, row: int, rng: np.random.Generator | None = None) -> np.ndarray:
        """An image, uint8 (H, W, C); with `rng`, augmented in the way that only a decoder can."""


class RandomCropSource:
    """Images that are held larger than they are used; see `Source`."""

    workers = 0

    def __init__(self, images: np.ndarray, shape: tuple[int, int, int]):
        """`images` (N, H', W', C) are used as `shape` (H, W, C): a window at random, else the middle."""
        self.shape, self._images = shape, images
        self._room = images.shape[1] - shape[0], images.shape[2] - shape[1]

    def decode(self, row: int, rng: np.random.Generator | None = None) -> np.ndarray:
        top, left = (rng.integers(0, room + 1) if rng else room // 2 for room in self._room)
        return self._images[row, top : top + self.shape[0], left : left + self.shape[1]]


class LazyImages:
    """Images (N, H, W, C) uint8 of which the rows that are asked for are decoded; slices are not.

    Attributes:
      source: of the images.
      rows: (N,) which of the source's they are.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, source: Source, rows: np.ndarray):
        self.source, self.rows = source, rows

    @property
    def shape(self) -> tuple[int, int, int, int]:
        return len(self.rows), *self.source.shape

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: Any) -> Any:
        if isinstance(rows, slice):
            return LazyImages(self.source, self.rows[rows])
        return self.source.decode(int(self.rows[rows])) if np.ndim(rows) == 0 else self.take(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.take(np.arange(len(self))), dtype)

    def take(self, rows: Sequence[int] | np.ndarray, keys: Sequence[tuple[int, ...]] | None = None) -> np.ndarray:
        """The images of rows (B,), decoded, (B, H, W, C); with a key for each, augmented by it."""
        generators = [np.random.default_rng(key) for key in keys] if keys else [None] * len(rows)
        found = np.empty((len(rows), *self.source.shape), np.uint8)

        def fill(at: int) -> None:
            found[at] = self.source.decode(int(self.rows[rows[at]]), generators[at])

        for _ in parallel_map(fill, range(len(rows))):
            pass
        return found


def parallel_map(function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
    """The results of a function on each item, in order, on all cores: of threads, for Pillow lets go of the lock."""
    alone = multiprocessing.parent_process() is not None or len(items) < 2  # one of several processes already
    return map(function, items) if alone else _threads().map(function, items)


@functools.cache
def _threads() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(os.cpu_count(), "decode")


def prefetch_batches(make: Callable[[int], dict], start: int, workers: int) -> Iterator[dict]:
    """Yield make(start), make(start + 1), …, made ahead of their reader; the same whatever the number of processes.

    Args:
      make: a step -> its batch; pickled for the processes.
      start: first step.
      workers: number of processes; 0: a thread of this one.
    """
    yield from worker_batches(make, start, workers) if workers else _thread_batches(make, start)


def _thread_batches(make: Callable[[int], dict], start: int) -> Iterator[dict]:
    with concurrent.futures.ThreadPoolExecutor(1, "prefetch") as thread:
        pending = collections.deque(thread.submit(make, start + step) for step in range(_AHEAD))
        try:
            for step in itertools.count(start + _AHEAD):
                batch = pending.popleft().result()
                pending.append(thread.submit(make, step))
                yield batch
        finally:
            thread.shutdown(cancel_futures=True)
