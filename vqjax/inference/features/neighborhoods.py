"""Figures of nearest neighbors among features.

A neighborhood of a set is a ball around one of its images, as far as the k-th nearest of its others; what lies on the
boundary is outside, as in the package `prdc`. Resamples are of the images that are asked about; the neighborhoods
stay.

- precision: share of the first set in a neighborhood of the second; recall: share of the second in one of the first
  (Kynkäänniemi et al. 2019, arXiv 1904.06991)
- density: neighborhoods of the second set that an image of the first is in, divided by k; coverage: share of the
  second set's neighborhoods that have one of the first in them (Naeem et al. 2020, arXiv 2002.09797)
"""

import numpy as np

from vqjax.inference.features.bootstrap import Interval, interval, share_interval
from vqjax.inference.features.distances import neighbor_distances, squared_distances

NEIGHBORS = 5  # k


def neighborhood_intervals(
    first: np.ndarray,
    second: np.ndarray,
    first_counts: np.ndarray,
    second_counts: np.ndarray,
    k: int = NEIGHBORS,
) -> dict[str, Interval]:
    """Return precision, recall, density and coverage of features (N, D) against (M, D), N and M above k."""
    first_radii, second_radii = neighbor_distances(first, k), neighbor_distances(second, k)
    within = np.empty(len(first))
    recalled, covered = np.zeros(len(second), bool), np.zeros(len(second), bool)
    for rows, distances in squared_distances(first, second):
        inside = distances < second_radii
        within[rows] = inside.sum(1)
        covered |= inside.any(0)
        recalled |= (distances < first_radii[rows, None]).any(0)
    return {
        "precision": share_interval(within > 0, first_counts),
        "recall": share_interval(recalled, second_counts),
        "density": share_interval(within / k, first_counts, np.inf),
        "coverage": share_interval(covered, second_counts),
    }


def memorization_interval(
    samples: np.ndarray, test: np.ndarray, sample_counts: np.ndarray, test_counts: np.ndarray
) -> Interval:
    """Return how often a sample is nearer to its nearest training image than a test image is to its own.

    Over all pairs of a sample and a test image, ties counted half: 0.5 where samples lie as test images do, 1 if all
    are copies (the statistic of Meehan et al. 2020, arXiv 2004.05675, as a share).

    Args:
      samples, test: distances to the nearest training image, (N,) and (M,).
      sample_counts, test_counts: resamples of both, (N, R) and (M, R).
    """
    order = np.argsort(test)
    counts = np.column_stack([np.ones(len(test)), test_counts])[order]
    below = np.concatenate([np.zeros((1, counts.shape[1])), counts.cumsum(0)])  # test images among the first so many
    left, right = (np.searchsorted(test[order], samples, side) for side in ("left", "right"))  # type: ignore[call-overload]
    shares = 1 - (below[left] + below[right]) / (2 * len(test))  # of test images that are further away
    weights = np.column_stack([np.ones(len(samples)), sample_counts])
    values = (weights * shares).sum(0) / len(samples)
    return interval(values[0], values[1:], 0.0, 1.0)
