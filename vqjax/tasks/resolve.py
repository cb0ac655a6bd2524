"""Resolving the config of a run: absolute paths, and what a second stage has from its first."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from vqjax.config.plain import with_fields
from vqjax.config.schema import Settings
from vqjax.data import datasets
from vqjax.data.sets.base import Dataset
from vqjax.data.workers import require_main_guard
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path
from vqjax.tasks import TASKS, Task, build_task, check_config
from vqjax.tasks.stage1 import Stage1
from vqjax.tasks.top_prior import check_top_prior

_OWN_FIRST = ("data_dir", "path")  # fields of data that a second stage has from its first unless it has its own
_FROM_STAGE1 = ("size", "channels", "test")  # and those that it always has from it


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
        if facts:
            return build_task(self.settings, facts, self.stage1)
        facts = datasets.dataset_facts(self.dataset)
        task = build_task(self.settings, {**facts, **(self.stage1.inherited if self.stage1 else {})}, self.stage1)
        # A run on fewer of them, by config.data.limit, is meant to see each often.
        task.check_useful(self.dataset.sizes["train"] - datasets.num_validation(self.dataset))
        return task


def complete(
    config: ConfigDict | Mapping[str, Any], facts: Mapping[str, Any] | None = None, stage1: Stage1 | None = None
) -> Completed:
    """Complete the config of a run, check it, and open its data set.

    Args:
      config: of a run.
      facts: run.json's, if the run has begun.
      stage1: the one of the config, if it is planned and not there yet.

    Raises:
      InputError: a field is wrong, the data set is not there, or stage 1 is unfit. No data is read.
    """
    settings = check_config(config)
    settings = check_config(with_fields(settings.plain, _absolute(settings)))
    if "stage1" in TASKS[settings.task].runs:
        planned, stage1 = stage1 is not None, stage1 or Stage1(settings.stage1, facts=facts)
        if settings.top_prior and not planned:
            check_top_prior(settings, stage1)
        settings = check_config(with_fields(settings.plain, _inherited(settings, stage1)))
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


def _absolute(settings: Settings) -> dict[str, str]:
    """Paths of a run that are absolute, by their keys."""
    paths = {"init_from": settings.init_from, "top_prior": settings.top_prior}
    paths |= {f"data.{name}": getattr(settings.data, name) for name in _OWN_FIRST}
    return {key: str(absolute_path(path, f"config.{key}")) for key, path in paths.items() if path}


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
