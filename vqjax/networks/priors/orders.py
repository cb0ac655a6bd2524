"""Orders in which codes are read and drawn, and the groups that are drawn together."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.system.errors import InputError

Groups = tuple[int, ...]


class Run(NamedTuple):
    """Consecutive groups of one size.

    Attributes:
      start: number of codes before the first group.
      size: number of codes in a group.
      number: of groups.
    """

    start: int
    size: int
    number: int


def random_orders(keys: jax.Array, length: int) -> jax.Array:
    """Return a uniformly random permutation of the places for each PRNG key (B,): (B, L) int32."""
    return jax.vmap(lambda key: jax.random.permutation(key, length))(keys)


def evaluation_orders(length: int) -> jax.Array:
    """Return the fixed random orders of evaluations, (8, L) int32: the same in every run."""
    return random_orders(jax.random.split(jax.random.key(0), 8), length)


def known_first(known: jax.Array, keys: jax.Array) -> jax.Array:
    """Return orders (B, L): the places of known codes in raster order, then the others in random order.

    Args:
      known: codes (B, L), -1 where unknown.
      keys: PRNG keys (B,).
    """
    length = known.shape[1]
    shuffled = length + random_orders(keys, length)
    return jnp.argsort(jnp.where(known >= 0, jnp.arange(length), shuffled), axis=1)


def ranks(order: jax.Array) -> jax.Array:
    """Return the number of codes before each place in orders (B, L): the inverse permutations, (B, L)."""
    return jnp.argsort(order, axis=1)


def complete_groups(groups: Sequence[int] | None, length: int) -> Groups:
    """Return the groups of a sequence of L codes, each code on its own for None.

    Raises InputError for sizes below 1 or of another sum than L.
    """
    if groups is None:
        return (1,) * length
    if min(groups, default=0) < 1 or sum(groups) != length:
        raise InputError(f"groups of {list(groups)} codes: expected sizes of 1 or more that sum to {length}")
    return tuple(groups)


def group_starts(groups: Groups) -> np.ndarray:
    """Return the number of codes before the group of each step along an order, (L,)."""
    return np.repeat(np.cumsum(groups) - groups, groups)


def skip_known(groups: Groups, num_known: int) -> tuple[int, Groups]:
    """Return the number of codes in the leading groups that the first `num_known` codes cover, and the other groups."""
    number = int(np.searchsorted(np.cumsum(groups), num_known, side="right"))
    return sum(groups[:number]), groups[number:]


def runs(groups: Groups, start: int = 0, longest: int | None = None) -> list[Run]:
    """Return the runs of equal groups, after `start` codes.

    Args:
      groups: sizes.
      start: number of codes before the first group.
      longest: number of codes of a run, at most, unless one group has more; None: any.
    """
    result = []
    for size, equal in itertools.groupby(groups):
        count = len(list(equal))
        most = count if longest is None else max(1, longest // size)
        for first in range(0, count, most):
            result.append(Run(start + first * size, size, min(most, count - first)))
        start += count * size
    return result
