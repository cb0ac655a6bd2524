"""The classifier whose features are taken: of the same data as the run that is evaluated."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vqjax.data.sets.base import Dataset
from vqjax.inference.classifier import Classifier
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError


def load_feature_classifier(features: str | Path, dataset: Dataset) -> Classifier:
    """Load the classifier whose features are taken.

    Args:
      features: workdir of its run.
      dataset: of the run that is evaluated.

    Raises:
      InputError: naming --features, if it holds no run of the task "classifier", or one of other images.
    """
    run, where = Workdir(features, "--features"), f"--features={features}"
    if not run.exists:
        raise InputError(f"{where}: expected the workdir of a trained classifier, found no config.json in it")
    if (name := run.raw_config().get("task")) != "classifier":
        raise InputError(f"{where} holds a run of task {name!r}, expected 'classifier'")
    facts = run.facts()
    if reason := _difference(facts, run.raw_config()["data"].get("oversize", 1.0), dataset):
        ours = dataset.data.name
        raise InputError(
            f"{where} was trained on {facts['dataset']!r}, the run that is evaluated on {ours!r}: {reason}"
        )
    return Classifier.load(run.path)


def _difference(facts: Mapping[str, Any], oversize: float, dataset: Dataset) -> str:
    """Return what tells the images of a run, by its facts, from a set that is open; "" if they are the same."""
    if (shape := tuple(facts["image_shape"])) != tuple(dataset.shape):
        return "images of " + " and ".join(" x ".join(map(str, size)) for size in (shape, dataset.shape))
    if tuple(facts["class_names"]) != tuple(dataset.class_names):
        return "other classes"
    for name, theirs in facts.get("hash", {}).items():
        ours = dataset.hash(name)
        comparable = ours.partition(" ")[0] == theirs.partition(" ")[0] and oversize == dataset.data.oversize
        if comparable and ours != theirs:
            return f"other images of {name}"
    return ""
