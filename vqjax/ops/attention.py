"""Attention in which each query sees the first so many keys: causal, group by group, or over a cache that fills."""

import math

import jax
import jax.numpy as jnp

from vqjax.ops.platforms import by_platform


def attention(q: jax.Array, k: jax.Array, v: jax.Array, visible: jax.Array) -> jax.Array:
    """Return softmax(q kᵀ / sqrt(D)) v over the visible keys (Vaswani et al. 2017, eq. 1), (B, H, N, D).

    The weights of the other keys are exactly 0, and so are the gradients with respect to them. The softmax is float32.

    Args:
      q: queries (B, H, N, D) of H heads.
      k: keys (B, H, M, D).
      v: values (B, H, M, D).
      visible: number of keys that a query sees, at least 1, (N,) or (B, N): those before that number.
    """
    mask = jnp.arange(k.shape[2]) < jnp.asarray(visible)[..., None]  # (N, M) or (B, N, M)
    mask = mask.reshape(-1, 1, *mask.shape[-2:])  # (1 or B, 1, N, M)
    return by_platform(q, k, v, mask, cpu=_products, default=_library)


def _products(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    scores = jnp.einsum("bhnd,bhmd->bhnm", q, k, preferred_element_type=jnp.float32) / math.sqrt(q.shape[-1])
    weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf))
    return jnp.einsum("bhnm,bhmd->bhnd", weights.astype(v.dtype), v)


def _library(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array) -> jax.Array:
    q, k, v = (x.swapaxes(1, 2) for x in (q, k, v))
    return jax.nn.dot_product_attention(q, k, v, mask=mask).swapaxes(1, 2)
