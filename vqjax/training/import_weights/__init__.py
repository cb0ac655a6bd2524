"""Weights that other programs have published, as finished runs: a file for each program."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np

from vqjax import tasks
from vqjax.config.annotations import Range
from vqjax.config.check import check_name, check_value
from vqjax.config.schema import Settings
from vqjax.runs.metrics import RunningMean
from vqjax.runs.state import initial_state
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_directory, file_checksum, require_empty_directory
from vqjax.system.paths import absolute_path
from vqjax.training import optimizers
from vqjax.training.import_weights.dall_e import DallE
from vqjax.training.import_weights.source import Source
from vqjax.training.import_weights.state_dict import StateDict
from vqjax.training.import_weights.vq_vae_images import VQVAEImages
from vqjax.training.import_weights.vqgan import VQGAN

SOURCES: dict[str, type[Source]] = {"vq-vae-images": VQVAEImages, "dall-e": DallE, "vqgan": VQGAN}


def import_weights(
    source: str, files: Sequence[str | Path], out: str | Path, variance: float, **options: str
) -> Workdir:
    """Make a finished run of published weights: one checkpoint, after all the steps that its config has.

    Args:
      source: an entry of SOURCES, the program that the weights are of.
      files: as torch.save writes them, one or more as the source has it. They are read as data, nothing is executed.
      out: the workdir to be, new or empty. It appears whole or not at all.
      variance: of the pixels that the weights were trained on, in [0, 1].
      **options: of the source.

    Raises:
      InputError: an unknown source, another number or kind of files, names or shapes that the source does not have, or
        a directory in use.
    """
    check_name(SOURCES, source, "source")
    check_value(variance, Annotated[float, Range(0, open_min=True)], "--variance")
    if len(files) != len(SOURCES[source].files):
        raise InputError(f"{len(files)} files: expected {' and '.join(SOURCES[source].files)} of {source}")
    paths = [absolute_path(file, "file") for file in files]
    directory = require_empty_directory(out, "a new or empty directory")
    states = [StateDict(path) for path in paths]
    model = SOURCES[source](states, **options)
    settings = Settings.of(model.config())
    task = tasks.task_class(settings)(settings, model.facts(settings.data))
    variables = model.variables(task.abstract_variables)
    for state in states:
        state.finish()
    origin = {"program": source, "files": {path.name: file_checksum(path) for path in paths}}
    facts = {**task.facts, "variance": variance, "converted": origin}
    with atomic_directory(directory) as temporary:
        workdir = Workdir(temporary)
        workdir.create(settings.plain, facts)
        _save(workdir, settings, variables)
    return Workdir(directory)


def _save(workdir: Workdir, settings: Settings, variables: Mapping[str, Any]) -> None:
    """Save the one checkpoint of the run, after all of its steps."""
    optimizer, _ = optimizers.create_optimizer(settings.optimizer, settings.steps)
    state = jax.device_get(initial_state(variables, optimizer))._replace(step=np.int32(settings.steps))
    with workdir.checkpoints(create=True) as checkpoints:
        checkpoints.save(state, RunningMean().state)
