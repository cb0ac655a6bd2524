"""Kernel distance of two sets of features, KID (Bińkowski et al. 2018, arXiv 1801.01401)."""

import numpy as np

from vqjax.inference.features.bootstrap import Interval, interval
from vqjax.inference.features.distances import row_blocks


def kernel_interval(
    first: np.ndarray, second: np.ndarray, first_counts: np.ndarray, second_counts: np.ndarray, paired: bool = False
) -> Interval:
    """Return the unbiased squared MMD of features (N, D) and (M, D), kernel (x·y / D + 1)³, and its interval.

    It is made of all pairs at once, not of subsets, and may be negative. No image is paired with itself, also where a
    resample has it twice; of sets that are `paired`, row by row, none with its own counterpart either (the form of
    Gretton et al. 2012, eq. 4), as the two are not independent.
    """
    ours, theirs = (np.column_stack([np.ones(len(counts)), counts]) for counts in (first_counts, second_counts))
    within = _mean_kernel(first, first, ours, ours, True) + _mean_kernel(second, second, theirs, theirs, True)
    values = within - 2 * _mean_kernel(first, second, ours, theirs, paired)
    return interval(values[0], values[1:])


def _mean_kernel(x: np.ndarray, y: np.ndarray, x_weights: np.ndarray, y_weights: np.ndarray, apart: bool) -> np.ndarray:
    """Return the mean of the kernel over pairs of rows of x (N, D) and y (M, D), for each column of weights, (R,).

    Pairs of rows of the same number are left out if the rows are to be `apart`.
    """
    totals = np.zeros(x_weights.shape[1])
    for rows in row_blocks(len(x), len(y)):
        kernel = x[rows] @ y.T / x.shape[1] + 1
        kernel *= kernel * kernel  # many times faster than ** 3
        if apart:
            kernel[np.arange(len(kernel)), np.arange(rows.start, rows.stop)] = 0
        totals += (x_weights[rows] * (kernel @ y_weights)).sum(0)
    pairs = x_weights.sum(0) * y_weights.sum(0)
    if apart:
        pairs -= (x_weights * y_weights).sum(0)
    means: np.ndarray = totals / pairs
    return means
