"""Contract of a prior over codes: a product over positions in raster order, each given all codes before it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Prior(nn.Module):
    """Base of priors. A prior writes `embed` and `predict`, and `sample` if it knows a quicker way.

    Attributes:
      num_codes: K, given by stage 1.
      num_classes: number of classes that condition it; 0 for an unconditional prior.
      grid: (h, w), given by stage 1.
      dtype: type that it computes in; logits are float32.
    """

    num_codes: int
    num_classes: int
    grid: tuple[int, int]
    dtype: Any

    def __call__(self, codes: jax.Array, labels: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """Compute logits (B, h, w, K) float32 of codes (B, h, w) and labels (B,); with keys (B,), under dropout."""
        return self.predict(self.embed(codes), labels, keys)

    def embed(self, codes: jax.Array) -> jax.Array:
        """Embed each code on its own: (B, h, w) -> (B, h, w, F)."""
        raise NotImplementedError

    def predict(self, x: jax.Array, labels: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """Compute logits (B, h, w, K) of embedded codes (B, h, w, F), each from the positions before it alone."""
        raise NotImplementedError

    def sample(self, labels: jax.Array, draw: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
        """Draw codes (B, h, w) position by position; here, with one run of the whole network for each.

        Args:
          labels: (B,).
          draw: function of logits (B, K) and the position's number in raster order that returns codes (B,).
        """
        module, variables = self.unbind()

        def draw_position(number: jax.Array, codes: jax.Array) -> jax.Array:
            logits: Any = module.apply(variables, codes.reshape(len(labels), *self.grid), labels)
            return codes.at[:, number].set(draw(logits.reshape(len(labels), -1, self.num_codes)[:, number], number))

        count = self.grid[0] * self.grid[1]
        codes = jax.lax.fori_loop(0, count, draw_position, jnp.zeros((len(labels), count), jnp.int32))
        return codes.reshape(len(labels), *self.grid)
