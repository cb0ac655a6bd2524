"""The map: what is trained, one class per task, all behind the same few methods that the one loop calls.

fields, complete(config)                   the config: its fields outside `model`, and what its stage 1 fills in
monitor, headline, curves                  the figures that choose the best checkpoint, are shown, are plotted
load(names), facts(splits)                 the data, and what run.json says of it
init, initialise                           the variables before step 0
augments, frozen, prepare                  between disk and step; `frozen` is what `prepare` needs of stage 1
train, objective, refresh                  a step: the output and loss of a batch, and what follows the update
evaluate, assess, baselines, images        an evaluation: of a batch, of a split without a model, to look at
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from vqjax.autoencoder import Autoencoder
from vqjax.config import InputError, check_name, check_run
from vqjax.prior import Prior

TASKS = {"autoencoder": Autoencoder, "prior": Prior}


def complete(config: ConfigDict) -> ConfigDict:
    """The config, its fields checked, with what its stage 1 says filled in. Raises InputError."""
    if "task" not in config:
        raise InputError("config.task is missing from the config")
    check_name(TASKS, config.task, "config.task")
    task = TASKS[config.task]
    check_run(config, task.fields)
    return task.complete(config)


def make(config: ConfigDict, facts: Mapping[str, Any] | None = None) -> Any:
    """The task of a complete config.

    Args:
      config: as `complete` gives it.
      facts: run.json's, of the run that it is made for; none to look whether the config is right.

    Raises:
      InputError: a field is wrong, or the stage 1 is no longer the one in the facts. No data is read.
    """
    check_name(TASKS, config.task, "config.task")
    return TASKS[config.task](config, facts)
