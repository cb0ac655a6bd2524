"""Inspection of a config's data before a run: counts, classes, samples, speed, and what is odd."""

import itertools
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from vqjax.config.schema import Settings
from vqjax.data import array_cache, datasets
from vqjax.data.batches import batches, evaluation_batches
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.runs import plots
from vqjax.runs.side_jobs import side_job, warn
from vqjax.system.errors import InputError
from vqjax.system.files import WriteError, wrap_write_errors
from vqjax.system.text import printable
from vqjax.tasks import Completed, complete
from vqjax.training.setup import plan_completed

_SAMPLES = 64  # images in the picture
_CLASSES = 20  # that are listed
_SECONDS = 1.0  # that the speed is measured for
_BATCH = 1_024  # images that are hashed at a time


class Inspection(NamedTuple):
    """Summary of the data of a config.

    Attributes:
      name: of the data set.
      sizes: images of each split.
      shape: (H, W, C) of an image, of a clip (T, H, W, C).
      place: where the images are held.
      classes: images of each class in train; {} without labels.
      notes: of the data set: what was left out, doubled, merged or guessed.
      variance: of the pixels of train, in [0, 1].
      images_per_second: of the training batches, when nothing is done with them.
      batch_size: of those batches.
      odd: what is wrong with the data, or with a run on it.
      written: paths of files: of the picture, if it could be drawn.
    """

    name: str
    sizes: dict[str, int]
    shape: tuple[int, ...]
    place: str
    classes: dict[str, int]
    notes: tuple[str, ...]
    variance: float
    images_per_second: float
    batch_size: int
    odd: list[str]
    written: list[str]

    def lines(self) -> list[str]:
        """Return it for a person; what is wrong begins with "odd: "."""
        classes = ", ".join(f"{name} {count:,}" for name, count in itertools.islice(self.classes.items(), _CLASSES))
        more = ", …" if len(self.classes) > _CLASSES else ""
        lines = [
            f"{self.name}: {', '.join(f'{count:,} {name}' for name, count in self.sizes.items())} images",
            f"{_size(self.shape)}, {self.place}",
            f"{len(self.classes):,} classes, in train: {classes}{more}" if classes else "no labels",
            *self.notes,
            f"variance of the pixels of train, in [0, 1]: {self.variance:.5f}",
            f"{self.images_per_second:,.0f} images/s in batches of {self.batch_size}, on their own",
            *(f"odd: {line}" for line in self.odd),
        ]
        return [printable(line) for line in lines]


def inspect_data(settings: Settings, picture: Path) -> Inspection:
    """Inspect the data of a config.

    Args:
      settings: of a run.
      picture: a path for samples, as PNG.

    Raises:
      InputError: the config is wrong, or the data cannot be read.
    """
    completed = complete(settings)
    settings, dataset = completed.settings, completed.dataset
    splits = datasets.load_splits(dataset)
    train, names = splits["train"], dataset.class_names
    drawn = _save_samples(picture, train, names)
    odd = [*_problems(completed), *_doubles(splits)]
    if not (variance := train.variance()):
        odd.append("all pixels of train are alike")
    counts = np.bincount(train.arrays["label"], minlength=len(names)).tolist() if names else []
    return Inspection(
        name=settings.data.name,
        sizes={name: len(split) for name, split in splits.items()},
        shape=tuple(dataset.shape),
        place=_place(dataset),
        classes=dict(zip(names, counts)),
        notes=tuple(dataset.notes),
        variance=variance,
        images_per_second=_speed(settings, train),
        batch_size=settings.batch_size,
        odd=odd,
        written=[str(picture)] * drawn,
    )


def _problems(completed: Completed) -> list[str]:
    """Return what `train` says of a new run before it reads the data: its warnings, and why it refuses the run."""
    warnings = datasets.dataset_warnings(completed.dataset, completed.settings.batch_size)
    try:
        return [*warnings, *plan_completed(completed).task.notes]
    except InputError as error:
        refused = str(error).splitlines()
        return [*(line for line in warnings if not any(other.startswith(line) for other in refused)), *refused]


def _size(shape: tuple[int, ...]) -> str:
    """The shape of an image or clip for a person."""
    *frames, height, width, channels = shape
    clip = f"{frames[0]} frames of " if frames else ""
    return f"{clip}{height} x {width} pixels, {channels} channel{'s' * (channels > 1)}"


def _place(dataset: Dataset) -> str:
    """Where the images of a set are held."""
    if dataset.streamed:
        return f"decoded while it is used, larger than config.data.memory={dataset.data.memory} GiB"
    return "in memory" + (
        f", kept in {array_cache.cache_directory()}" if dataset.identity and dataset.data.cache else ""
    )


def _save_samples(picture: Path, train: Split, names: tuple[str, ...]) -> bool:
    """Draw images from all over the split, of clips the first frame of each, with their classes.

    Returns whether the picture is there: one that cannot be drawn or written costs a line.
    """
    rows = np.unique(np.linspace(0, len(train) - 1, _SAMPLES).astype(int))
    found = train[rows].arrays
    captions = [names[label] for label in found["label"]] if names else None
    images = found["image"][:, 0] if found["image"].ndim == 5 else found["image"]
    try:
        with side_job(f"{picture.name} is not drawn"):
            with wrap_write_errors(picture.parent):
                picture.parent.mkdir(parents=True, exist_ok=True)
            plots.save_grid(picture, images / 255, captions=captions)
            return True
    except WriteError as error:
        warn(f"{picture.name} is not written", error)
    return False


def _speed(settings: Settings, train: Split) -> float:
    """Images a second of the training batches, when nothing is done with them."""
    stream = batches(train, settings.batch_size, settings.seed, settings.data.shuffle)
    next(stream)  # the processes have started
    since, count = time.perf_counter(), 0
    while time.perf_counter() - since < _SECONDS:
        next(stream)
        count += settings.batch_size
    seconds = time.perf_counter() - since
    stream.close()  # type: ignore[attr-defined]
    return count / seconds


def _doubles(splits: Mapping[str, Split]) -> Iterator[str]:
    """Images of the test split, and of validation, that are in train too, pixel by pixel."""
    train = set(_hashes(splits["train"]))
    if len(train) < len(splits["train"]):
        yield f"{len(splits['train']) - len(train):,} images of train are there more than once"
    for name in [name for name in splits if name != "train"]:
        if count := sum(image in train for image in _hashes(splits[name])):
            yield f"{count:,} of the {len(splits[name]):,} images of {name} are in train too"


def _hashes(split: Split) -> Iterator[int]:
    """Hash of the pixels of each image."""
    for batch in evaluation_batches(Split(image=split.arrays["image"]), min(_BATCH, len(split))):
        for image, real in zip(batch["image"], batch["real"]):
            if real:
                yield hash(image.tobytes())
