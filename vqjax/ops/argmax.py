"""Place of the largest number."""

import jax
import jax.numpy as jnp

from vqjax.ops.platforms import by_platform


def argmax(x: jax.Array) -> jax.Array:
    """Return the place of the largest number along the last axis, the first of equals: (..., K) -> (...) int32."""
    return by_platform(x, cpu=_of_maximum, default=lambda x: jnp.argmax(x, axis=-1))


def _of_maximum(x: jax.Array) -> jax.Array:
    """Find the maximum, then its place. XLA on a CPU would compute what `x` is made of inside argmax, one by one."""
    places, last = jnp.arange(x.shape[-1]), x.shape[-1] - 1
    return jnp.min(jnp.where(x == jnp.max(x, axis=-1, keepdims=True), places, last), axis=-1)
