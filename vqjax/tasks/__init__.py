"""The map: what is trained, one class per task, all behind the contract in `vqjax.tasks.base`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vqjax.config.check import check_name
from vqjax.config.schema import SecondStage, check_run
from vqjax.data import datasets
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path
from vqjax.tasks.autoencoder import AutoencoderTask
from vqjax.tasks.base import Task
from vqjax.tasks.classifier import ClassifierTask, CodeClassifierTask
from vqjax.tasks.prior import PriorTask
from vqjax.tasks.stage1 import Stage1

TASKS: dict[str, type[Task]] = {
    "autoencoder": AutoencoderTask,
    "prior": PriorTask,
    "classifier": ClassifierTask,
    "code_classifier": CodeClassifierTask,
}


def resolve_config(
    config: ConfigDict, stage1: Stage1 | None = None, facts: Mapping[str, Any] | None = None
) -> tuple[ConfigDict, Stage1 | None]:
    """The config, its fields outside `model` and `optimizer` checked, with what its stage 1 says filled in; and that.

    Args:
      config: of a run.
      stage1: the one of the config, if it is planned and not there yet.
      facts: run.json's, if the run has begun.

    Raises:
      InputError: a field is wrong, or stage 1 is unfit.
    """
    if "task" not in config:
        raise InputError("config.task is missing from the config")
    check_name(TASKS, config.task, "config.task")
    check_run(config, TASKS[config.task].fields)
    config = ConfigDict(config.to_dict())
    for part, name, key in (
        (config, "init_from", ""),
        (config.data, "path", "data."),
        (config.data, "data_dir", "data."),
    ):
        if part.get(name):
            part[name] = str(absolute_path(part[name], f"config.{key}{name}"))
    if TASKS[config.task].fields is not SecondStage:
        return config, None
    stage1 = stage1 or Stage1(config.stage1, facts=facts)
    return stage1.complete(config), stage1


def build_task(config: ConfigDict, stage1: Stage1 | None = None, facts: Mapping[str, Any] | None = None) -> Task:
    """The task of a config.

    Args:
      config, stage1: as `complete` gives them.
      facts: run.json's, of the run that it is made for; none if that is new.

    Raises:
      InputError: a field is wrong. No data is read.
    """
    if not facts:
        facts = stage1.inherited if stage1 else datasets.dataset_facts(config)
    return TASKS[config.task](config, facts, stage1)


def warm_start(task: Task) -> dict[str, Any]:
    """The variables that a run with `config.init_from` begins with, on the host: those of the chosen checkpoint there.

    Raises InputError if there is no such run, or its variables differ from the task's in name, shape or dtype.
    """
    where = f"config.init_from={task.config.init_from}"
    try:
        other = Workdir(task.config.init_from)
        other.config()
        step, variables = other.restore_variables(task.abstract_variables)
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    print(f"{where}: starting from its weights, step {step:,}")
    return variables


def load_task(workdir: Workdir, stage1: str | None = None) -> Task:
    """The task of a run that was trained.

    Args:
      workdir: of the run.
      stage1: the workdir of its stage 1, if that is no longer where the config says.

    Raises:
      InputError: there is no such run, it cannot be built, or its stage 1 is gone or another one.
    """
    config, facts, found = workdir.config(), workdir.facts(), None
    check_name(TASKS, config.get("task"), f"{workdir.path}: config.task")
    if TASKS[config.task].fields is SecondStage:
        if not stage1 and not Path(config.stage1).is_dir():
            raise InputError(f"stage 1 is no longer in {config.stage1}: name the place with --stage1")
        found = Stage1(stage1 or config.stage1, "--stage1", facts)
    elif stage1:
        raise InputError(f"--stage1={stage1}: {workdir.path} holds a run of task {config.task!r}, which has none")
    try:
        check_run(config, TASKS[config.task].fields)
        return build_task(config, found, facts)
    except InputError as error:
        raise InputError(f"{error}\n{workdir.path} was made by vqjax {workdir.made_by}, which can read it") from error
