"""What the tasks have in common that train a network through a quantizer, be it `none`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from ml_collections import ConfigDict

from vqjax import data, models
from vqjax.config import Run
from vqjax.data import Split


class ThroughQuantizer:
    """A task on images whose module has a quantizer; the rest of what `vqjax.tasks` lists is its subclass's.

    A subclass has `inputs(batch)`, what the module is applied to, and calls `bind`.
    """

    fields: type[Run] = Run
    frozen: Mapping[str, Any] = {}

    def bind(self, config: ConfigDict, module: nn.Module, shape: tuple[int, ...]) -> None:
        """Keeps the config, the module, and the shape of the module's input without the batch's axis."""
        self._config, self.module, self._shape = config, module, shape
        self._augmentation = data.augmentation(config)

    def load(self, names: tuple[str, ...] = ("train", "validation", "test")) -> dict[str, Split]:
        """The splits that exist among `names`, with `image` and `label`."""
        return data.load(self._config, names)

    def init(self, key: jax.Array) -> dict[str, Any]:
        """Fresh variables {"params", "codebook", ...}; traceable."""
        return self.module.init(key, np.zeros((1, *self._shape), np.float32), False)

    def initialise(self, variables: Mapping, batches: Iterator[Mapping], seed: int) -> Mapping[str, Any]:
        """The variables before step 0: fresh ones with the codebook initialised on training batches."""
        return models.initialise(self.module, variables, map(self.inputs, batches), seed)

    @property
    def prepares(self) -> tuple[str, ...]:
        """Training batches, if they are augmented."""
        return ("train",) if any(self._augmentation.values()) else ()

    def prepare(self, batch: dict[str, jax.Array], key: jax.Array | None, frozen: Mapping) -> dict[str, jax.Array]:
        """A batch between disk and step: with a key, augmented by it and the position in the global batch."""
        if key is None:
            return batch
        return {**batch, "image": data.augment(batch["image"], batch["example"], key, **self._augmentation)}

    def evaluate(self, variables: Mapping, batch: Mapping) -> Any:
        """The module's output on a batch in evaluation; every example on its own."""
        return self.module.apply(variables, self.inputs(batch), False)

    def train(self, variables: Mapping, batch: Mapping, step: jax.Array, key: jax.Array) -> tuple[Any, dict[str, Any]]:
        """The module's output on a batch in training, and its collections other than params as they are afterwards."""
        noise = jax.vmap(lambda example: jax.random.fold_in(key, example))(batch["example"])
        collections = [name for name in variables if name != "params"]
        progress = step / self._config.steps
        return self.module.apply(variables, self.inputs(batch), True, progress, noise, mutable=collections)

    def refresh(self, variables: Mapping, output: Any, gather: Callable, step: jax.Array, key: jax.Array) -> Mapping:
        """The variables after an update: dead codes restarted from the global batch, the same on every device."""
        return self.module.apply(variables, gather(output.z), key, method="refresh", mutable=True)[1]

    def baselines(self, split: Split) -> dict[str, np.ndarray]:
        """No figures of a split that need no model."""
        return {}
