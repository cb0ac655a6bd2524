"""Trained models by the workdirs of their runs."""

from pathlib import Path

from ml_collections import ConfigDict

from vqjax.config import loading
from vqjax.config.check import check_name
from vqjax.inference.base import find_run
from vqjax.inference.classifier import Classifier
from vqjax.inference.prior import Prior
from vqjax.inference.tokenizer import Tokenizer
from vqjax.system.arguments import argument_names

MODELS: dict[str, type[Tokenizer] | type[Prior] | type[Classifier]] = {
    name: kind for kind in (Tokenizer, Prior, Classifier) for name in kind.tasks
}


@argument_names()
def load(
    workdir: str | Path, step: int | None = None, stage1: str | Path | None = None
) -> Tokenizer | Prior | Classifier:
    """Load a trained model: a tokenizer, a prior or a classifier, by the task of the run.

    Where one kind is expected, `Tokenizer.load`, `Prior.load` and `Classifier.load` are typed, and refuse the others.

    Args:
      workdir: of the run.
      step: of the checkpoint; by default the best one by the validation share, or else the last.
      stage1: workdir of the autoencoder that the run was trained on, if that has moved.

    Raises:
      FileNotFoundError: there is no run in the workdir.
      ValueError: there is no such checkpoint, or the run's stage 1 is gone, retrained or another one.
    """
    name = find_run(workdir).config().get("task")
    check_name(MODELS, name, f"{workdir}: config.task")
    return MODELS[name].load(workdir, step, stage1)


def get_config(name: str) -> ConfigDict:
    """Return a config that comes with vqjax, or of a file: "digits", "classifier:mnist", "my_config.py".

    Raises ValueError if there is none.
    """
    return loading.load_config(*loading.find_config(name))
