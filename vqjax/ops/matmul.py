"""Products with a matrix of weights, quick on a CPU in their gradients, too."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.ops.platforms import by_platform


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _tall_product(x: jax.Array, weights: jax.Array, precision: Any) -> jax.Array:
    """(..., N, C) @ (..., C, O), of which the weight gradient is quick on a CPU for C > O, too."""
    return jnp.matmul(x, weights, precision=precision)


def _tall_gradients(precision: Any, saved: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, weights = saved

    def wide(x: jax.Array, dy: jax.Array) -> jax.Array:
        # The barrier keeps XLA from making the (C, O) at once, which takes twice as long.
        return jax.lax.optimization_barrier(jnp.matmul(dy.mT, x, precision=precision)).mT

    def plain(x: jax.Array, dy: jax.Array) -> jax.Array:
        return jnp.matmul(x.mT, dy, precision=precision)

    dw = by_platform(x, dy, cpu=wide, default=plain)
    return jnp.matmul(dy, weights.mT, precision=precision), dw


_tall_product.defvjp(
    lambda x, weights, precision: (_tall_product(x, weights, precision), (x, weights)), _tall_gradients
)


def matmul(x: jax.Array, weights: jax.Array, precision: Any = None) -> jax.Array:
    """(..., N, C) @ (..., C, O)."""
    c, o = weights.shape[-2:]
    return _tall_product(x, weights, precision) if c > o else jnp.matmul(x, weights, precision=precision)


def dense(x: jax.Array, weights: jax.Array, precision: Any = None) -> jax.Array:
    """(..., C) @ (C, O), with the positions as rows: in more dimensions a CPU takes its weight gradient in four times
    the time.
    """
    return matmul(x.reshape(-1, x.shape[-1]), weights, precision).reshape(*x.shape[:-1], weights.shape[1])


def _dot_general(x: jax.Array, weights: jax.Array, _: Any, precision: Any = None, **__: Any) -> jax.Array:
    return dense(x, weights, precision)


Dense = functools.partial(nn.Dense, dot_general=_dot_general)  # a linear map of the last axis, by `product`
