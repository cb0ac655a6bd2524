"""Classifies images: `vqjax predict --help`."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from vqjax.commands.report import Report
from vqjax.system import arguments
from vqjax.system.arguments import Parser
from vqjax.system.terminal import starting_jax
from vqjax.system.text import printable

_BEST = 5  # classes that are shown


def parser() -> Parser:
    """Return the parser of the command's arguments."""
    example = "runs/classifier-mnist digit.png photos --out table.csv"
    flags = Parser("predict", example, description="Classify images with a trained classifier.")
    flags.add_workdir("a classifier's run", files="image")
    flags.add_argument("--out", metavar="FILE.csv", help="write a table: a header, and a row per file")
    arguments.add_step(flags)
    arguments.add_stage1(flags)
    arguments.add_output_flags(flags)
    return flags


def run(given: Any) -> Report:
    """Classify the images."""
    with starting_jax():
        from vqjax import Classifier

    classifier = Classifier.load(given.workdir, given.step, given.stage1)
    predictions = classifier.predict_files(given.images, given.out)
    names = classifier.class_names
    values = [
        {
            "file": prediction.file,
            "class": names[prediction.label],
            "probabilities": dict(zip(names, prediction.probabilities.tolist())),
            "notes": [*prediction.notes],
        }
        for prediction in predictions
    ]
    lines = [_line(prediction, names) for prediction in predictions]
    if given.out:
        lines = [f"{len(lines):,} images; written to {printable(given.out)}"]
    return Report(lines, values)


def _line(prediction: Any, names: Sequence[str]) -> str:
    """Return the most probable classes of a file, and the notes on it, as a line."""
    p = prediction.probabilities
    best = ", ".join(f"{names[i]} {p[i]:.1%}" for i in np.argsort(-p, kind="stable")[:_BEST])
    return printable(f"{prediction.file}: {best}" + "".join(f" ({note})" for note in prediction.notes))
