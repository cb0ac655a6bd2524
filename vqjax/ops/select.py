"""Choice between two trees of arrays."""

from typing import Any

import jax
import jax.numpy as jnp

from vqjax.ops.platforms import by_platform


def select_tree(choice: jax.Array, new: Any, old: Any) -> Any:
    """Return the tree `new` if `choice`, a () bool, is true, else `old`, a tree of the same shapes and dtypes."""
    return by_platform(choice, new, old, cpu=_select_whole, default=_select_leaves)


def _select_whole(choice: jax.Array, new: Any, old: Any) -> Any:
    """Choose once for the whole tree. With a choice per leaf XLA on a CPU compiles a deep network for minutes."""
    return jax.lax.cond(choice, lambda new, old: new, lambda new, old: old, new, old)


def _select_leaves(choice: jax.Array, new: Any, old: Any) -> Any:
    """Choose at each leaf. An accelerator's host would wait for the choice of `lax.cond`."""
    return jax.tree.map(lambda after, before: jnp.where(choice, after, before), new, old)
