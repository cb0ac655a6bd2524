"""The classes of image files, by a trained classifier:

python -m vqjax.predict --workdir W [--step N] [--stage1 DIR] image.png [more.jpg ...]
"""

import argparse
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from vqjax import parallel, tasks
from vqjax.checkpoint import Workdir, restore_variables
from vqjax.classifier import Classifier
from vqjax.command import status
from vqjax.config import InputError
from vqjax.data import Split

_BATCH = 64  # images at a time
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


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
    if not issubclass(tasks.TASKS.get(run.config().get("task"), object), Classifier):
        raise InputError(
            f"--workdir={workdir} holds a run of task {run.config().get('task')!r}, expected a classifier's"
        )
    images, notes = zip(*(read_image(file, tuple(run.facts()["image_shape"])) for file in files))
    config, task = tasks.trained(run, stage1)
    variables = restore_variables(run, task, step)[1]

    def probabilities(fixed, batch):
        return task.probabilities(fixed["variables"], fixed["frozen"], batch)

    fixed, batch = {"variables": variables, "frozen": task.frozen}, min(_BATCH, len(images))
    found = parallel.map_split(probabilities, fixed, Split(image=np.stack(images)), batch, config.parallel, "images")
    return found, task.class_names, list(notes)


def read_image(file: str | Path, shape: tuple[int, int, int]) -> tuple[np.ndarray, list[str]]:
    """An image file as uint8 (H, W, C) of the shape, and notes on what that took. Raises InputError if it is none."""
    height, width, channels = shape
    try:
        with (
            warnings.catch_warnings(action="error", category=Image.DecompressionBombWarning),
            Image.open(file) as image,
        ):
            notes = ["the first of its frames"] if getattr(image, "n_frames", 1) > 1 else []
            image.load()
            image = ImageOps.exif_transpose(image)
    except Exception as error:  # Pillow's readers fail in any way on a damaged file
        raise InputError(f"{file}: {_reason(error)}") from error
    if image.mode not in _MODES:
        raise InputError(f"{file}: expected a picture of 8 bits per channel, found mode {image.mode!r}")
    if image.has_transparency_data:
        notes.append("transparency laid over white")
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    mode = "L" if channels == 1 else "RGB"
    if image.mode != mode:
        notes.append(f"converted from {image.mode} to {mode}")
        image = image.convert(mode)
    if image.size != (width, height):
        notes.append(f"resized from {image.width} x {image.height} to {width} x {height} pixels")
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image, np.uint8).reshape(shape), notes


def _reason(error: Exception) -> str:
    """Why a file gave no image."""
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return f"too large, expected at most {Image.MAX_IMAGE_PIXELS:,} pixels"
    reasons = {FileNotFoundError: "no such file", IsADirectoryError: "a directory, expected a file"}
    return reasons.get(type(error), "not an image that can be read")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m vqjax.predict", description="Classify image files.")
    parser.add_argument("--workdir", required=True, help="the run of a classifier")
    parser.add_argument("--step", type=int, help="of the checkpoint (default: the best, or else the last)")
    parser.add_argument("--stage1", help="the autoencoder's run, if it is not where the classifier was trained on it")
    parser.add_argument("images", nargs="+", type=Path, metavar="image", help="a file")
    arguments = parser.parse_args()
    probabilities, names, notes = predict(arguments.workdir, arguments.images, arguments.step, arguments.stage1)
    for file, row, note in zip(arguments.images, probabilities, notes):
        best = ", ".join(f"{names[i]} {row[i]:.1%}" for i in np.argsort(-row, kind="stable")[:5])
        print(f"{file}: {best}" + "".join(f" ({text})" for text in note))


if __name__ == "__main__":
    sys.exit(status(main))
