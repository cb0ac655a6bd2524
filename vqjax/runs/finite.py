"""Checks for NaN and Inf: such a step leaves the state as it was, such a checkpoint is neither written nor read."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.system.errors import InputError

_SMALL = 2**16  # size of arrays that are cheaper to copy than to pass over one by one
MAX_SKIPPED_IN_A_ROW = 5  # skipped steps in succession that end the run


class Diverged(Exception):
    """The end of a run: too many steps in succession were not finite."""


def all_finite(tree: Any) -> jax.Array:
    """Return whether all numbers in a tree of arrays are finite, (); traceable."""
    return jnp.array([jnp.isfinite(leaf).all() for leaf in _floats(tree)]).all()


def global_norm(tree: Any) -> jax.Array:
    """Return the square root of the sum of the squares of all floats in a tree of arrays, (); traceable.

    Small arrays are concatenated: a sum for each shape would take longer to compile than most else of a step.
    """
    leaves = [leaf.ravel() for leaf in _floats(tree)]
    small = [leaf for leaf in leaves if leaf.size < _SMALL]
    parts = [leaf for leaf in leaves if leaf.size >= _SMALL] + ([jnp.concatenate(small)] if small else [])
    return jnp.sqrt(sum((jnp.sum(jnp.square(part)) for part in parts), start=jnp.float32(0)))


def finite_norm(tree: Any) -> jax.Array:
    """Return whether the norm of all numbers in a tree of arrays is finite, and so each number, (); traceable.

    The sum of the squares overflows for norms above 1.8e19: these count as not finite.
    """
    return jnp.isfinite(global_norm(tree))


def _floats(tree: Any) -> list[jax.Array]:
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def check_finite(tree: Any, what: str) -> None:
    """Raise InputError unless all arrays of a tree on the host are finite. The message begins with `what`."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    names = [jax.tree_util.keystr(path, simple=True, separator="/") for path, x in leaves if not np.isfinite(x).all()]
    if names:
        more = f" and {len(names) - 3} more" if len(names) > 3 else ""
        raise InputError(f"{what} not finite: {', '.join(names[:3])}{more}")
