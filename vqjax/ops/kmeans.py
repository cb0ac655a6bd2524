"""k-means, whose centers a codebook starts from."""

import math

import jax
import numpy as np

from vqjax.ops.search import nearest_codes
from vqjax.system.errors import InputError

_MAX_ONE_BY_ONE = 1_024  # centers for which seeds drawn one by one take a second or two
_DRAWS = 16  # in which the seeds of more centers are drawn
_MAX_ROUNDS = 20
_search = jax.jit(nearest_codes)
_DISTANCES_PER_CALL = 2**27  # a second or so, after which Python looks for Ctrl-C
_MAX_NUMPY_DISTANCES = 2**20  # NumPy computes them, in all rounds, in less time than the search takes to compile


def kmeans(vectors: np.ndarray, num_codes: int, seed: int) -> np.ndarray:
    """Return the centers of Lloyd's algorithm: vectors (N, D), N >= K -> (K, D) float32.

    The seeds are far from each other: up to 1,024 are drawn one by one (`_draw_one_by_one`), more in a few draws
    (`_draw_together`). The work of a round grows with K N, so more than 8,192 codes take fewer rounds. A center that
    loses all its vectors moves to one of the vectors that are farthest from theirs. Sums are computed on the host,
    where their order is fixed.

    Args:
      vectors: (N, D).
      num_codes: K.
      seed: of the draws.

    Raises:
      InputError: a vector is not finite.
    """
    vectors = np.asarray(vectors, np.float32)
    if not (finite := np.isfinite(vectors).all(1)).all():
        raise InputError(f"k-means: expected finite vectors, {np.sum(~finite):,} of {len(finite):,} are not")
    draw = _draw_one_by_one if num_codes <= _MAX_ONE_BY_ONE else _draw_together
    centers = vectors[draw(vectors, num_codes, np.random.default_rng(seed))]
    previous_codes = np.empty(0)
    for _ in range(max(1, _MAX_ROUNDS * 8_192 // max(num_codes, 8_192))):
        codes = _nearest(vectors, centers)
        if np.array_equal(codes, previous_codes):
            break
        previous_codes = codes
        order = np.argsort(codes, kind="stable")
        used, first, counts = np.unique(codes[order], return_index=True, return_counts=True)
        errors = _errors(vectors, centers, codes)
        centers[used] = np.add.reduceat(vectors[order], first) / counts[:, None]
        unused = np.setdiff1d(np.arange(num_codes), used)
        centers[unused] = vectors[np.argsort(-errors, kind="stable")[: len(unused)]]
    return centers


def _draw_one_by_one(vectors: np.ndarray, num_codes: int, rng: np.random.Generator) -> np.ndarray:
    """Draw rows of vectors (N, D) as seeds, (K,): the likelier the farther from the seeds so far, as in k-means++.

    Each is the one of 2 + ln K draws that leaves the least error (Arthur and Vassilvitskii 2007, conclusion).
    """
    vectors = vectors - vectors.mean(0)
    squares, trials = (vectors**2).sum(1), 2 + int(math.log(num_codes))

    def distances(rows: np.ndarray) -> np.ndarray:  # (L,) -> (L, N), squared
        return np.maximum(squares - 2 * vectors[rows] @ vectors.T + squares[rows, None], 0)

    seeds = rng.integers(len(vectors), size=1)
    errors = distances(seeds)[0]
    while len(seeds) < num_codes:
        cumulated = errors.cumsum(dtype=np.float64)
        drawn = np.searchsorted(cumulated, cumulated[-1] * rng.random(trials)).clip(max=len(vectors) - 1)
        errors_with = np.minimum(errors, distances(drawn))
        best = errors_with.sum(1).argmin()
        errors, seeds = errors_with[best], np.append(seeds, drawn[best])
    return seeds


def _draw_together(vectors: np.ndarray, num_codes: int, rng: np.random.Generator) -> np.ndarray:
    """Draw rows of vectors (N, D) as seeds, (K,), all different.

    As in k-means++ (Arthur and Vassilvitskii 2007) a row is the likelier the farther it is from the seeds so far, but
    many are drawn at a time, as in k-means|| (Bahmani et al. 2012).
    """
    per_draw, errors = -(-num_codes // _DRAWS), np.full(len(vectors), np.inf)
    seeds = rng.permutation(len(vectors))[:per_draw]
    while (missing := num_codes - len(seeds)) > 0:
        latest = vectors[seeds[-per_draw:]]
        errors = np.minimum(errors, _errors(vectors, latest, _nearest(vectors, latest)))
        weights = errors + (errors.mean() * 1e-6 or 1.0)  # so that copies of seeds can be drawn when all else is
        weights[seeds] = 0
        drawn = rng.choice(len(vectors), min(per_draw, missing), replace=False, p=weights / weights.sum())
        seeds = np.concatenate([seeds, drawn])
    return seeds


def _errors(vectors: np.ndarray, centers: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Squared distance of each vector from its center, (N,)."""
    squares: np.ndarray = (vectors - centers[codes]) ** 2
    return squares.sum(1, dtype=np.float64)


def _nearest(vectors: np.ndarray, centers: np.ndarray) -> np.ndarray:
    """Number of the nearest center of each vector: (N, D), (K, D) -> (N,)."""
    if len(vectors) * len(centers) <= _MAX_NUMPY_DISTANCES:
        offset = centers.mean(0)  # far from the origin the squares would round distances away
        vectors, centers = vectors - offset, centers - offset
        return np.argmin((centers**2).sum(1) - 2 * vectors @ centers.T, axis=1)
    on_device, size = jax.device_put(centers), max(1, _DISTANCES_PER_CALL // len(centers))
    batches = np.split(vectors, range(size, len(vectors), size))
    return np.concatenate([np.asarray(_search(batch, on_device)) for batch in batches])
