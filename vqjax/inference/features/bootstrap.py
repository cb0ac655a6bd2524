"""Bootstrap intervals of figures."""

from typing import NamedTuple

import numpy as np

RESAMPLES = 200
_SHARE = 0.95  # of the resamples that an interval holds


class Interval(NamedTuple):
    """A figure and its 95 % interval.

    Attributes:
      value: of all images.
      low, high: bounds of the interval.
    """

    value: float
    low: float
    high: float


def resample_counts(size: int, rng: np.random.Generator, resamples: int = RESAMPLES) -> np.ndarray:
    """Draw resamples of a set with replacement: how often each of its images is in each, (size, resamples)."""
    drawn: np.ndarray = rng.multinomial(size, np.full(size, 1 / size), size=resamples).T
    return drawn.astype(np.float64)


def interval(value: float, replicates: np.ndarray, lowest: float = -np.inf, highest: float = np.inf) -> Interval:
    """Return a figure with the quantiles of its resamples, shifted so that their mean is the figure.

    Without the shift a Fréchet distance would lie below its own interval: a resample has images twice, which adds to
    it what a smaller set would.

    Args:
      value: of all images.
      replicates: of the resamples.
      lowest, highest: values that the figure can have.
    """
    bounds = np.quantile(replicates, [(1 - _SHARE) / 2, (1 + _SHARE) / 2]) + value - replicates.mean()
    low, high = np.clip(bounds, lowest, highest)
    return Interval(float(value), float(low), float(high))


def share_interval(values: np.ndarray, counts: np.ndarray, highest: float = 1.0) -> Interval:
    """Return the mean of what each image has, (N,), and its interval over resamples (N, R)."""
    values = np.asarray(values, np.float64)
    return interval(values.mean(), values @ counts / len(values), 0.0, highest)
