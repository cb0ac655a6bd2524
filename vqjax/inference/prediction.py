"""The classes of image files, by a trained classifier."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from vqjax import tasks
from vqjax.data.images import read_image
from vqjax.data.splits import Split
from vqjax.runs import devices
from vqjax.runs.workdir import Workdir
from vqjax.system.errors import InputError
from vqjax.tasks.classifier import ClassifierTask

_BATCH = 64  # images at a time


def predict(
    workdir: str, files: Sequence[str | Path], step: int | None = None, stage1: str | None = None
) -> tuple[np.ndarray, tuple[str, ...], list[list[str]]]:
    """Classifies image files.

    Args:
      workdir: of a run of one of the classifiers.
      files: images that Pillow can read; those of another size or mode are converted, with a note.
      step: of the checkpoint; by default the best one by the validation share, or else the last.
      stage1: as of `tasks.trained`.

    Returns:
      Probabilities (N, classes), the names of the classes, and the notes on each file.

    Raises:
      InputError: the workdir holds no usable classifier, or a file is no image.
    """
    run = Workdir(workdir)
    if not issubclass(tasks.TASKS.get(run.config().get("task"), object), ClassifierTask):
        raise InputError(
            f"--workdir={workdir} holds a run of task {run.config().get('task')!r}, expected a classifier's"
        )
    images, notes = zip(*(read_image(file, tuple(run.facts()["image_shape"])) for file in files))
    task = tasks.load_task(run, stage1)
    variables = run.restore_variables(task.abstract_variables, step)[1]

    def probabilities(fixed, batch):
        return task.probabilities(fixed["variables"], fixed["frozen"], batch)

    fixed, batch = {"variables": variables, "frozen": task.frozen}, min(_BATCH, len(images))
    found = devices.map_split(
        probabilities, fixed, Split(image=np.stack(images)), batch, task.settings.parallel, "images"
    )
    return found, task.class_names, list(notes)


def describe(
    files: Sequence[str | Path], probabilities: np.ndarray, names: Sequence[str], notes: Sequence[Sequence[str]]
) -> Iterator[str]:
    """A line for each file of what `predict` gives: its five most probable classes, and the notes."""
    for file, row, note in zip(files, probabilities, notes):
        best = ", ".join(f"{names[i]} {row[i]:.1%}" for i in np.argsort(-row, kind="stable")[:5])
        yield f"{file}: {best}" + "".join(f" ({text})" for text in note)
