"""The map: what is trained, one class per task, all behind the contract in `vqjax.tasks.base`."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vqjax.config.check import check_name
from vqjax.config.schema import Settings
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.autoencoder import AutoencoderTask
from vqjax.tasks.base import Task
from vqjax.tasks.classifier import ClassifierTask
from vqjax.tasks.code_classifier import CodeClassifierTask
from vqjax.tasks.prior import PriorTask
from vqjax.tasks.stage1 import Stage1

TASKS: dict[str, type[Task]] = {
    "autoencoder": AutoencoderTask,
    "prior": PriorTask,
    "classifier": ClassifierTask,
    "code_classifier": CodeClassifierTask,
}


def check_config(config: ConfigDict | Mapping[str, Any]) -> Settings:
    """Check a run's config, but for its model and optimizer, which are checked when they are built.

    Raises InputError if it names no task, or a field is unknown, missing, of a wrong type or out of range.
    """
    if "task" not in config:
        raise InputError("config.task is missing from the config")
    check_name(TASKS, config["task"], "config.task")
    return Settings.of(config, TASKS[config["task"]].runs)


def build_task(settings: Settings, facts: Mapping[str, Any], stage1: Stage1 | None = None) -> Task:
    """Build the task of a run.

    Args:
      settings: of the run.
      facts: of the data: those of run.json or, of a new run, of its data set or of its stage 1.
      stage1: of a second stage.

    Raises:
      InputError: a field is wrong. No data is read.
    """
    return TASKS[settings.task](settings, facts, stage1)


def warm_start(task: Task) -> dict[str, Any]:
    """Load the variables that a run with `config.init_from` begins with, to the host.

    Raises InputError if there is no such run, or its variables differ from the task's in name, shape or dtype.
    """
    where = f"config.init_from={task.settings.init_from}"
    try:
        source = Workdir(task.settings.init_from)
        source.raw_config()  # refuses what is no run
        step, variables = source.restore_variables(task.abstract_variables)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    print(f"{where}: starting from its weights, step {step:,}")
    return variables


def load_task(workdir: Workdir, stage1: str | None = None) -> Task:
    """Build the task of a trained run.

    Args:
      workdir: of the run.
      stage1: the workdir of its stage 1, if that is no longer where the config says.

    Raises:
      InputError: there is no such run, it cannot be built, or its stage 1 is gone or another one.
    """
    config, facts, frozen = workdir.raw_config(), workdir.facts(), None
    with _naming_version(workdir):
        settings = check_config(config)
    if "stage1" in TASKS[settings.task].runs:
        if not stage1 and not Path(settings.stage1).is_dir():
            raise InputError(f"stage 1 is no longer in {settings.stage1}: name the place with --stage1")
        frozen = Stage1(stage1 or settings.stage1, "--stage1", facts)
    elif stage1:
        raise InputError(f"--stage1={stage1}: {workdir.path} holds a run of task {settings.task!r}, which has none")
    with _naming_version(workdir):
        return build_task(settings, facts, frozen)


@contextlib.contextmanager
def _naming_version(workdir: Workdir) -> Iterator[None]:
    """Name, in an InputError about a run's config, the version that can read it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}\n{workdir.path} was made by vqjax {workdir.made_by}, which can read it") from error
