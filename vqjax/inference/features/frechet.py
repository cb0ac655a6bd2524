"""Fréchet distance of two sets of features (Heusel et al. 2017, arXiv 1706.08500), which is called FD-own here.

The features are those of the project's own classifier, so that it compares with no published FID.
"""

import numpy as np

from vqjax.inference.features.bootstrap import Interval, interval

Gaussian = tuple[np.ndarray, np.ndarray]  # mean (D,), covariance (D, D)


def fit_gaussian(features: np.ndarray, counts: np.ndarray | None = None) -> Gaussian:
    """Return the mean and the unbiased covariance of features (N, D), each as often as counts (N,) say, or once."""
    if counts is None:
        counts = np.ones(len(features))
    drawn = counts > 0  # of a resample two thirds
    features, counts = features[drawn], counts[drawn]
    mean = counts @ features / counts.sum()
    scaled = (features - mean) * np.sqrt(counts)[:, None]
    return mean, scaled.T @ scaled / (counts.sum() - 1)


def frechet_distance(first: Gaussian, second: Gaussian) -> float:
    """Return |m1 - m2|² + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of two Gaussians.

    The last trace is that of the square root of R' C2 R, where C1 = R R'. That matrix is symmetric: its eigenvalues are
    real and, but for rounding, not negative, also where a covariance is singular.
    """
    (mean1, covariance1), (mean2, covariance2) = first, second
    root = _root(covariance1)
    product = root.T @ covariance2 @ root
    shared = np.sqrt(np.linalg.eigvalsh((product + product.T) / 2).clip(0)).sum()
    distance = ((mean1 - mean2) ** 2).sum() + np.trace(covariance1) + np.trace(covariance2) - 2 * shared
    return max(0.0, float(distance))


def _root(covariance: np.ndarray) -> np.ndarray:
    """Return R with R R' = covariance."""
    try:
        return np.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:  # it is singular
        values, vectors = np.linalg.eigh(covariance)
        return vectors * np.sqrt(values.clip(0))


def frechet_interval(
    first: np.ndarray, second: np.ndarray, first_counts: np.ndarray, second_counts: np.ndarray
) -> Interval:
    """Return the distance of features (N, D) and (M, D), and its interval over resamples of both."""
    value = frechet_distance(fit_gaussian(first), fit_gaussian(second))
    replicates = [
        frechet_distance(fit_gaussian(first, ours), fit_gaussian(second, theirs))
        for ours, theirs in zip(first_counts.T, second_counts.T)
    ]
    return interval(value, np.array(replicates), 0.0)
