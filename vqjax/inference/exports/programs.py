"""Trained models for other software: their weights, and programs that run where vqjax is not installed.

docs/export.md describes the files.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors.numpy import save

from vqjax.codes import CodeLayout
from vqjax.inference import functions
from vqjax.ops.platforms import EXPORT_PLATFORMS
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_directory, require_empty_directory, to_json, write_json
from vqjax.tasks.autoencoder import AutoencoderTask
from vqjax.tasks.base import Task
from vqjax.tasks.classifier import ClassifierTask


class Argument(NamedTuple):
    """An array (N, *shape) that an exported program takes."""

    shape: tuple[int, ...]
    dtype: Any


class Program(NamedTuple):
    """A program to be exported.

    Attributes:
      function: of arrays, with the weights inside; returns an array or a tuple of them.
      arguments: of the function.
    """

    function: Callable[..., Any]
    arguments: Sequence[Argument]


def export_tokenizer(task: AutoencoderTask, variables: Mapping[str, Any], step: int, out: str | Path) -> Path:
    """Write a trained autoencoder with the programs encode and decode; see `_export`."""
    layout = task.layout
    if layout is None:
        quantizer = task.settings.model.values["quantizer"]
        raise InputError(f"--workdir: the run has no codes, it was trained with config.model.quantizer={quantizer!r}")

    def encode(images: jax.Array) -> Any:
        return _unpacked(layout.split(functions.encode(task, variables, images)))

    def decode(*arrays: jax.Array) -> jax.Array:
        return functions.decode(task, variables, layout.join(dict(zip(layout.names, arrays))))

    codes = [Argument(level.shape, jnp.int32) for level in layout.levels]
    programs = {"encode": Program(encode, [_image(task)]), "decode": Program(decode, codes)}
    return _export(task, variables, step, out, programs, _describe(layout))


def export_classifier(task: ClassifierTask, variables: Mapping[str, Any], step: int, out: str | Path) -> Path:
    """Write a trained classifier with the program classify; see `_export`."""

    def classify(images: jax.Array) -> jax.Array:
        return task.probabilities(variables, task.frozen, {"image": images})

    return _export(task, variables, step, out, {"classify": Program(classify, [_image(task)])}, {})


def _image(task: Task) -> Argument:
    return Argument(task.image_shape, jnp.uint8)


def _unpacked(arrays: Mapping[str, jax.Array]) -> Any:
    """Return an array that is alone by itself, and several as a tuple, coarse to fine."""
    return tuple(arrays.values()) if len(arrays) > 1 else next(iter(arrays.values()))


def _describe(layout: CodeLayout) -> dict[str, Any]:
    if level := layout.single:
        return {"num_codes": level.num_codes}
    return {"levels": layout.to_json()}


def _export(
    task: Task,
    variables: Mapping[str, Any],
    step: int,
    out: str | Path,
    programs: Mapping[str, Program],
    facts: Mapping[str, Any],
) -> Path:
    """Write weights.safetensors, config.json, and a .stablehlo file for each program.

    Args:
      task: of the run.
      variables: of the checkpoint.
      step: of the checkpoint.
      out: a directory, new or empty; a new one appears whole or not at all.
      programs: by name.
      facts: for config.json.

    Returns:
      The directory. Raises InputError if it is in use, WriteError if it cannot be written.
    """
    directory = require_empty_directory(out)
    weights = flatten_names({**variables, "stage1": task.frozen})
    exported = {name: _compile(program) for name, program in programs.items()}
    description = {"task": task.settings.task, "step": step, **facts, **_description(task, exported)}
    with atomic_directory(directory) as temporary:
        (temporary / "weights.safetensors").write_bytes(save(weights, {"config": to_json(description)}))
        write_json(temporary / "config.json", description)
        for name, program in exported.items():
            (temporary / f"{name}.stablehlo").write_bytes(program.serialize())
    return directory


def flatten_names(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the arrays of a tree by their paths: "params/encoder/Conv_0/kernel"."""
    flat = traverse_util.flatten_dict(variables, sep="/")
    return {name: np.asarray(array, order="C") for name, array in flat.items()}


def _compile(program: Program) -> jax.export.Exported:
    """Lower a program for EXPORT_PLATFORMS and any N, which is called n."""
    (n,) = jax.export.symbolic_shape("n")
    arguments = [jax.ShapeDtypeStruct((n, *argument.shape), argument.dtype) for argument in program.arguments]
    with _no_locations():
        return jax.export.export(jax.jit(program.function), platforms=EXPORT_PLATFORMS)(*arguments)


@contextlib.contextmanager
def _no_locations() -> Iterator[None]:
    """Keep the paths of this machine's files out of what is lowered inside."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _description(task: Task, exported: Mapping[str, jax.export.Exported]) -> dict[str, Any]:
    """Return what readers of the files need to know; no paths of this machine."""
    facts = {name: task.facts[name] for name in ("dataset", "image_shape", "class_names")}
    programs = {
        name: {"input": _arrays(program.in_avals), "output": _arrays(program.out_avals)}
        for name, program in exported.items()
    }
    models = {"model": dict(task.settings.model.values)}
    if task.stage1:
        models["stage1"] = {"step": task.stage1.step, "model": dict(task.stage1.settings.model.values)}
    return {**facts, "programs": programs, **models, "jax": jax.__version__}


def _arrays(avals: Sequence[Any]) -> Any:
    """Return dtype and shape of an array, or a list of those of several."""
    described = [
        {"dtype": str(aval.dtype), "shape": [size if isinstance(size, int) else str(size) for size in aval.shape]}
        for aval in avals
    ]
    return described if len(described) > 1 else described[0]
