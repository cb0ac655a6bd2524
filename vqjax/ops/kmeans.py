"""k-means, from which a codebook starts."""

import math

import jax
import numpy as np

from vqjax.ops.search import nearest_codes
from vqjax.system.errors import InputError

_FEW = 1_024  # codes whose seeds are found one by one in a second or two
_ROUNDS = 20
_SEEDINGS = 16  # draws, one after the other, in which many start
_search = jax.jit(nearest_codes)
_DISTANCES = 2**27  # that are made between two looks at Ctrl-C
_SMALL = 2**20  # as many NumPy makes, round after round, in less time than the search takes to compile


def kmeans(vectors: np.ndarray, num_codes: int, seed: int) -> np.ndarray:
    """The centres (K, D) of Lloyd's algorithm over vectors (N, D), N >= K, by the codebook's search where it pays.

    From seeds far from each other: see `_one_by_one` and, for more than 1,024, `_many_at_once`. The more codes, the
    fewer rounds, whose work grows with K N. A centre that loses its vectors moves to one of those that are farthest
    from theirs. The sums are made on the host, where their order is fixed, and in Python between calls of a second or
    so, so that Ctrl-C is heeded. Raises InputError if a vector is not finite.
    """
    vectors = np.asarray(vectors, np.float32)
    if not (fit := np.isfinite(vectors).all(1)).all():
        raise InputError(f"k-means: expected finite vectors, {np.sum(~fit):,} of {len(fit):,} are not")
    seeds = _one_by_one if num_codes <= _FEW else _many_at_once
    centres = vectors[seeds(vectors, num_codes, np.random.default_rng(seed))]
    before = np.empty(0)
    for _ in range(max(1, _ROUNDS * 8_192 // max(num_codes, 8_192))):
        codes = _nearest(vectors, centres)
        if np.array_equal(codes, before):
            break
        before = codes
        order = np.argsort(codes, kind="stable")
        used, first, counts = np.unique(codes[order], return_index=True, return_counts=True)
        errors = _errors(vectors, centres, codes)
        centres[used] = np.add.reduceat(vectors[order], first) / counts[:, None]
        lost = np.setdiff1d(np.arange(num_codes), used)
        centres[lost] = vectors[np.argsort(-errors, kind="stable")[: len(lost)]]
    return centres


def _one_by_one(vectors: np.ndarray, num_codes: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of vectors (N, D) to start from, (K,): the likelier the farther from those before, as in k-means++.

    Of 2 + ln K that are drawn it is the one that leaves the least error (Arthur and Vassilvitskii, 2007, section 5).
    """
    vectors = vectors - vectors.mean(0)
    squares, trials = (vectors**2).sum(1), 2 + int(math.log(num_codes))

    def errors(rows: np.ndarray) -> np.ndarray:  # (L,) -> (L, N)
        return np.maximum(squares - 2 * vectors[rows] @ vectors.T + squares[rows, None], 0)

    seeds = rng.integers(len(vectors), size=1)
    weights = errors(seeds)[0]
    while len(seeds) < num_codes:
        until = weights.cumsum(dtype=np.float64)
        drawn = np.searchsorted(until, until[-1] * rng.random(trials)).clip(max=len(vectors) - 1)
        left = np.minimum(weights, errors(drawn))
        best = left.sum(1).argmin()
        weights, seeds = left[best], np.append(seeds, drawn[best])
    return seeds


def _many_at_once(vectors: np.ndarray, num_codes: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of vectors (N, D) to start from, (K,), all different.

    The likelier the farther from those that are drawn before, as in k-means++ (Arthur and Vassilvitskii, 2007), but
    not one by one: a share of them at a time, as in k-means|| (Bahmani et al., 2012).
    """
    share, weights = -(-num_codes // _SEEDINGS), np.full(len(vectors), np.inf)
    seeds = rng.permutation(len(vectors))[:share]
    while (missing := num_codes - len(seeds)) > 0:
        latest = vectors[seeds[-share:]]
        weights = np.minimum(weights, _errors(vectors, latest, _nearest(vectors, latest)))
        chances = weights + (weights.mean() * 1e-6 or 1.0)  # copies of those that are drawn have their turn too
        chances[seeds] = 0
        drawn = rng.choice(len(vectors), min(share, missing), replace=False, p=chances / chances.sum())
        seeds = np.concatenate([seeds, drawn])
    return seeds


def _errors(vectors: np.ndarray, centres: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Each vector's squared distance from its centre, (N,)."""
    squares: np.ndarray = (vectors - centres[codes]) ** 2
    return squares.sum(1, dtype=np.float64)


def _nearest(vectors: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The number of each vector's centre: (N, D), (K, D) -> (N,)."""
    if len(vectors) * len(centres) <= _SMALL:
        offset = centres.mean(0)  # far from the origin distances would be lost in the rounding of the squares
        vectors, centres = vectors - offset, centres - offset
        return np.argmin((centres**2).sum(1) - 2 * vectors @ centres.T, axis=1)
    on_device, size = jax.device_put(centres), max(1, _DISTANCES // len(centres))
    parts = np.split(vectors, range(size, len(vectors), size))
    return np.concatenate([np.asarray(_search(part, on_device)) for part in parts])
