"""Distances between features, a block of rows at a time."""

from collections.abc import Iterator

import numpy as np

_NUMBERS = 2**22  # of a block of distances: 32 MiB
_ROUNDING = 1e-12  # of the squared lengths: what is less far apart lies at the same place


def row_blocks(rows: int, columns: int) -> Iterator[slice]:
    """Yield slices of the rows of a matrix, as many at a time as fit into memory easily."""
    size = max(1, _NUMBERS // columns)
    return (slice(start, min(start + size, rows)) for start in range(0, rows, size))


def squared_distances(x: np.ndarray, y: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield the squared distances of rows of x (N, D) to all of y (M, D), with the slice of those rows."""
    x_lengths, y_lengths = (x**2).sum(1), (y**2).sum(1)
    for rows in row_blocks(len(x), len(y)):
        lengths = x_lengths[rows, None] + y_lengths
        distances = lengths - 2 * x[rows] @ y.T
        distances[distances < _ROUNDING * lengths] = 0
        yield rows, distances


def neighbor_distances(x: np.ndarray, k: int) -> np.ndarray:
    """Return the squared distance of each row of x (N, D) to the k-th nearest of the others, (N,)."""
    distances = np.empty(len(x))
    for rows, block in squared_distances(x, x):
        distances[rows] = np.partition(block, k, axis=1)[:, k]  # copied: a view would keep the block
    return distances


def nearest_distances(x: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return the squared distance of each row of x (N, D) to the nearest of (M, D), (N,)."""
    return np.concatenate([block.min(1) for _, block in squared_distances(x, among)])
