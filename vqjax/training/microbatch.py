"""Microbatches: a device's part of a batch taken in pieces, whose gradients and means are added up.

On a CPU, freed memory is reused between the pieces, and much of it stays in the cache. On a GPU this fits batches that
would otherwise run out of memory.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, jaxprs_in_params

from vqjax.ops.platforms import on_cpu, trace_for
from vqjax.runs.state import num_bytes
from vqjax.system.errors import InputError

_MAX_BYTES = 2**26  # of the products of a microbatch on a CPU: see benchmarks/README.md
_PRODUCTS = "dot_general", "conv_general_dilated"
_BATCH_NORM = "batch_stats"  # the collection of what takes statistics of the whole batch


def check_microbatch(microbatch: int, variables: Iterable[str]) -> None:
    """Raise InputError for microbatches of a model that is not linear in the batch, by its collections."""
    if microbatch and _BATCH_NORM in variables:
        raise InputError(
            f"config.microbatch={microbatch}: expected 0, since batch norm takes the statistics of the whole batch"
        )


def num_microbatches(
    microbatch: int, size: int, variables: Iterable[str], gradients: Callable, arguments: tuple[Any, ...]
) -> int:
    """Number of microbatches, of equal size, that a device's part of a batch is taken in.

    Args:
      microbatch: examples of one, at most; 0: chosen, on a CPU by the bytes of the products in the gradients.
      size: examples of a device.
      variables: names of the model's collections; with batch norm it is one.
      gradients: a function of one device that gives the gradients, traced only.
      arguments: of that, as shapes.
    """
    if _BATCH_NORM in variables:
        return 1
    if microbatch:
        fewest = -(-size // microbatch)
    elif on_cpu():
        jaxpr = jax.make_jaxpr(trace_for(jax.devices()[0], gradients))(*arguments).jaxpr
        fewest = min(-(-_product_bytes(jaxpr) // _MAX_BYTES), size)
    else:
        return 1
    return next(count for count in range(max(fewest, 1), size + 1) if not size % count)


def _product_bytes(jaxpr: Jaxpr) -> int:
    """Bytes of the results of a program's products and convolutions."""
    results = [var.aval for equation in jaxpr.eqns if equation.primitive.name in _PRODUCTS for var in equation.outvars]
    inner = (part for equation in jaxpr.eqns for part in jaxprs_in_params(equation.params))
    return num_bytes(results) + sum(map(_product_bytes, inner))


def microbatched(function: Callable[[Any], tuple[Any, Any]], batch: Mapping[str, Any], count: int) -> tuple[Any, Any]:
    """Apply a function to a batch, microbatch by microbatch.

    Args:
      function: jitted, a batch -> (a tree of means over it, a tree of its rows).
      batch: arrays (B, ...).
      count: of the microbatches; it divides B.

    Returns:
      The means over the batch, and the rows, (B, ...).
    """
    if count == 1:
        return function(batch)
    parts = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), batch)
    zeros = jax.tree.map(jnp.zeros_like, jax.eval_shape(function, jax.tree.map(lambda x: x[0], parts))[0])

    def add(sums: Any, part: Any) -> tuple[Any, Any]:
        means, rows = function(part)
        return jax.tree.map(jnp.add, sums, means), rows

    sums, rows = jax.lax.scan(add, zeros, parts)
    means = jax.tree.map(lambda x: x / count, sums)
    return means, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), rows)
