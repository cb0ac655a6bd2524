"""Contract of every prior: a distribution over the sequence of an image's codes."""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from vqjax.codes import CodeLayout
from vqjax.networks.priors import orders

Draw = Callable[[jax.Array, jax.Array], jax.Array]  # logits (B, K) and their places (B,) -> codes (B,)


class Prior(nn.Module):
    """Contract of a prior: p(codes | class) as a product over groups, and within a group over its codes.

    A place is a code's number in the sequence of the layout. An order is a permutation of the places, a row of (B, L)
    for each example; without one the codes come in raster order 0, 1, 2, …. A group is a run of codes along the order
    that are independent of each other given the codes before the group; without groups each code is one.

    A prior writes `__call__`, and `sample` where it knows a quicker way.

    Attributes:
      layout: of the codes, given by stage 1.
      num_classes: number of classes; 0 for an unconditional prior, which ignores labels.
      dtype: of the computation; parameters and logits are float32.
    """

    layout: CodeLayout
    num_classes: int
    dtype: Any

    @property
    def modeled(self) -> slice:
        """Places whose codes it is a distribution of, to the end; those before are given."""
        return slice(0, self.layout.length)

    @property
    def any_order(self) -> bool:
        """Whether other orders than the raster's, and groups, are possible."""
        return False

    @property
    def has_no_class(self) -> bool:
        """Whether the label `num_classes` is possible: an image whose class is not told."""
        return False

    @nn.nowrap
    def check(self, key: str) -> None:
        """Raise InputError, naming the config's `key`, for a layout that the prior cannot do or fields at odds."""

    def __call__(
        self,
        codes: jax.Array,
        labels: jax.Array,
        keys: jax.Array | None = None,
        order: jax.Array | None = None,
        groups: Sequence[int] | None = None,
    ) -> jax.Array:
        """Return the logits of each modeled code given the codes before its group, (B, n, K) float32.

        They stand at the `modeled` places, whatever the order. K is the largest of theirs; codes that a level lacks
        have -inf.

        Args:
          codes: (B, L).
          labels: (B,).
          keys: PRNG keys (B,) in training, for dropout; None in evaluation.
          order: (B, L), each row a permutation of the places; None for raster order.
          groups: sizes that sum to L; None for L groups of one code.

        Raises:
          InputError: an order or groups that the prior cannot do.
        """
        raise NotImplementedError

    def training_order(self, keys: jax.Array, progress: jax.Array | float) -> jax.Array | None:
        """Return the orders of a training batch, (B, L), or None for raster order.

        Args:
          keys: PRNG keys (B,).
          progress: share of the run that is done.
        """
        return None

    def sample(
        self,
        labels: jax.Array,
        draw: Draw,
        known: jax.Array | None = None,
        groups: Sequence[int] | None = None,
        order: jax.Array | None = None,
        num_known: int = 0,
    ) -> jax.Array:
        """Return codes (B, L), drawn group by group; here, with the whole network once per group.

        Args:
          labels: (B,).
          draw: gives codes (B,) for logits (B, K) and their places (B,).
          known: codes (B, L) that are kept, -1 where one is drawn; those that are given are all known. A code sees the
            known codes before its group alone.
          groups: sizes that sum to L; None for L groups of one code.
          order: (B, L), each row a permutation of the places; None for raster order.
          num_known: number of codes at the start of each row's order that are all known: they are not drawn first.

        Raises:
          InputError: an order or groups that the prior cannot do.
        """
        module, variables = self.unbind()
        groups = orders.complete_groups(groups, self.layout.length)
        known, places = self._known_and_places(labels, known, order)

        def draw_one(start: jax.Array, codes: jax.Array, size: int) -> jax.Array:
            logits: Any = module.apply(variables, codes, labels, order=order, groups=groups)
            here = jax.lax.dynamic_slice_in_dim(places, start, size, axis=1)
            of_group = jnp.take_along_axis(logits, (here - self.modeled.start)[..., None], axis=1)
            drawn = draw_group(draw, of_group, here, known)
            return jax.vmap(lambda row, place, code: row.at[place].set(code))(codes, here, drawn)

        codes = jnp.maximum(known, 0)
        start, rest = orders.skip_known(groups, max(num_known, self.modeled.start))
        for first, size, number in orders.runs(rest, start):
            step = lambda i, codes, first=first, size=size: draw_one(first + i * size, codes, size)  # noqa: E731
            codes = jax.lax.fori_loop(0, number, step, codes)
        return codes

    def _known_and_places(
        self, labels: jax.Array, known: jax.Array | None, order: jax.Array | None
    ) -> tuple[jax.Array, jax.Array]:
        """Return `known` and `order` (B, L) of `sample` where they were not given, too."""
        shape = (len(labels), self.layout.length)
        known = jnp.full(shape, -1, jnp.int32) if known is None else known
        return known, jnp.broadcast_to(jnp.arange(shape[1]), shape) if order is None else order


def draw_group(draw: Draw, logits: jax.Array, places: jax.Array, known: jax.Array) -> jax.Array:
    """Return the codes of a group, (B, n): those known, and draws for the others.

    Args:
      draw: gives codes (B,) for logits (B, K) and their places (B,).
      logits: (B, n, K).
      places: (B, n).
      known: codes of all places, (B, L), -1 where unknown.
    """
    drawn = jax.vmap(draw, (1, 1), 1)(logits, places)
    kept = jnp.take_along_axis(known, places, axis=1)
    return jnp.where(kept >= 0, kept, drawn).astype(jnp.int32)
