"""k-means, from which a codebook starts."""

import warnings

import numpy as np


def kmeans(vectors: np.ndarray, num_codes: int, seed: int) -> np.ndarray:
    """The centres (K, D) of Lloyd's algorithm with k-means++ seeds over vectors (N, D), N >= K.

    On one thread, because scikit-learn adds its threads' partial sums in the order in which they finish.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct vectors than codes: restart mends it
        return KMeans(num_codes, n_init=1, max_iter=20, random_state=seed).fit(vectors).cluster_centers_
