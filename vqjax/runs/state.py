"""All that a run carries from step to step."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax


class TrainState(NamedTuple):
    """All that a run carries from step to step, arrays only, on the devices or on the host.

    Attributes:
      step: () int32, steps so far.
      params: what a gradient trains.
      extra: what no gradient trains, {collection: ...}: EMA codebooks, code frequencies, batch statistics.
      opt_state: Optax's.
      skipped: () int32, the steps that were not finite and changed nothing of the above but `step`.
      in_a_row: () int32, the latest of them in succession; from `finite.MOST` on it never falls.
    """

    step: Any
    params: Any
    extra: Any
    opt_state: Any
    skipped: Any
    in_a_row: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What the modules are applied with: {"params", collection, ...}."""
        return {"params": self.params, **self.extra}


def initial_state(variables: Mapping[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """The state before step 0."""
    extra = {name: value for name, value in variables.items() if name != "params"}
    params = variables["params"]
    step, skipped, in_a_row = (jnp.zeros((), jnp.int32) for _ in range(3))
    return TrainState(step, params, extra, optimizer.init(params), skipped, in_a_row)
