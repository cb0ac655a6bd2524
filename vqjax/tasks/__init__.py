"""The map: what is trained, one class per task, all behind the contract in `vqjax.tasks.base`."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vqjax.config.check import check_name
from vqjax.config.plain import with_fields
from vqjax.config.schema import Settings
from vqjax.data import datasets
from vqjax.data.sets.base import Dataset
from vqjax.data.workers import require_main_guard
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.autoencoder import AutoencoderTask
from vqjax.tasks.base import Task
from vqjax.tasks.classifier import ClassifierTask
from vqjax.tasks.code_classifier import CodeClassifierTask
from vqjax.tasks.prior import PriorTask
from vqjax.tasks.stage1 import Stage1
from vqjax.tasks.top_prior import check_top_prior

TASKS: dict[str, type[Task]] = {
    "autoencoder": AutoencoderTask,
    "prior": PriorTask,
    "classifier": ClassifierTask,
    "code_classifier": CodeClassifierTask,
}
_OWN_FIRST = ("data_dir", "path")  # fields of data that a second stage has from its first unless it has its own
_FROM_STAGE1 = ("size", "channels", "test")  # and those that it always has from it


def task_class(settings: Settings) -> type[Task]:
    """Return the class of a run's task. It is called with the settings, facts of the data, and the stage 1 or None.

    Raises InputError for an unknown task, or if the config names other runs than those of the task.
    """
    check_name(TASKS, settings.task, "config.task")
    task = TASKS[settings.task]
    for name in ("stage1", "top_prior"):
        if name in task.runs and name not in settings.plain:
            raise InputError(f"config.{name} is missing from the config")
        if name not in task.runs and name in settings.plain:
            raise InputError(f"config.{name} is unknown: config.task={settings.task!r} has none")
    return task


class Completed(NamedTuple):
    """A run whose config is complete.

    Attributes:
      settings: of the run.
      dataset: opened.
      stage1: of a second stage, else None.
    """

    settings: Settings
    dataset: Dataset
    stage1: Stage1 | None

    def build(self, facts: Mapping[str, Any] | None = None) -> Task:
        """Build the run's task, of run.json's facts if the run has begun.

        Raises InputError if a field of `config.model` is wrong, or a new run can only be of no use. No data is read.
        """
        build = task_class(self.settings)
        if facts:
            return build(self.settings, facts, self.stage1)
        inherited = self.stage1.inherited if self.stage1 else {}
        task = build(self.settings, {**datasets.dataset_facts(self.dataset), **inherited}, self.stage1)
        # A run on fewer of them, by config.data.limit, is meant to see each often.
        task.check_useful(self.dataset.sizes["train"] - datasets.num_validation(self.dataset))
        return task


def complete(settings: Settings, facts: Mapping[str, Any] | None = None, stage1: Stage1 | None = None) -> Completed:
    """Complete the config of a run with what a second stage has from its first, and open its data set.

    Args:
      settings: of the run.
      facts: run.json's, if the run has begun.
      stage1: the one of the config, if it is planned and not there yet.

    Raises:
      InputError: a field is wrong, the data set is not there, or stage 1 is unfit. No data is read.
    """
    if "stage1" in task_class(settings).runs:
        planned, stage1 = stage1 is not None, stage1 or Stage1(settings.stage1, facts=facts)
        if settings.top_prior and not planned:
            check_top_prior(settings, stage1)
        settings = Settings.of(with_fields(settings.plain, _inherited(settings, stage1)))
    dataset = datasets.open_dataset(settings.data)
    datasets.split_sizes(dataset)
    if settings.data.workers and dataset.streamed:
        require_main_guard(f"config.data.workers={settings.data.workers}")
    if stage1:
        try:
            datasets.check_same_dataset(dataset, stage1.facts)
        except InputError as error:
            raise InputError(f"config.stage1={stage1.path}: {error}") from error
    return Completed(settings, dataset, stage1)


def _inherited(settings: Settings, stage1: Stage1) -> dict[str, Any]:
    """Fields that a second stage has from its first, by their keys: the data set, where it lies, and its own path.

    Raises InputError if the config names another data set, or stage 1 was trained on clips.
    """
    own, dataset, grid = settings.data, stage1.facts["dataset"], stage1.layout.levels[0].grid
    if len(grid) > 2:
        raise InputError(
            f"config.stage1={settings.stage1} was trained on clips of {grid[0]} frames: a second stage expects images"
        )
    if own.name not in ("", dataset):
        raise InputError(
            f"config.data.name={own.name!r}, but config.stage1={settings.stage1} was trained on {dataset!r}"
            "\nThe data of a second stage is that of the first: expected the same name, or an empty one"
        )
    located = datasets.with_data_paths(stage1.settings.data)
    data = {name: getattr(own, name) or getattr(located, name) for name in _OWN_FIRST}
    data |= {name: getattr(located, name) for name in _FROM_STAGE1}
    return {"stage1": str(stage1.path), "data.name": dataset, **{f"data.{name}": value for name, value in data.items()}}


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


def load_task(workdir: Workdir, stage1: str | Stage1 | None = None) -> Task:
    """Build the task of a trained run.

    Args:
      workdir: of the run.
      stage1: the workdir of its stage 1, if that is no longer where the config says; or that stage 1, if it was read.

    Raises:
      InputError: there is no such run, it cannot be built, or its stage 1 is gone or another one.
    """
    config, facts = workdir.raw_config(), workdir.facts()
    with _naming_version(workdir):
        settings = Settings.of(config)
        build = task_class(settings)
    if stage1 and "stage1" not in build.runs:
        raise InputError(f"--stage1={stage1}: {workdir.path} holds a run of task {settings.task!r}, which has none")
    if "stage1" in build.runs and not isinstance(stage1, Stage1):
        if not stage1 and not Path(settings.stage1).is_dir():
            raise InputError(f"stage 1 is no longer in {settings.stage1}: name the place with --stage1")
        stage1 = Stage1(stage1 or settings.stage1, "--stage1", facts)
    with _naming_version(workdir):
        return build(settings, facts, stage1 or None)


@contextlib.contextmanager
def _naming_version(workdir: Workdir) -> Iterator[None]:
    """Name, in an InputError about a run's config, the version that can read it."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{error}\n{workdir.path} was made by vqjax {workdir.made_by}, which can read it") from error
