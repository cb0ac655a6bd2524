"""A device's share of a batch taken in pieces, whose gradients and means are added up.

On a CPU what a piece needs stays in the cache, on a GPU a batch fits that else would not.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from vqjax.core.config import InputError
from vqjax.runs.devices import on_cpu

_POSITIONS = 16 * 32 * 32  # pixels, or codes, of a piece on a CPU, at least: see benchmarks/README.md
_WHOLE = "batch_stats"  # the collection of what takes statistics of the whole batch


def check(microbatch: int, variables: Mapping[str, Any]) -> None:
    """Raises InputError for pieces of what is not linear in the batch, by its variables."""
    if microbatch and _WHOLE in variables:
        raise InputError(
            f"config.microbatch={microbatch}: expected 0, since batch norm takes the statistics of the whole batch"
        )


def number(microbatch: int, share: int, shape: Sequence[int], extra: Mapping[str, Any]) -> int:
    """How many pieces, of equal size, a device's share of a batch is taken in.

    Args:
      microbatch: examples of a piece, at most; 0: chosen.
      share: examples.
      shape: of one of them, as the network takes it: (h, w), (H, W, C), (T, H, W, C).
      extra: the state's; with batch norm it is one piece.
    """
    if _WHOLE in extra:
        return 1
    if microbatch:
        return next(count for count in range(1, share + 1) if not share % count and share // count <= microbatch)
    if not on_cpu():
        return 1
    positions = share * math.prod(shape[:-1] if len(shape) > 2 else shape)
    fitting = max(1, positions // _POSITIONS)
    return max(count for count in range(1, min(fitting, share) + 1) if not share % count)


def mean(function: Callable[[Any], tuple[Any, Any]], batch: Any, count: int) -> tuple[Any, Any]:
    """What a function gives for a batch, by its pieces.

    Args:
      function: a batch -> (a tree of means over it, a tree of its rows).
      batch: a tree of arrays (B, ...).
      count: of the pieces; it divides B.

    Returns:
      The means over the batch, and the rows, (B, ...).
    """
    if count == 1:
        return function(batch)
    batch = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, jax.tree.map(lambda x: x[0], batch))[0])

    def add(sums: Any, piece: Any) -> tuple[Any, Any]:
        means, rows = function(piece)
        return jax.tree.map(jnp.add, sums, means), rows

    sums, rows = jax.lax.scan(add, zeros, batch)
    means = jax.tree.map(lambda x: x / count, sums)
    return means, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
