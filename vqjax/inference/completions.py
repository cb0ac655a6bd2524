"""Completions of images, and their likelihood, as files."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vqjax.codes import CodeLayout
from vqjax.data import datasets
from vqjax.data.images import read_image
from vqjax.inference.image_files import find_images, save_numbered
from vqjax.inference.tables import write_table
from vqjax.runs import plots
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_directory, require_empty_directory
from vqjax.system.paths import output_path
from vqjax.tasks.base import Task

_ROWS = 40  # originals in a picture, at most
_GRAY = 0.8  # of pixels that are not kept


class Originals(NamedTuple):
    """Images that are completed or scored.

    Attributes:
      names: of each, a path, or "test 3".
      images: (N, H, W, C) uint8.
    """

    names: list[str]
    images: np.ndarray


def read_originals(files: Sequence[str | Path], task: Task, data_dir: str | None, data_path: str | None) -> Originals:
    """Return images in files, brought to the model's size, or images of test by their numbers.

    Args:
      files: paths of images or of directories with images; or a single text of numbers with commas between, "0,1,2".
      task: of the model.
      data_dir, data_path: where the data of the run are now.

    Raises:
      InputError: a file is no image, or there is no such number.
    """
    if len(files) == 1 and (numbers := _numbers(str(files[0]))):
        dataset = datasets.reopen_dataset(task.settings.data, task.facts, data_dir, data_path)
        test = datasets.load_split(dataset, "test").arrays["image"]
        if (largest := max(numbers)) >= len(test):
            raise InputError(f"{largest}: test has {len(test):,} images, expected numbers from 0 to {len(test) - 1}")
        return Originals([f"test {number}" for number in numbers], np.asarray(test[np.array(numbers)]))
    height, width, channels = task.image_shape
    names = find_images(files)
    return Originals(names, np.stack([read_image(name, (height, width, channels))[0] for name in names]))


def _numbers(text: str) -> list[int]:
    """Return the numbers in a text with commas between, none if it is anything else."""
    words = text.split(",")
    return [int(word) for word in words] if all(word.strip().isdecimal() for word in words) else []


def completion_path(out: str | Path | None, format: str, workdir: Path) -> Path:
    """Return the path to write completions to. Raises InputError if it is in use or cannot be written."""
    if format == "png":
        return require_empty_directory(out or workdir / "completions")
    return output_path(out or workdir / "completions.png", ".png")


def write_completions(
    path: Path, format: str, originals: Originals, keep: np.ndarray, completed: np.ndarray, captions: Sequence[str]
) -> list[Path]:
    """Write completions as one picture or as files.

    Args:
      path: of `completion_path`.
      format: "grid": a picture of the originals, what was kept, and the completions side by side; "png": a file for
        each completion, and completions.csv.
      originals: N images.
      keep: pixels that were kept, (H, W) bool.
      completed: (N num, H, W, C) float in [0, 1].
      captions: class of each completion, or "".

    Returns:
      The paths that were written.
    """
    count, num = len(originals.images), len(completed) // len(originals.images)
    if format == "png":
        with atomic_directory(path) as temporary:
            names = save_numbered(temporary, np.round(255 * completed).astype(np.uint8))
            rows = zip(names, np.repeat(originals.names, num), captions)
            write_table(temporary / "completions.csv", ["file", "original", "class"], rows)
        return [path]
    shown = min(count, _ROWS)
    real = originals.images[:shown] / np.float32(255)
    kept = np.where(keep[..., None], real, np.float32(_GRAY))
    parts = [real[:, None], kept[:, None], completed.reshape(count, num, *completed.shape[1:])[:shown]]
    grid = np.concatenate(parts, axis=1).reshape(-1, *completed.shape[1:])
    texts = [text for i in range(shown) for text in ("original", "kept", *captions[i * num : (i + 1) * num])]
    plots.save_grid(path, grid, texts, columns=2 + num)
    return [path]


class Score(NamedTuple):
    """Likelihood of an image. Bits are per pixel and channel; see docs/likelihood.md.

    Attributes:
      file: that it is in, or "test 3".
      nats_per_code: mean over its codes.
      bits_per_dim_of_codes: of its codes.
      bits_per_dim_given_codes: of its pixels given the codes; None if they are not known.
      bits_per_dim_of_images: their sum, a bound on those of the image; None likewise.
    """

    file: str
    nats_per_code: float
    bits_per_dim_of_codes: float
    bits_per_dim_given_codes: float | None = None
    bits_per_dim_of_images: float | None = None


def scores(originals: Originals, nats: np.ndarray, bits: np.ndarray | None) -> list[Score]:
    """Return the likelihood of N images.

    Args:
      originals: the images.
      nats: of their codes, (N, L).
      bits: of their pixels given the codes, per pixel and channel, (N,); None if they are not known.
    """
    of_codes = nats.sum(1, dtype=np.float64) / (math.prod(originals.images.shape[1:]) * math.log(2))
    rows = [Score(*row) for row in zip(originals.names, nats.mean(1, dtype=np.float64).tolist(), of_codes.tolist())]
    if bits is None:
        return rows
    return [
        row._replace(bits_per_dim_given_codes=own, bits_per_dim_of_images=row.bits_per_dim_of_codes + own)
        for row, own in zip(rows, bits.astype(np.float64).tolist())
    ]


def write_likelihood(
    path: Path, originals: Originals, found: Sequence[Score], nats: np.ndarray, layout: CodeLayout
) -> list[Path]:
    """Write a table of scores, and a picture of the images, below each the nats of its codes: the lighter, the more.

    Args:
      path: of the picture, PNG; the table lies beside it.
      originals: N images.
      found: their scores.
      nats: (N, L).
      layout: of the codes; the nats of a position's several codes and of several levels are added up.

    Returns:
      The paths that were written.
    """
    height, width = originals.images.shape[1:3]
    total = np.zeros((len(nats), height, width), np.float32)
    for grid in layout.maps(nats).values():
        total += grid.repeat(height // grid.shape[1], axis=1).repeat(width // grid.shape[2], axis=2)
    shade = (total / max(float(total.max()), 1e-9))[..., None]
    images = originals.images / np.float32(255)
    below = np.broadcast_to(shade, images.shape)
    captions = [f"{score.nats_per_code:.2f} nats/code" for score in found]
    shown = slice(0, _ROWS)
    title = "below: where the codes are unlikely, given those before them"
    plots.save_grid(path, images[shown], captions[shown], below=below[shown], title=title)
    table = path.with_suffix(".csv")
    write_table(table, Score._fields, found)
    return [path, table]


def shown_classes(classes: Any, names: Sequence[str], count: int) -> list[str]:
    """Return the names of the classes of completions, "" where none was told."""
    return [""] * count if classes is None else [names[label] for label in classes]
