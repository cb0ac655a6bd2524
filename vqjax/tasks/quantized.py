"""What the tasks have in common that train a network through a quantizer, be it `none`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from vqjax.ops import axes
from vqjax.runs.devices import jit_fast_compile
from vqjax.system.errors import InputError
from vqjax.tasks import models
from vqjax.tasks.base import Task


class QuantizedTask(Task):
    """A task whose module has a quantizer, `latents` that go into it, and its `initialise` and `refresh`."""

    module: models.Autoencoder | models.Classifier

    positions: int  # of an image that have a code, at most

    def check(self, count: int) -> None:
        """Raises InputError for more codes than there are vectors in train, as well."""
        super().check(count)
        codes = self.module.quantizer.num_codes
        if codes > count * self.positions:
            raise InputError(
                f"config.model.{self.config.model.quantizer} has {codes:,} codes: expected at most as many as train "
                f"has vectors, {count:,} images of {self.positions:,}"
            )

    @property
    def initialize_label(self) -> str:
        return "first codes, by k-means" if self.module.quantizer.initial_vectors else ""

    def initialize(self, variables: dict[str, Any], batches: Iterator[Mapping], seed: int) -> dict[str, Any]:
        """The fresh variables with the codebook started from vectors of the training batches."""
        return initialise(self.module, variables, map(self.inputs, batches), seed)

    def vectors(self, output: Any) -> jax.Array:
        """What the quantizer is given, (B, ..., D)."""
        found: jax.Array = output.z
        return found

    def after_update(
        self, variables: dict[str, Any], vectors: jax.Array, gather: Callable, step: jax.Array, key: jax.Array
    ) -> dict[str, Any]:
        """The variables with the codebook changed by the global batch."""
        updated: Any = self.module.apply(variables, vectors, gather, key, method="after_update", mutable=True)[1]
        return updated


def initialise(
    module: models.Autoencoder | models.Classifier, variables: dict[str, Any], inputs: Iterator[jax.Array], seed: int
) -> dict[str, Any]:
    """The variables with the codebook initialised on training batches; batch norm takes the statistics of each.

    On one device whatever the run has, so that the result does not depend on how many there are.

    Args:
      module: its quantizer starts from its `latents`.
      variables: its, fresh.
      inputs: its input, batch after batch.
      seed: of the initialisation.
    """
    wanted, num_codes = module.quantizer.initial_vectors, module.quantizer.num_codes
    if not wanted:
        return variables
    collections = [name for name in variables if name != "params"]
    latents = lambda variables, x: module.apply(variables, x, True, method="latents", mutable=collections)[0]  # noqa: E731
    latents = jit_fast_compile(jax.vmap(latents, (None, 0), axis_name=axes.BATCH))
    parts, count = [], 0
    for x in inputs:
        z = np.asarray(latents(variables, x[None]), np.float32)
        parts.append(z.reshape(-1, z.shape[-1]))
        count += len(parts[-1])
        if count >= wanted:
            break
    vectors: np.ndarray = np.concatenate(parts)
    vectors = vectors[np.arange(min(wanted, count)) * count // min(wanted, count)]  # of all images
    vectors = np.resize(vectors, (max(len(vectors), num_codes), vectors.shape[1]))  # each again if they are too few
    initialised: Any = module.apply(variables, vectors, seed, method="initialize", mutable=True)[1]
    return initialised
