"""The map: what is trained, one class per task, all behind the same few methods that the one loop calls.

fields, traits                             the config's fields outside `model`; what a table says of the run
monitor, headline, curves                  the figures that choose the best checkpoint, are shown, are plotted
load(names), facts(splits)                 the data, and what run.json says of it
init, initialise                           the variables before step 0
prepares, frozen, prepare                  between disk and step: which batches ("train", "evaluation") are changed on
                                           the way; `frozen` is what `prepare` needs of stage 1, its key in evaluation
                                           is None
train, objective, refresh                  a step: the output and loss of a batch, and what follows the update
evaluate, assess, baselines, images        an evaluation: of a batch, of a split without a model, to look at

Those with `SecondStage` fields are made with a `stage1`, the others without.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from vqjax.autoencoder import Autoencoder
from vqjax.checkpoint import Workdir
from vqjax.classifier import Classifier, CodeClassifier
from vqjax.config import InputError, SecondStage, check_name, check_run
from vqjax.prior import Prior
from vqjax.stage1 import Stage1

TASKS = {"autoencoder": Autoencoder, "prior": Prior, "classifier": Classifier, "code_classifier": CodeClassifier}


def complete(config: ConfigDict, stage1: Stage1 | None = None) -> ConfigDict:
    """The config, its fields checked, with what its stage 1 says filled in.

    Args:
      config: of a run.
      stage1: the one of the config, if it is planned and not there yet.

    Raises:
      InputError: a field outside `model` and `optimizer` is wrong, or stage 1 is unfit.
    """
    if not _is_second(config):
        return config
    return (stage1 or Stage1(config.stage1)).complete(config)


def _is_second(config: ConfigDict) -> bool:
    """Whether a run of the config has a stage 1; InputError if a field outside `model` and `optimizer` is wrong."""
    if "task" not in config:
        raise InputError("config.task is missing from the config")
    check_name(TASKS, config.task, "config.task")
    check_run(config, TASKS[config.task].fields)
    return TASKS[config.task].fields is SecondStage


def make(config: ConfigDict, facts: Mapping[str, Any] | None = None, stage1: Stage1 | None = None) -> Any:
    """The task of a complete config.

    Args:
      config: as `complete` gives it.
      facts: run.json's, of the run that it is made for; none to look whether the config is right.
      stage1: as of `complete`.

    Raises:
      InputError: a field is wrong, or the stage 1 is no longer the one in the facts. No data is read.
    """
    check_name(TASKS, config.task, "config.task")
    task = TASKS[config.task]
    return task(config, facts, stage1) if task.fields is SecondStage else task(config, facts)


def trained(workdir: Workdir, stage1: str | None = None) -> tuple[ConfigDict, Any]:
    """The config and the task of a run that was trained.

    Args:
      workdir: of the run.
      stage1: the workdir of its stage 1, if that is no longer where the config says.

    Raises:
      InputError: there is no such run, it cannot be built, or its stage 1 is gone or another one.
    """
    config, found = workdir.config(), None
    if _is_second(config):
        if not stage1 and not Path(config.stage1).is_dir():
            raise InputError(f"stage 1 is no longer in {config.stage1}: name the place with --stage1")
        found = Stage1(stage1 or config.stage1, "--stage1")
    elif stage1:
        raise InputError(f"--stage1={stage1}: {workdir.path} holds a run of task {config.task!r}, which has none")
    return config, make(config, workdir.facts(), found)
