"""Samples of a prior as files: one picture and arrays, or a file per image."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vqjax.codes import CodeLayout, Codes
from vqjax.data import datasets
from vqjax.inference.image_files import save_numbered
from vqjax.inference.tables import write_table
from vqjax.runs import plots
from vqjax.system.files import atomic_directory, atomic_write, require_empty_directory
from vqjax.system.paths import output_path
from vqjax.tasks.prior import PriorTask

_IN_PICTURE = 400  # samples at most; the arrays have all
_CHUNK = 10_000  # training images that are compared with the samples at a time


class Drawn(NamedTuple):
    """Samples to be written.

    Attributes:
      images: (N, H, W, C) uint8.
      codes: arrays by the names of their layout, in the smallest integers that hold them.
      classes: (N,) int32; None without classes.
      captions: name of the class of each; None without classes.
      period: number of classes that follow each other in turn.
      neighbors: (N, H, W, C) uint8, the nearest training images; None if they are not asked for.
    """

    images: np.ndarray
    codes: dict[str, np.ndarray]
    classes: np.ndarray | None
    captions: Sequence[str] | None
    period: int
    neighbors: np.ndarray | None


def smallest(layout: CodeLayout, codes: Codes) -> dict[str, np.ndarray]:
    """Return codes as arrays by the names of their layout, in the smallest integers that hold them."""
    arrays = layout.split(codes)
    return {name: arrays[name].astype(level.dtype) for name, level in layout.names.items()}


def training_images(prior: PriorTask, data_dir: str | None, data_path: str | None) -> np.ndarray:
    """Return the images (N, H, W, C) uint8 that a prior and its stage 1 were trained on."""
    dataset = datasets.reopen_dataset(prior.settings.data, prior.facts, data_dir, data_path)
    images: np.ndarray = datasets.load_split(dataset, "train").arrays["image"]
    return images


def nearest_images(images: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Return for each image (N, H, W, C) the row of the nearest of (M, H, W, C) in squared pixel distance, (N,)."""
    x = images.reshape(len(images), -1).astype(np.float32)
    best, rows = np.full(len(x), np.inf, np.float32), np.zeros(len(x), np.int64)
    for start in range(0, len(among), _CHUNK):
        y = np.asarray(among[start : start + _CHUNK]).reshape(-1, x.shape[1]).astype(np.float32)
        distances = (y**2).sum(1) - 2 * x @ y.T  # less |x|^2
        closer = distances.min(1) < best
        rows[closer] = start + distances.argmin(1)[closer]
        best = np.minimum(best, distances.min(1))
    return rows


def _grid_path(out: str | Path | None, workdir: Path) -> Path:
    """Return the path of the picture. Raises InputError unless it and the arrays beside it can be written."""
    return output_path(out or workdir / "samples.png", ".png", beside=(".npz",))


def _write_grid(picture: Path, drawn: Drawn) -> list[Path]:
    """Write a picture of the first samples and, beside it, all arrays."""
    beside = picture.with_suffix(".npz")
    arrays: dict[str, Any] = {"images": drawn.images, **drawn.codes, "classes": drawn.classes}
    arrays["neighbors"] = drawn.neighbors
    with atomic_write(beside) as temporary:
        np.savez_compressed(temporary, **{name: array for name, array in arrays.items() if array is not None})
    below, title = None, ""
    if drawn.neighbors is not None:
        below, title = drawn.neighbors[:_IN_PICTURE] / 255, "above: sample, below: the nearest training image"
    plots.save_grid(
        picture, drawn.images[:_IN_PICTURE] / 255, drawn.captions, below=below, title=title, period=drawn.period
    )
    return [picture, beside]


def _directory_path(out: str | Path | None, workdir: Path) -> Path:
    return require_empty_directory(out or workdir / "samples")


def _write_directory(directory: Path, drawn: Drawn) -> list[Path]:
    """Write a file per image, the codes, and a table of the classes."""
    with atomic_directory(directory) as temporary:
        names = save_numbered(temporary, drawn.images)
        if drawn.neighbors is not None:
            save_numbered(temporary, drawn.neighbors, "_neighbor")
        np.savez_compressed(temporary / "codes.npz", **dict[str, Any](drawn.codes))
        if drawn.captions:
            write_table(temporary / "samples.csv", ["file", "class"], zip(names, drawn.captions))
    return [directory]


class Format(NamedTuple):
    """A row of FORMATS.

    Attributes:
      path: (out, workdir) -> the path to write; InputError if it is in use or cannot be written.
      write: (that path, samples) -> all that it wrote.
    """

    path: Callable[[str | Path | None, Path], Path]
    write: Callable[[Path, Drawn], list[Path]]


FORMATS = {"grid": Format(_grid_path, _write_grid), "png": Format(_directory_path, _write_directory)}
