"""Layer of a gated PixelCNN (van den Oord et al. 2016, arXiv 1606.05328)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.networks.layers import dropout, get_or_create_param
from vqjax.ops.conv import conv_valid
from vqjax.ops.matmul import Dense

REACH = 3  # rows above, and columns to either side, that the first layer sees: 7 x 7 under mask A


def pad(x: jax.Array, top: int, left: int, right: int) -> jax.Array:
    """Pad images (B, h, w, C) with zeros above, left and right."""
    return jnp.pad(x, ((0, 0), (top, 0), (left, right), (0, 0)))


class _Window(nn.Module):
    """Convolution without padding, with a bias. Masks need no zeros in the kernel: the caller shifts the input.

    Attributes:
      features: output channels.
      rows, columns: of the kernel.
      dtype: type that it computes in.
    """

    features: int
    rows: int
    columns: int
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Convolve: (B, h + rows - 1, w + columns - 1, C) -> (B, h, w, features)."""
        shape = (self.rows, self.columns, x.shape[-1], self.features)
        kernel = get_or_create_param(self, "kernel", nn.initializers.lecun_normal(), shape).astype(self.dtype)
        bias = get_or_create_param(self, "bias", nn.initializers.zeros, (self.features,)).astype(self.dtype)
        return conv_valid(x.astype(self.dtype), kernel) + bias


def _gate(x: jax.Array) -> jax.Array:
    """Return tanh(a) sigmoid(b) of the two halves of the channels (eq. 2): (..., 2 F) -> (..., F)."""
    a, b = jnp.split(x, 2, axis=-1)
    return jnp.tanh(a) * nn.sigmoid(b)


class GatedLayer(nn.Module):
    """One layer of both stacks (fig. 2): the vertical one sees the rows above, the horizontal one also the row so far.

    Attributes:
      width: F, channels of each stack.
      first: use mask A, 7 x 7, which hides the position itself, instead of mask B, 3 x 3.
      num_classes: number of classes that condition both stacks (eq. 4); 0 for none.
      given: whether they are conditioned by the codes of other levels.
      dropout: share of the horizontal stack's gated activations that training drops.
      dtype: type that it computes in.
    """

    width: int
    first: bool
    num_classes: int
    given: bool
    dropout: float
    dtype: Any

    def setup(self):
        rows, columns, columns_left = (REACH, 2 * REACH + 1, REACH) if self.first else (2, 3, 2)
        self.above = _Window(2 * self.width, rows, columns, self.dtype)
        self.left = _Window(2 * self.width, 1, columns_left, self.dtype)
        self.across = Dense(2 * self.width, dtype=self.dtype)
        self.residual = Dense(self.width, dtype=self.dtype)
        if self.num_classes:
            self.classes = nn.Embed(self.num_classes, 2 * self.width, dtype=self.dtype)
        if self.given:
            self.levels = Dense(2 * self.width, dtype=self.dtype)

    def condition(self, labels: jax.Array, given: jax.Array | None) -> jax.Array:
        """Return the summand before the gates of both stacks, (B, h, w, 2 F) or less; 0 without any condition.

        Args:
          labels: (B,).
          given: features of other levels' codes, (B, h, w, F).
        """
        summand = self.classes(labels)[:, None, None] if self.num_classes else jnp.zeros((1, 1, 1, 1), self.dtype)
        return summand if given is None else summand + self.levels(given)

    def vertical(self, window: jax.Array, condition: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Apply the vertical stack.

        Args:
          window: its input, padded by what the kernel sees beyond the grid.
          condition: the summand of labels and other levels.

        Returns:
          Its output (B, h, w, F), and its contribution to the horizontal stack (B, h, w, 2 F).
        """
        x = self.above(window)
        return _gate(x + condition), self.across(x) + condition

    def horizontal(
        self, window: jax.Array, here: jax.Array, across: jax.Array, keys: jax.Array | None = None
    ) -> jax.Array:
        """Apply the horizontal stack.

        Args:
          window: its input, padded by what the kernel sees left of the grid.
          here: its input at the position itself (B, h, w, F), for the skip connection.
          across: the contribution of the vertical stack (B, h, w, 2 F).
          keys: PRNG keys (B,) for dropout, or None.

        Returns:
          Its output (B, h, w, F).
        """
        x = self.residual(dropout(_gate(self.left(window) + across), self.dropout, keys))
        return x if self.first else here + x
