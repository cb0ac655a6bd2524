"""A device's share of a batch taken in pieces, whose gradients and means are added up.

On a CPU what a piece needs stays with the process, and much of it in the cache; on a GPU a batch fits that else would
not.
"""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, jaxprs_in_params

from vqjax.ops.platforms import on_cpu
from vqjax.runs.state import num_bytes
from vqjax.system.errors import InputError

_BYTES = 2**26  # of the products of a piece on a CPU, at most: see benchmarks/README.md
_PRODUCTS = "dot_general", "conv_general_dilated"
_WHOLE = "batch_stats"  # the collection of what takes statistics of the whole batch


def check_microbatch(microbatch: int, variables: Mapping[str, Any]) -> None:
    """Raises InputError for pieces of what is not linear in the batch, by its variables."""
    if microbatch and _WHOLE in variables:
        raise InputError(
            f"config.microbatch={microbatch}: expected 0, since batch norm takes the statistics of the whole batch"
        )


def num_microbatches(
    microbatch: int, function: Callable[[Any], Any], batch: Mapping[str, Any], extra: Mapping[str, Any]
) -> int:
    """How many pieces, of equal size, a device's share of a batch is taken in.

    Args:
      microbatch: examples of a piece, at most; 0: chosen, by what the function's products and convolutions give.
      function: jitted, of a batch; no matter what it gives.
      batch: a device's share, a dict of arrays (B, ...).
      extra: the state's; with batch norm it is one piece.
    """
    if _WHOLE in extra:
        return 1
    share = len(next(iter(batch.values())))
    if microbatch:
        fewest = -(-share // microbatch)
    elif on_cpu():
        fewest = min(-(-_products(jax.make_jaxpr(function)(batch).jaxpr) // _BYTES), share)
    else:
        return 1
    return next(count for count in range(max(fewest, 1), share + 1) if not share % count)


def _products(jaxpr: Jaxpr) -> int:
    """Bytes of what its products and convolutions give."""
    results = [var.aval for equation in jaxpr.eqns if equation.primitive.name in _PRODUCTS for var in equation.outvars]
    inner = (each for equation in jaxpr.eqns for each in jaxprs_in_params(equation.params))
    return num_bytes(results) + sum(map(_products, inner))


def microbatched(function: Callable[[Any], tuple[Any, Any]], batch: Any, count: int) -> tuple[Any, Any]:
    """What a function gives for a batch, by its pieces.

    Args:
      function: jitted, a batch -> (a tree of means over it, a tree of its rows).
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
