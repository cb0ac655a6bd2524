"""Comparison of two sets of images by their features."""

from typing import NamedTuple

import numpy as np

from vqjax.inference.features.bootstrap import Interval
from vqjax.inference.features.frechet import frechet_interval
from vqjax.inference.features.kernels import kernel_interval
from vqjax.inference.features.neighborhoods import neighborhood_intervals

Figures = dict[str, Interval]


class FeatureSet(NamedTuple):
    """Features of a set of images.

    Attributes:
      features: (N, D) float64.
      correct: whether the classifier reads each as its class, (N,) bool; None without classes.
      counts: resamples of the images, (N, R).
    """

    features: np.ndarray
    correct: np.ndarray | None
    counts: np.ndarray


def compare_sets(first: FeatureSet, second: FeatureSet, paired: bool = False) -> Figures:
    """Return the figures of a first set against a second one, of which the row of one belongs to that of the other."""
    arrays = first.features, second.features, first.counts, second.counts
    return {
        "fd_own": frechet_interval(*arrays),
        "kid": kernel_interval(*arrays, paired),
        **neighborhood_intervals(*arrays),
    }
