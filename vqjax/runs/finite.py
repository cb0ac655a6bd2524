"""What is not finite: a training step leaves the state as it was, a checkpoint is neither written nor read."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.system.errors import InputError

_SMALL = 2**16  # numbers, of which a copy costs less than another pass
MAX_SKIPPED_IN_A_ROW = 5  # steps in a row that may be skipped; so many end the run


class Diverged(Exception):
    """A run that cannot go on: too many steps in a row were not finite."""


def all_finite(tree: Any) -> jax.Array:
    """Whether every number in a tree of arrays is, ()."""
    return jnp.array([jnp.isfinite(leaf).all() for leaf in _floats(tree)]).all()


def global_norm(tree: Any) -> jax.Array:
    """The root of the sum of the squares of all floats in a tree of arrays, (); traceable.

    Small arrays are put side by side: a sum for each shape would take longer to compile than most else of a step.
    """
    leaves = [leaf.ravel() for leaf in _floats(tree)]
    small = [leaf for leaf in leaves if leaf.size < _SMALL]
    parts = [leaf for leaf in leaves if leaf.size >= _SMALL] + ([jnp.concatenate(small)] if small else [])
    return jnp.sqrt(sum((jnp.sum(jnp.square(part)) for part in parts), start=jnp.float32(0)))


def finite_norm(tree: Any) -> jax.Array:
    """Whether the norm of all numbers in a tree of arrays is finite, and so each of them, (); traceable.

    It is the sum of squares that must be: so it is not if the norm is above 1.8e19.
    """
    return jnp.isfinite(global_norm(tree))


def _floats(tree: Any) -> list[jax.Array]:
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def check_finite(tree: Any, what: str) -> None:
    """Raises InputError unless all arrays of a tree on the host are finite; `what` they are is said."""
    named = jax.tree_util.tree_flatten_with_path(tree)[0]
    unfit = [jax.tree_util.keystr(path, simple=True, separator="/") for path, x in named if not np.isfinite(x).all()]
    if unfit:
        more = f" and {len(unfit) - 3} more" if len(unfit) > 3 else ""
        raise InputError(f"{what} not finite: {', '.join(unfit[:3])}{more}")
