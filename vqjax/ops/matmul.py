"""Products with matrices of weights, whose gradients are quick on a CPU too."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.ops.platforms import by_platform


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _narrowing_product(x: jax.Array, weights: jax.Array, precision: Any) -> jax.Array:
    """(..., N, C) @ (..., C, O) for C > O, where XLA on a CPU takes the weight gradient slowly."""
    return jnp.matmul(x, weights, precision=precision)


def _narrowing_gradients(
    precision: Any, saved: tuple[jax.Array, jax.Array], dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    x, weights = saved

    def transposed(x: jax.Array, dy: jax.Array) -> jax.Array:
        # The barrier keeps XLA from computing (C, O) directly, which takes twice as long as (O, C).
        return jax.lax.optimization_barrier(jnp.matmul(dy.mT, x, precision=precision)).mT

    def direct(x: jax.Array, dy: jax.Array) -> jax.Array:
        return jnp.matmul(x.mT, dy, precision=precision)

    dw = by_platform(x, dy, cpu=transposed, default=direct)
    return jnp.matmul(dy, weights.mT, precision=precision), dw


_narrowing_product.defvjp(
    lambda x, weights, precision: (_narrowing_product(x, weights, precision), (x, weights)), _narrowing_gradients
)


def matmul(x: jax.Array, weights: jax.Array, precision: Any = None) -> jax.Array:
    """Multiply matrices: (..., N, C), (..., C, O) -> (..., N, O)."""
    c, o = weights.shape[-2:]
    return _narrowing_product(x, weights, precision) if c > o else jnp.matmul(x, weights, precision=precision)


def dense(x: jax.Array, weights: jax.Array, precision: Any = None) -> jax.Array:
    """Multiply the last axis by a matrix: (..., C), (C, O) -> (..., O).

    The other axes become one: with several, a CPU takes four times as long for the weight gradient.
    """
    return matmul(x.reshape(-1, x.shape[-1]), weights, precision).reshape(*x.shape[:-1], weights.shape[1])


def _dot_general(x: jax.Array, weights: jax.Array, _: Any, precision: Any = None, **__: Any) -> jax.Array:
    return dense(x, weights, precision)


Dense = functools.partial(nn.Dense, dot_general=_dot_general)  # Flax's linear layer, computed by `dense`
