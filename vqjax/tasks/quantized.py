"""Tasks that train a network through a quantizer, be it `none`."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

from vqjax.ops import axes
from vqjax.ops.platforms import jit_fast_compile
from vqjax.system.errors import InputError
from vqjax.system.terminal import timed
from vqjax.tasks.base import Task
from vqjax.tasks.codecs import Codec
from vqjax.tasks.quantized_classifier import Classifier


class QuantizedTask(Task):
    """A task whose module has quantizers, a level each, and `latents` that go into them.

    Attributes:
      positions: of an image that have a code, at most, for each level.
    """

    module: Codec | Classifier
    positions: tuple[int, ...]

    def check_size(self, count: int) -> None:
        """Raise InputError for more codes than there are vectors in train, as well."""
        super().check_size(count)
        for quantizer, positions in zip(self.module.quantizers, self.positions):
            if quantizer.num_codes > count * positions:
                raise InputError(
                    f"config.model.{self.settings.model.values['quantizer']} has {quantizer.num_codes:,} codes: "
                    f"expected at most as many as train has vectors, {count:,} images of {positions:,}"
                )

    def initialize(self, variables: dict[str, Any], batches: Iterator[Mapping], seed: int) -> dict[str, Any]:
        """Return the fresh variables with the codebooks started from vectors of the training batches.

        Batch norm takes the statistics of each batch. On one device whatever the run has, so that the result does not
        depend on how many there are.
        """
        inputs, taken = map(self.inputs, batches), list[jax.Array]()
        for level, quantizer in enumerate(self.module.quantizers):
            if quantizer.initial_vectors:
                with timed("first codes, by k-means"):
                    vectors = first_vectors(self.module, variables, _replayed(inputs, taken), level)
                    variables = self._initialized(variables, vectors, seed, level)
        return variables

    def _initialized(self, variables: dict[str, Any], vectors: np.ndarray, seed: int, level: int) -> dict[str, Any]:
        applied: Any = self.module.apply(variables, vectors, seed, level, method="initialize", mutable=True)
        return applied[1]  # type: ignore[no-any-return]

    def after_update(self, variables: dict[str, Any], vectors: Any, gather: Callable, step: Any, key: jax.Array) -> Any:
        """Return the variables with the codebooks changed by the global batch."""
        return self.module.apply(variables, vectors, gather, key, method="after_update", mutable=True)[1]


def _replayed(source: Iterator[jax.Array], taken: list[jax.Array]) -> Iterator[jax.Array]:
    """Yield what was taken from a source before, and then the rest, which is added to it."""
    yield from taken
    for x in source:
        taken.append(x)
        yield x


def first_vectors(
    module: Codec | Classifier, variables: dict[str, Any], inputs: Iterator[jax.Array], level: int
) -> np.ndarray:
    """Vectors (N, D) that a level's codebook starts from, N at least its K: evenly from all inputs that it takes.

    Args:
      module: has the quantizers and their `latents`.
      variables: of the module, fresh.
      inputs: of the module, batch after batch.
      level: number of the level.
    """
    wanted, num_codes = module.quantizers[level].initial_vectors, module.quantizers[level].num_codes
    collections = [name for name in variables if name != "params"]

    def latents(variables: dict[str, Any], x: jax.Array) -> jax.Array:
        z: Any = module.apply(variables, x, True, level, method="latents", mutable=collections)
        return z[0]  # type: ignore[no-any-return]

    compiled = jit_fast_compile(jax.vmap(latents, (None, 0), axis_name=axes.BATCH))
    parts, count = [], 0
    for x in inputs:
        z = np.asarray(compiled(variables, x[None]), np.float32)
        parts.append(z.reshape(-1, z.shape[-1]))
        count += len(parts[-1])
        if count >= wanted:
            break
    vectors: np.ndarray = np.concatenate(parts)
    vectors = vectors[np.arange(min(wanted, count)) * count // min(wanted, count)]
    return np.resize(vectors, (max(len(vectors), num_codes), vectors.shape[1]))  # each again if they are too few
