"""Cached sampler of a transformer: keys and values of the codes that are known so far, read once each."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.networks.priors.base import Draw, draw_group
from vqjax.networks.priors.blocks import Memory
from vqjax.networks.priors.orders import Run


class CachedSampler(NamedTuple):
    """Draws groups of codes from a transformer.

    Attributes:
      module: unbound, with the methods `read` and `predict`.
      variables: what it is applied with.
      draw: gives codes (B,) for logits (B, K) and their places (B,).
      places: in the order in which they are drawn, (B, L).
      known: codes (B, L) that are kept, -1 where one is drawn.
      token: of the class, (B, 1, F).
    """

    module: nn.Module
    variables: Mapping[str, Any]
    draw: Draw
    places: jax.Array
    known: jax.Array
    token: jax.Array

    def begin(self, codes: jax.Array) -> list[Memory]:
        """Return the memories of the class token and the first codes (B, n) of the order."""
        memories: list[Memory] = self._call("read", codes, self.places[:, : codes.shape[1]], self.token)
        return memories

    def draw_run(self, run: Run, memories: list[Memory]) -> tuple[list[Memory], jax.Array]:
        """Return the memories with a run's codes, too, and the codes, (B, size * number) along the order."""

        def step(memories: list[Memory], start: jax.Array) -> tuple[list[Memory], jax.Array]:
            codes = self.draw_group(start, run.size, memories)
            return self._call("read", codes, self._at(start, run.size), None, memories, start + 1), codes

        room = ((0, 0), (0, 0), (0, run.size * run.number), (0, 0))
        memories = jax.tree.map(lambda x: jnp.pad(x, room), memories)
        memories, codes = jax.lax.scan(step, memories, run.start + run.size * jnp.arange(run.number))
        return memories, codes.swapaxes(0, 1).reshape(len(self.places), -1)  # from (number, B, size)

    def draw_group(self, start: jax.Array | int, size: int, memories: list[Memory]) -> jax.Array:
        """Return the codes (B, size) of the group that `start` codes come before."""
        places = self._at(start, size)
        logits = self._call("predict", places, self.token, memories[-1], jnp.full((size,), start + 1))
        return draw_group(self.draw, logits, places, self.known)

    def _at(self, start: jax.Array | int, size: int) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(self.places, start, size, axis=1)

    def _call(self, method: str, *arguments: Any) -> Any:
        return self.module.apply(self.variables, *arguments, method=method)
