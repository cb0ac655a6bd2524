"""Evaluation of an autoencoder or a prior by the features of a classifier, with floors beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vqjax.config.annotations import Seed
from vqjax.config.check import check_value
from vqjax.data.datasets import reopen_dataset
from vqjax.inference.base import Model
from vqjax.inference.classifier import Classifier
from vqjax.inference.features.bootstrap import RESAMPLES
from vqjax.inference.features.classifiers import load_feature_classifier
from vqjax.inference.features.comparison import Figures
from vqjax.inference.features.neighborhoods import NEIGHBORS
from vqjax.inference.features.sets import SAMPLES, RunSets
from vqjax.inference.models import load
from vqjax.inference.prior import Prior
from vqjax.inference.tokenizer import Tokenizer
from vqjax.runs.reports.report import write_report
from vqjax.runs.workdir import Workdir
from vqjax.system.arguments import argument_names
from vqjax.system.errors import InputError
from vqjax.system.files import wrap_write_errors, write_json
from vqjax.training.evaluation import evaluation_dir


class FeatureEvaluation(NamedTuple):
    """Result of an evaluation by features.

    Attributes:
      content: of features.json.
      path: of that file.
      status: 0, or the exit status of a training on samples that was stopped or diverged.
    """

    content: Mapping[str, Any]
    path: Path
    status: int


@argument_names()
def evaluate_features(
    workdir: str | Path,
    features: str | Path,
    num: int | None = None,
    seed: int = 0,
    cas: bool = False,
    step: int | None = None,
    stage1: str | Path | None = None,
    data_dir: str | None = None,
    data_path: str | None = None,
) -> FeatureEvaluation:
    """Compare reconstructions or samples of a run with test images; writes features.json, and report.md again.

    Args:
      workdir: of an autoencoder or a prior.
      features: workdir of a classifier of the same data.
      num: images of each set that is compared; by default as many as test has.
      seed: of all that is drawn: images, samples, resamples, and the training on samples.
      cas: train the classifier on samples too, and write features.json again.
      step, stage1: of the run, see `load`.
      data_dir, data_path: where its data are now; see docs/data.md.

    Raises:
      InputError: an argument is wrong, or the classifier is of other images. Nothing is computed then.
    """
    model = _load(workdir, step, stage1, cas)
    check_value(seed, Seed, "--seed")
    dataset = reopen_dataset(model._task.settings.data, model._task.facts, data_dir, data_path)
    classifier = load_feature_classifier(features, dataset)
    sets = RunSets(model, classifier, dataset, num, seed)
    directory, status, comparisons = evaluation_dir(Workdir(model.path), step), 0, sets.compare()
    settings = {"split": "test", "images": sets.count, "seed": seed, "resamples": RESAMPLES, "neighbors": NEIGHBORS}
    facts = {"step": model.step, **settings, "classifier": _describe(classifier, str(features))}
    content = _write(model, directory, facts, comparisons)
    if cas:
        status, score = sets.accuracy_of_samples()
        if score is not None:
            comparisons[SAMPLES]["classification_accuracy_score"] = score
            content = _write(model, directory, facts, comparisons)
    return FeatureEvaluation(content, directory / "features.json", status)


def _load(workdir: str | Path, step: int | None, stage1: str | Path | None, cas: bool) -> Tokenizer | Prior:
    """Load the run that is evaluated. Raises InputError if there is nothing to compare, or to train on."""
    model = load(workdir, step, stage1)
    if not isinstance(model, Tokenizer | Prior):
        raise InputError(f"--workdir={workdir} holds a classifier: with --features expected an autoencoder or a prior")
    if cas and not (isinstance(model, Prior) and model.conditional):
        raise InputError("--cas: expected a prior that knows classes, on whose samples a classifier can be trained")
    return model


def _describe(classifier: Classifier, features: str) -> dict[str, Any]:
    """Return facts of the classifier: its workdir as it was typed, and its own accuracy by its eval.json."""
    metrics = classifier.metrics
    own = metrics if metrics.get("step") == classifier.step else {}
    return {
        "workdir": features,
        "step": classifier.step,
        "fingerprint": classifier.fingerprint,
        "accuracy": own.get("accuracy"),
        "split": own.get("split"),
        "dimensions": classifier.num_features,
    }


def _write(
    model: Model, directory: Path, facts: Mapping[str, Any], comparisons: Mapping[str, Figures]
) -> dict[str, Any]:
    """Write features.json, and report.md again if both are of the run itself; returns the content."""
    tables = {
        name: {figure: interval._asdict() for figure, interval in figures.items()}
        for name, figures in comparisons.items()
    }
    content = {**facts, "comparisons": tables}
    with wrap_write_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    write_json(directory / "features.json", content)
    if directory == model.path and (directory / "eval.json").is_file():
        write_report(Workdir(model.path))
    return content
