"""What is not finite: a training step leaves the state as it was, a checkpoint is neither written nor read."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from vqjax.core.config import InputError

MOST = 5  # steps in a row that may be skipped; so many end the run


class Diverged(Exception):
    """A run that cannot go on: too many steps in a row were not finite."""


def all_finite(tree: Any) -> jax.Array:
    """Whether every number in a tree of arrays is, (); traceable."""
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    # Their largest sizes, which a NaN is, too; to ask each number takes a CPU twice as long.
    return jnp.isfinite(jnp.array([jnp.max(jnp.abs(leaf), initial=0) for leaf in floats])).all()


def finite_norm(tree: Any) -> jax.Array:
    """Whether the norm of all numbers in a tree of arrays is finite, and so each of them, (); traceable.

    It is not if they are finite, but their squares are beyond float32's range, as from 2e19 on.
    """
    floats = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.isfinite(optax.tree.norm(floats))


def check(tree: Any, what: str) -> None:
    """Raises InputError unless all arrays of a tree on the host are finite; `what` they are is said."""
    named = jax.tree_util.tree_flatten_with_path(tree)[0]
    unfit = [jax.tree_util.keystr(path, simple=True, separator="/") for path, x in named if not np.isfinite(x).all()]
    if unfit:
        more = f" and {len(unfit) - 3} more" if len(unfit) > 3 else ""
        raise InputError(f"{what} not finite: {', '.join(unfit[:3])}{more}")
