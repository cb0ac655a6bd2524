"""Resolving the config of a run: absolute paths, and what a second stage has from its first."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ml_collections import ConfigDict

from vqjax.config.schema import Settings
from vqjax.data import datasets
from vqjax.data.sets.base import Dataset
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path
from vqjax.tasks import Task, build_task, task_class
from vqjax.tasks.stage1 import Stage1

_PATHS = (("", "init_from"), ("data.", "path"), ("data.", "data_dir"))
_OWN_FIRST = (
    "data_dir",
    "path",
)  # fields that a second stage has from its first unless it has its own
_FROM_STAGE1 = ("size", "channels", "test")  # and those that it always has from it


class Completed(NamedTuple):
    """A run whose config is complete.

    Attributes:
      config: as config.json will have it.
      settings: the same, typed.
      dataset: opened.
      stage1: of a second stage, else None.
    """

    config: ConfigDict
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
        task.check_size(facts["sizes"]["train"])
        return task


def complete(config: ConfigDict, facts: Mapping[str, Any] | None = None, stage1: Stage1 | None = None) -> Completed:
    """Complete the config of a run, check it, and open its data set.

    Args:
      config: of a run.
      facts: run.json's, if the run has begun.
      stage1: the one of the config, if it is planned and not there yet.

    Raises:
      InputError: a field is wrong, the data set is not there, or stage 1 is unfit. No data is read.
    """
    second_stage = task_class(config).second_stage
    Settings.of(config, second_stage)
    config = _absolute(config)
    if second_stage:
        stage1 = stage1 or Stage1(config.stage1, facts=facts)
        config = _inherit(config, stage1)
    settings = Settings.of(config, second_stage)
    dataset = datasets.open_dataset(settings.data)
    datasets.split_sizes(dataset)
    if stage1:
        try:
            datasets.check_same_dataset(dataset, stage1.facts)
        except InputError as error:
            raise InputError(f"config.stage1={stage1.path}: {error}") from error
    return Completed(config, settings, dataset, stage1)


def _absolute(config: ConfigDict) -> ConfigDict:
    """A copy of a config whose paths are absolute."""
    config = ConfigDict(config.to_dict())
    for section, name in _PATHS:
        part = config.data if section else config
        if part.get(name):
            part[name] = str(absolute_path(part[name], f"config.{section}{name}"))
    return config


def _inherit(config: ConfigDict, stage1: Stage1) -> ConfigDict:
    """The config of a second stage with the data set of its first, where it lies now, and the absolute path of that.

    Raises InputError if the config names another data set, or stage 1 was trained on clips.
    """
    dataset, grid = stage1.facts["dataset"], stage1.layout.levels[0].grid
    if len(grid) > 2:
        raise InputError(
            f"config.stage1={config.stage1} was trained on clips of {grid[0]} frames: a second stage expects images"
        )
    if config.data.name not in ("", dataset):
        raise InputError(
            f"config.data.name={config.data.name!r}, but config.stage1={config.stage1} was trained on {dataset!r}"
            "\nThe data of a second stage is that of the first: expected the same name, or an empty one"
        )
    located = datasets.with_data_paths(stage1.settings.data)
    config.data.name, config.stage1 = dataset, str(stage1.path)
    for name in _OWN_FIRST:
        config.data[name] = config.data[name] or getattr(located, name)
    for name in _FROM_STAGE1:
        config.data[name] = getattr(located, name)
    return config
