"""The contract of priors: a product over the places of a sequence of codes, each given all the codes before it."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.codes import CodeLayout


class Prior(nn.Module):
    """The contract. A prior writes `embed` and `predict`, and `sample` where it knows a quicker way.

    Attributes:
      layout: of the codes, given by stage 1.
      num_classes: that it is conditioned on; 0 for an unconditional model.
      dtype: of the computation; logits are float32.
    """

    layout: CodeLayout
    num_classes: int
    dtype: Any

    def check(self, key: str) -> None:
        """Raise InputError, naming the config's `key`, for fields or a layout that the prior cannot do."""

    def __call__(self, codes: jax.Array, labels: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """Codes (B, L), labels (B,) -> logits (B, L, K), float32; with keys (B,), under dropout."""
        return self.predict(self.embed(codes), labels, keys)

    def embed(self, codes: jax.Array) -> jax.Array:
        """Codes (B, L) -> (B, L, F), each place on its own."""
        raise NotImplementedError

    def predict(self, x: jax.Array, labels: jax.Array, keys: jax.Array | None = None) -> jax.Array:
        """Embedded codes (B, L, F) -> logits (B, L, K), each of the places before it alone."""
        raise NotImplementedError

    def sample(self, labels: jax.Array, draw: Callable[[jax.Array, jax.Array], jax.Array]) -> jax.Array:
        """Draw codes (B, L) place by place; here, with the whole network once for each.

        Args:
          labels: (B,).
          draw: logits (B, K) and the number of the place -> codes (B,).
        """
        module, variables = self.unbind()

        def place(number: jax.Array, codes: jax.Array) -> jax.Array:
            logits: Any = module.apply(variables, codes, labels)
            return codes.at[:, number].set(draw(logits[:, number], number))

        length = self.layout.length
        return jax.lax.fori_loop(0, length, place, jnp.zeros((len(labels), length), jnp.int32))
