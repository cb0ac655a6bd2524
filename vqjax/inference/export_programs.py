"""Trained models for other software: their weights, and programs that run where vqjax is not installed.

docs/export.md says what is written.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util
from safetensors.numpy import save

from vqjax import tasks
from vqjax.codes import require_single
from vqjax.ops.platforms import EXPORT_PLATFORMS
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_directory, require_empty_directory, write_json
from vqjax.tasks.autoencoder import AutoencoderTask
from vqjax.tasks.base import Task
from vqjax.tasks.classifier import ClassifierTask


class ExportedFunction(NamedTuple):
    """A function of one array (N, ...), to be exported.

    Attributes:
      function: with the weights inside.
      shape: of the array, less N.
      dtype: of the array.
    """

    function: Callable[[jax.Array], jax.Array]
    shape: tuple[int, ...]
    dtype: Any


def _code_facts(task: Any) -> dict[str, Any]:
    if not task.layout:
        quantizer = task.settings.model.values["quantizer"]
        raise InputError(f"--workdir: the run has no codes, it was trained with config.model.quantizer={quantizer!r}")
    return {"num_codes": require_single(task.layout, "--workdir").num_codes}


def _tokenizer(task: Any, variables: Mapping[str, Any]) -> dict[str, ExportedFunction]:
    def decode(codes: jax.Array) -> jax.Array:
        with jax.default_matmul_precision("highest"):  # the same images on every device
            images: jax.Array = task.decode(variables, codes)
            return images

    encode = functools.partial(task.encode, variables)
    return {
        "encode": ExportedFunction(encode, task.image_shape, jnp.uint8),
        "decode": ExportedFunction(decode, task.layout.levels[0].shape, jnp.int32),
    }


def _classifier(task: Any, variables: Mapping[str, Any]) -> dict[str, ExportedFunction]:
    def classify(images: jax.Array) -> jax.Array:
        probabilities: jax.Array = task.probabilities(variables, task.frozen, {"image": images})
        return probabilities

    return {"classify": ExportedFunction(classify, task.image_shape, jnp.uint8)}


class Kind(NamedTuple):
    """What can be exported.

    Attributes:
      whose: in words.
      task: of whose runs.
      programs: of a task and its variables, by name.
      facts: of a task, for config.json. Raises InputError if it has nothing to export.
    """

    whose: str
    task: type[Task]
    programs: Callable[[Any, Mapping[str, Any]], dict[str, ExportedFunction]]
    facts: Callable[[Any], dict[str, Any]]


KINDS = {
    "tokenizer": Kind("an autoencoder's", AutoencoderTask, _tokenizer, _code_facts),
    "classifier": Kind("a classifier's", ClassifierTask, _classifier, lambda task: {}),
}


def export_programs(kind: str, workdir: str, out: str, step: int | None = None, stage1: str | None = None) -> Path:
    """Writes weights.safetensors, config.json, and a .stablehlo file for each program of a kind.

    Args:
      kind: an entry of KINDS.
      workdir: of a trained model.
      out: a directory, new or empty; a new one appears whole or not at all.
      step: of the checkpoint; by default the best one by the validation share, or else the last.
      stage1: as of `tasks.trained`.

    Returns:
      The directory.

    Raises:
      InputError: the workdir holds no such model, or one without codes or whose weights are not finite; or the
        directory is in use or cannot be written to.
    """
    run, entry = Workdir(workdir), KINDS[kind]
    name = run.config().get("task")
    if not issubclass(tasks.TASKS.get(name, object), entry.task):
        raise InputError(f"--workdir={workdir} holds a run of task {name!r}, expected {entry.whose}")
    directory = require_empty_directory(out)
    task = tasks.load_task(run, stage1)
    facts = entry.facts(task)
    step, variables = run.restore_variables(task.abstract_variables, step)
    weights = flatten_names({**variables, "stage1": task.frozen})
    exported = {name: _export(program) for name, program in entry.programs(task, variables).items()}
    description = {"task": task.settings.task, "step": step, **facts, **_description(task, exported)}
    with atomic_directory(directory) as temporary:
        (temporary / "weights.safetensors").write_bytes(save(weights))
        write_json(temporary / "config.json", description)
        for name, program in exported.items():
            (temporary / f"{name}.stablehlo").write_bytes(program.serialize())
    return directory


def flatten_names(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays of a tree by their paths: "params/encoder/Conv_0/kernel"."""
    flat = traverse_util.flatten_dict(variables, sep="/")
    return {name: np.asarray(array, order="C") for name, array in flat.items()}


def _export(program: ExportedFunction) -> jax.export.Exported:
    """For EXPORT_PLATFORMS and any N, which is called n."""
    (n,) = jax.export.symbolic_shape("n")
    argument = jax.ShapeDtypeStruct((n, *program.shape), program.dtype)
    with _no_locations():
        return jax.export.export(jax.jit(program.function), platforms=EXPORT_PLATFORMS)(argument)


@contextlib.contextmanager
def _no_locations() -> Iterator[None]:
    """What is lowered inside does not name the files of this machine that it comes from."""
    name = "jax_traceback_in_locations_limit"
    before = getattr(jax.config, name)
    jax.config.update(name, 0)
    try:
        yield
    finally:
        jax.config.update(name, before)


def _description(task: Task, exported: Mapping[str, jax.export.Exported]) -> dict[str, Any]:
    """What a reader of the files needs to know; no paths of this machine."""
    facts = {name: task.facts[name] for name in ("dataset", "image_shape", "class_names")}
    programs = {
        name: {"input": _array(program.in_avals[0]), "output": _array(program.out_avals[0])}
        for name, program in exported.items()
    }
    models = {"model": dict(task.settings.model.values)}
    if task.stage1:
        models["stage1"] = {"step": task.stage1.step, "model": dict(task.stage1.settings.model.values)}
    return {**facts, "programs": programs, **models, "jax": jax.__version__}


def _array(aval: Any) -> dict[str, Any]:
    return {"dtype": str(aval.dtype), "shape": [size if isinstance(size, int) else str(size) for size in aval.shape]}
