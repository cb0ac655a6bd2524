"""All that a run carries from step to step."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax


class TrainState(NamedTuple):
    """All that a run carries from step to step, arrays only, on the devices or on the host.

    Attributes:
      step: () int32, updates so far.
      params: what a gradient trains.
      extra: what no gradient trains, {collection: ...}: EMA codebooks, code frequencies, batch statistics.
      opt_state: Optax's.
    """

    step: Any
    params: Any
    extra: Any
    opt_state: Any

    @property
    def variables(self) -> dict[str, Any]:
        """What the modules are applied with: {"params", collection, ...}."""
        return {"params": self.params, **self.extra}


def initial_state(variables: Mapping[str, Any], optimizer: optax.GradientTransformation) -> TrainState:
    """The state before step 0."""
    extra = {name: value for name, value in variables.items() if name != "params"}
    params = variables["params"]
    return TrainState(jnp.zeros((), jnp.int32), params, extra, optimizer.init(params))
