"""All that a run carries from step to step."""

import math
import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from vqjax.system.errors import InputError


class TrainState(NamedTuple):
    """All that a run carries from step to step, arrays only, on the devices or on the host.

    Attributes:
      step: () int32, steps so far.
      params: what a gradient trains.
      extra: what no gradient trains, {collection: ...}: EMA codebooks, code frequencies, batch statistics.
      opt_state: Optax's.
      skipped: () int32, the steps that were not finite and changed nothing of the above but `step`.
      consecutive_skips: () int32, the latest of them in succession; from `finite.MOST` on it never falls.
    """

    step: Any
    params: Any
    extra: Any
    opt_state: Any
    skipped: Any
    consecutive_skips: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What the modules are applied with: {"params", collection, ...}."""
        return {"params": self.params, **self.extra}


def initial_state(variables: Mapping[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """Return the state before step 0."""
    extra = {name: value for name, value in variables.items() if name != "params"}
    params = variables["params"]
    step, skipped, consecutive_skips = (np.zeros((), np.int32) for _ in range(3))
    return TrainState(step, params, extra, optimizer.init(params), skipped, consecutive_skips)


def check_memory(state: TrainState) -> None:
    """Raises InputError if the memory of a device is too small for a state, be it of shapes alone, and its gradients.

    What a step needs beside that depends on the batch, and is not counted.
    """
    device = jax.local_devices()[0]
    if (limit := (device.memory_stats() or {}).get("bytes_limit")) is None:
        if not hasattr(os, "sysconf"):  # Windows
            return
        limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // jax.local_device_count()
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(state.params))
    needed = num_bytes((state, state.params))
    if needed > limit:
        raise InputError(
            f"config.model has {parameters:,} parameters: training needs {needed / 2**30:,.1f} GiB for them, their "
            f"gradients and the optimizer, expected at most the {limit / 2**30:,.1f} GiB of a device"
        )


def num_bytes(tree: Any) -> int:
    """Of a tree of arrays, or of their shapes."""
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def zeros_like_tree(tree: Any) -> Any:
    """Host arrays of the shapes and dtypes of a tree's leaves, read-only, that take no memory."""
    return jax.tree.map(lambda x: np.broadcast_to(np.zeros((), x.dtype), x.shape), tree)
