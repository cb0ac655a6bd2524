"""The training state: all that a run carries from step to step."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from vqjax.ops.memory import device_memory
from vqjax.system.errors import InputError


class TrainState(NamedTuple):
    """The training state: a tree of arrays, on the devices or on the host.

    Attributes:
      step: () int32, steps so far.
      params: variables that a gradient trains.
      extra: {collection: ...} that no gradient trains: EMA codebooks, code frequencies, batch statistics.
      opt_state: the state of the Optax optimizer.
      skipped: () int32, steps so far that were not finite and changed nothing of the above but `step`.
      consecutive_skips: () int32, the latest of them in succession; it never falls again once it has reached
        `finite.MAX_SKIPPED_IN_A_ROW`.
    """

    step: Any
    params: Any
    extra: Any
    opt_state: Any
    skipped: Any
    consecutive_skips: Any

    @property
    def variables(self) -> dict[str, Any]:
        """The variables {"params", collection, ...} of the modules."""
        return {"params": self.params, **self.extra}


def initial_state(variables: Mapping[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """Return the state before step 0."""
    params = variables["params"]
    extra = {name: value for name, value in variables.items() if name != "params"}
    step, skipped, consecutive_skips = (np.zeros((), np.int32) for _ in range(3))
    return TrainState(step, params, extra, optimizer.init(params), skipped, consecutive_skips)


def check_memory(state: TrainState) -> None:
    """Raise InputError if a device has too little memory for a state and its gradients; shapes are enough.

    The activations of a step, which depend on the batch, are not counted.
    """
    if (limit := device_memory()) is None:
        return
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    needed = num_bytes((state, state.params))
    if needed > limit:
        raise InputError(
            f"config.model has {parameters:,} parameters: training needs {needed / 2**30:,.1f} GiB for them, their "
            f"gradients and the optimizer, expected at most the {limit / 2**30:,.1f} GiB of a device"
        )


def num_bytes(tree: Any) -> int:
    """Return the size in bytes of a tree of arrays, or of their shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def zeros_like_tree(tree: Any) -> Any:
    """Return read-only host arrays of the shapes and dtypes of a tree's leaves; they take no memory."""
    return jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), tree)


def leaf_types(tree: Any) -> dict[str, str]:
    """Return {name: dtype and shape, as in "float32(3, 4)"} of a tree's leaves."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(path): f"{leaf.dtype}{tuple(leaf.shape)}" for path, leaf in leaves}
