"""Codes as one sequence of tokens, in which each codebook has numbers of its own.

Each depth of a level is a codebook: those of the first level come first, depth 0 first. With a single codebook tokens
are codes.
"""

import math
from collections.abc import Mapping

import numpy as np

from vqjax.codes import CodeLayout


def codebook_offsets(layout: CodeLayout) -> dict[str, list[int]]:
    """Return the first token of each codebook: {level's name: one for each depth}."""
    offsets, first = {}, 0
    for level in layout.levels:
        offsets[level.name] = [first + depth * level.num_codes for depth in range(level.depth)]
        first += level.depth * level.num_codes
    return offsets


def num_tokens(layout: CodeLayout) -> int:
    """Number of tokens of all codebooks together."""
    return sum(level.depth * level.num_codes for level in layout.levels)


def to_tokens(layout: CodeLayout, arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return codes by the names of the layout as tokens (N, L), level after level, each in raster order."""
    codes: np.ndarray = layout.flatten(layout.join(arrays))
    if layout.single:
        return codes
    return codes.astype(np.min_scalar_type(num_tokens(layout) - 1)) + _offsets(layout)


def from_tokens(layout: CodeLayout, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """Return tokens (N, L) as codes by the names of the layout.

    Raises ValueError if a token is none of the codebook of its place.
    """
    offsets = _offsets(layout).astype(np.int64)
    low, high = tokens.min(axis=0), tokens.max(axis=0)
    wrong = np.flatnonzero((low < offsets) | (high - offsets >= layout.num_codes))
    if len(wrong):
        place, first = wrong[0], offsets[wrong[0]]
        raise ValueError(
            f"code {place} of an image is from {low[place]} to {high[place]}, expected {first} to "
            f"{first + layout.num_codes[place] - 1}"
        )
    arrays: dict[str, np.ndarray] = layout.split(layout.unflatten(tokens - offsets if not layout.single else tokens))
    if layout.single:
        return arrays
    return {name: array.astype(layout.names[name].dtype) for name, array in arrays.items()}


def _offsets(layout: CodeLayout) -> np.ndarray:
    """First token of the codebook of each place, (L,)."""
    parts = [
        np.tile(np.array(offsets), math.prod(level.grid))  # the depths of a position stand side by side
        for level, offsets in zip(layout.levels, codebook_offsets(layout).values())
    ]
    return np.concatenate(parts).astype(np.min_scalar_type(num_tokens(layout) - 1))
