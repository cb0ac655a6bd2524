"""Parts of a transformer: RMS norm, rotary positions, keys and values, and blocks that attend to them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from vqjax.networks.layers import dropout
from vqjax.ops.attention import attention
from vqjax.ops.keys import fold_in
from vqjax.ops.matmul import Dense

Rotation = tuple[jax.Array, jax.Array]  # cosines and sines (B or 1, 1, N, D / 2)
Memory = tuple[jax.Array, jax.Array]  # keys and values (B, H, M, D)

_SLOWEST = 0.01  # radians that the slowest rotation makes from a row or column to the next; the fastest makes 1


def rms_norm(x: jax.Array) -> jax.Array:
    """Return x (..., F) over its root mean square (Zhang & Sennrich 2019), computed in float32, without a scale."""
    square = jnp.mean(jnp.square(x.astype(jnp.float32)), axis=-1, keepdims=True)
    return (x * jax.lax.rsqrt(square + 1e-6)).astype(x.dtype)


def angles(positions: np.ndarray, size: int) -> np.ndarray:
    """Return the angles (N, D / 2) of positions (N, 2), rows and columns: half of them turn with either."""
    speeds = np.geomspace(1, _SLOWEST, size // 4)
    return (positions[:, :, None] * speeds).reshape(len(positions), -1).astype(np.float32)


def rotate(x: jax.Array, rotation: Rotation) -> jax.Array:
    """Return x (B, H, N, D) with its pairs (i, i + D / 2) rotated (RoFormer, Su et al. 2021, eq. 34)."""
    a, b = jnp.split(x, 2, axis=-1)
    cos, sin = rotation
    return jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)


class KeysAndValues(nn.Module):
    """Keys, normalized and rotated, and values of tokens.

    Attributes:
      width: F, numbers per token.
      heads: H, of D = F / H numbers.
      dtype: of the computation.
    """

    width: int
    heads: int
    dtype: Any

    def setup(self):
        self.project = Dense(2 * self.width, use_bias=False, dtype=self.dtype)

    def __call__(self, x: jax.Array, rotation: Rotation) -> Memory:
        """Return keys and values (B, H, N, D) of tokens x (B, N, F)."""
        both = self.project(rms_norm(x)).reshape(*x.shape[:2], 2 * self.heads, -1).swapaxes(1, 2)
        keys, values = jnp.split(both, 2, axis=1)
        return rotate(rms_norm(keys), rotation), values


class Block(nn.Module):
    """Attention to a memory and an MLP with squared ReLU (So et al. 2021), each added to its input.

    Attributes:
      width: F, numbers per token; the MLP has 4 F inside.
      heads: H, of D = F / H numbers.
      dropout: share of what either adds that is dropped in training.
      dtype: of the computation.
    """

    width: int
    heads: int
    dropout: float
    dtype: Any

    def setup(self):
        zeros = nn.initializers.zeros
        self.query = Dense(self.width, use_bias=False, dtype=self.dtype)
        self.out = Dense(self.width, use_bias=False, kernel_init=zeros, dtype=self.dtype)
        self.up = Dense(4 * self.width, use_bias=False, dtype=self.dtype)
        self.down = Dense(self.width, use_bias=False, kernel_init=zeros, dtype=self.dtype)

    def __call__(
        self, x: jax.Array, memory: Memory, rotation: Rotation, visible: jax.Array, keys: jax.Array | None = None
    ) -> jax.Array:
        """Return tokens (B, N, F) for tokens x (B, N, F).

        Args:
          x: (B, N, F).
          memory: what x attends to.
          rotation: of the queries.
          visible: number of tokens of the memory that each query sees, the first ones, (N,) or (B, N).
          keys: PRNG keys (B,), for dropout.
        """
        queries = self.query(rms_norm(x)).reshape(*x.shape[:2], self.heads, -1).swapaxes(1, 2)
        seen = attention(rotate(rms_norm(queries), rotation), *memory, visible).swapaxes(1, 2).reshape(x.shape)
        x = x + dropout(self.out(seen), self.dropout, fold_in(keys, 0))
        hidden = jnp.square(nn.relu(self.up(rms_norm(x))))
        return x + dropout(self.down(hidden), self.dropout, fold_in(keys, 1))
