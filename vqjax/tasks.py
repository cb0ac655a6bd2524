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
from typing import Any

from ml_collections import ConfigDict

from vqjax.autoencoder import Autoencoder
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
    if "task" not in config:
        raise InputError("config.task is missing from the config")
    check_name(TASKS, config.task, "config.task")
    fields = TASKS[config.task].fields
    check_run(config, fields)
    return (stage1 or Stage1(config.stage1)).complete(config) if fields is SecondStage else config


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
