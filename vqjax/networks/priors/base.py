"""What every prior over codes is: a product over positions in raster order, each given all the codes before it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class Prior(nn.Module):
    """The contract. A prior writes `embed` and `predict`, and `sample` where it knows a quicker way.

    Attributes:
      num_codes: K, given by stage 1.
      num_classes: that it is conditioned on; 0 for an unconditional model.
      grid: (h, w), given by stage 1.
      dtype: of the computation; logits are float32.
    """

    num_codes: int
    num_classes: int
    grid: tuple[int, int]
    dtype: Any

    def __call__(self, codes: jax.Array, labels: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """Codes (B, h, w), labels (B,) -> logits (B, h, w, K), float32; with keys (B,), under dropout."""
        return self.predict(self.embed(codes), labels, keys)

    def embed(self, codes: jax.Array) -> jax.Array:
        """Codes (B, h, w) -> (B, h, w, F), each position on its own."""
        raise NotImplementedError

    def predict(self, x: jax.Array, labels: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """Embedded codes (B, h, w, F) -> logits (B, h, w, K), each of the positions before it alone."""
        raise NotImplementedError

    def sample(self, labels: jax.Array, draw: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
        """Codes (B, h, w) drawn position by position; here, the whole network once for each.

        Args:
          labels: (B,).
          draw: logits (B, K) and the position's number in raster order -> codes (B,).
        """
        module, variables = self.unbind()

        def position(number: jax.Array, codes: jax.Array) -> jax.Array:
            logits: Any = module.apply(variables, codes.reshape(len(labels), *self.grid), labels)
            return codes.at[:, number].set(draw(logits.reshape(len(labels), -1, self.num_codes)[:, number], number))

        count = self.grid[0] * self.grid[1]
        codes = jax.lax.fori_loop(0, count, position, jnp.zeros((len(labels), count), jnp.int32))
        return codes.reshape(len(labels), *self.grid)
