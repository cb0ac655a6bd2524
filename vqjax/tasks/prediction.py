"""The classes of image files, by a trained classifier."""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vqjax import tasks
from vqjax.core.config import InputError
from vqjax.data.splits import Split
from vqjax.runs import devices
from vqjax.runs.workdir import Workdir
from vqjax.tasks.classifier import ClassifierTask
from vqjax.tasks.inputs import convert, pixels

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
    task = tasks.trained(run, stage1)
    variables = run.restore_variables(task.expected, step)[1]

    def probabilities(fixed, batch):
        return task.probabilities(fixed["variables"], fixed["frozen"], batch)

    fixed, batch = {"variables": variables, "frozen": task.frozen}, min(_BATCH, len(images))
    found = devices.map_split(
        probabilities, fixed, Split(image=np.stack(images)), batch, task.config.parallel, "images"
    )
    return found, task.class_names, list(notes)


def read_image(file: str | Path, shape: tuple[int, int, int]) -> tuple[np.ndarray, list[str]]:
    """An image file as uint8 (H, W, C) of the shape, and notes on what that took. Raises InputError if it is none."""
    height, width, channels = shape
    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(file) as opened,
        ):
            notes = ["the first of its frames"] if getattr(opened, "n_frames", 1) > 1 else []
            opened.load()
            image: Image.Image = ImageOps.exif_transpose(opened)
    except Exception as error:  # Pillow's readers fail in any way on a damaged file
        raise InputError(f"{file}: {_reason(error)}") from error
    try:
        image, conversion = convert(image, channels)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    notes += conversion
    if image.size != (width, height):
        notes.append(f"resized from {image.width} x {image.height} to {width} x {height} pixels")
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return pixels(image), notes


def _reason(error: Exception) -> str:
    """Why a file gave no image."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"too large, expected at most {Image.MAX_IMAGE_PIXELS:,} pixels"
    reasons: dict[type[Exception], str] = {
        FileNotFoundError: "no such file",
        IsADirectoryError: "a directory, expected a file",
    }
    return reasons.get(type(error), "not an image that can be read")


def describe(
    files: Sequence[str | Path], probabilities: np.ndarray, names: Sequence[str], notes: Sequence[Sequence[str]]
) -> Iterator[str]:
    """A line for each file of what `predict` gives: its five most probable classes, and the notes."""
    for file, row, note in zip(files, probabilities, notes):
        best = ", ".join(f"{names[i]} {row[i]:.1%}" for i in np.argsort(-row, kind="stable")[:5])
        yield f"{file}: {best}" + "".join(f" ({text})" for text in note)
