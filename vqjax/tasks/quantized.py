"""Tasks that train a network through a quantizer, be it `none`."""

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from vqjax.networks.layers import BatchNorm
from vqjax.ops import axes
from vqjax.ops.platforms import jit_fast_compile
from vqjax.quantizers import Quantizer
from vqjax.system.errors import InputError
from vqjax.system.terminal import timed
from vqjax.tasks.base import Task, below
from vqjax.tasks.codecs import Codec
from vqjax.tasks.codecs.base import innermost_quantizer
from vqjax.tasks.quantized_classifier import Classifier


class QuantizedTask(Task):
    """A task whose module has quantizers, a level each, and `latents` that go into them.

    Attributes:
      positions: of an image that have a code, at most, for each level.
    """

    module: Codec | Classifier
    positions: tuple[int, ...]

    def require_classes(self, remedy: str = "") -> None:
        """Raise InputError if the data has no labels; the remedy ends its line."""
        if not self.class_names:
            name = self.settings.data.name
            raise InputError(f"config.data.name={name!r} has no labels: there is nothing to classify{remedy}")

    def useless(self, count: int) -> Iterator[str]:
        """Yield also: a single code, more codes than train has vectors, statistics over a single value."""
        yield from super().useless(count)
        names = getattr(self.module, "level_names", ("codes",))
        levels = [level for level in zip(names, self.module.quantizers, self.positions) if level[1].num_codes]
        yield from dict.fromkeys(line for level in levels for line in self._useless_codes(count, *level))
        yield from self._single_values()

    def _single_values(self) -> Iterator[str]:
        """Yield which layer takes its statistics over a single value, so that its result is the same for all images."""
        alone = self.settings.batch_size == 1
        if not alone and ("encoder" not in self.settings.model.values or 1 not in self.positions):
            return
        sizes: dict[type, set[int]] = {BatchNorm: set(), nn.GroupNorm: set()}  # values of an image that are normalized

        def record(call: Callable, arguments: tuple, options: dict[str, Any], context: Any) -> Any:
            if type(context.module) in sizes and context.method_name == "__call__":
                shape = arguments[0].shape
                channels = shape[-1] // (getattr(context.module, "num_groups", None) or shape[-1])
                sizes[type(context.module)].add(math.prod(shape[1:-1]) * channels)
            return call(*arguments, **options)

        with nn.intercept_methods(record):
            _ = self.abstract_variables
        if alone and 1 in sizes[BatchNorm]:
            yield (
                "config.batch_size=1: expected at least 2, since batch norm takes statistics over the batch, and an "
                "image has a single position; set --config.batch_size=2"
            )
        if 1 in sizes[nn.GroupNorm]:
            name = self.settings.model.values["encoder"]
            yield (
                f"config.model.{name}.width={self.settings.model.values[name]['width']}: group norm has a single value "
                f"to take statistics of, expected more channels or positions; set --config.model.{name}.width"
            )

    def _useless_codes(self, count: int, name: str, quantizer: Quantizer, positions: int) -> Iterator[str]:
        key, num_codes, limit = self._codes_key(name), quantizer.num_codes, count * positions
        levels = key.endswith(".levels")
        shown, change = (key, " to fewer") if levels else (f"{key}={num_codes}", f"={below(limit)}")
        if num_codes == 1:
            yield f"{shown}: expected at least 2, since 1 code tells nothing of an image; set --{key}"
        if num_codes > limit:
            found = f"{shown}: {num_codes:,} codes" if levels else shown
            yield (
                f"{found}: expected at most as many as train has vectors, {count:,} images of {positions:,}; set "
                f"--{key}{change}"
            )

    def _codes_key(self, level: str) -> str:
        """Return the key of the field in `config.model` that says how many codes a level has."""
        key, model = self.settings.model
        codec = model.get("codec", "")
        own = model.get(codec, {}).get(level, model)  # a codec of several levels has fields for each of them
        if own.get("num_codes"):
            return f"{key}.{codec}.{level}.num_codes"
        name = innermost_quantizer(model, own["quantizer"])
        return f"{key}.{name}.{'levels' if 'levels' in model[name] else 'num_codes'}"

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
