"""Inspection of a config's data before a run: counts, classes, samples, speed, and what is odd."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vqjax.config.schema import Settings
from vqjax.data import array_cache, datasets
from vqjax.data.batches import batches, evaluation_batches
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.runs import plots
from vqjax.system.errors import InputError
from vqjax.system.terminal import printable
from vqjax.tasks.resolve import Completed, complete
from vqjax.training.setup import check_new

_SAMPLES = 64  # images in the picture
_CLASSES = 20  # that are listed
_SECONDS = 1.0  # that the speed is measured for
_BATCH = 1_024  # images that are hashed at a time


def inspect_data(config: ConfigDict | Mapping[str, Any], picture: Path) -> Iterator[str]:
    """Inspect the data of a config.

    Args:
      config: of a run.
      picture: a path for samples, as PNG.

    Yields:
      Lines for a person; a problem begins with "odd: ".

    Raises:
      InputError: the config is wrong, or the data cannot be read.
    """
    completed = complete(config)
    settings, dataset = completed.settings, completed.dataset
    splits = datasets.load_splits(dataset)
    yield f"{settings.data.name}: " + ", ".join(f"{len(split):,} {name}" for name, split in splits.items()) + " images"
    yield f"{_size(dataset.shape)}, {_place(dataset)}"
    yield from map(printable, _classes(dataset.class_names, splits))
    yield from dataset.notes
    yield f"variance of the pixels of train, in [0, 1]: {(variance := splits['train'].variance()):.5f}"
    _save_samples(picture, splits["train"], dataset.class_names)
    yield f"{_speed(settings, splits['train']):,.0f} images/s in batches of {settings.batch_size}, on their own"
    odd = [*_problems(completed), *_doubles(splits)]
    if not variance:
        odd.append("all pixels of train are alike")
    yield from (printable(f"odd: {line}") for line in odd)


def _problems(completed: Completed) -> list[str]:
    """Return what `train` says of a new run before it reads the data: its warnings, and why it refuses the run."""
    warnings = datasets.dataset_warnings(completed.dataset, completed.settings.batch_size)
    try:
        return [*warnings, *check_new(completed).notes]
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


def _classes(names: tuple[str, ...], splits: Mapping[str, Split]) -> Iterator[str]:
    """How many images each class has in train; the notes of the set name those that have none."""
    if not names:
        yield "no labels"
        return
    counts = np.bincount(splits["train"].arrays["label"], minlength=len(names))
    shown = ", ".join(f"{name} {count:,}" for name, count in list(zip(names, counts))[:_CLASSES])
    yield f"{len(names):,} classes, in train: {shown}{', …' if len(names) > _CLASSES else ''}"


def _save_samples(picture: Path, train: Split, names: tuple[str, ...]) -> None:
    """Images from all over the split, of clips the first frame of each, with their classes."""
    rows = np.unique(np.linspace(0, len(train) - 1, _SAMPLES).astype(int))
    found = train[rows].arrays
    captions = [names[label] for label in found["label"]] if names else None
    images = found["image"][:, 0] if found["image"].ndim == 5 else found["image"]
    picture.parent.mkdir(parents=True, exist_ok=True)
    plots.save_grid(picture, images / 255, captions=captions)


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
    for name in splits.keys() - {"train"}:
        if count := sum(image in train for image in _hashes(splits[name])):
            yield f"{count:,} of the {len(splits[name]):,} images of {name} are in train too"


def _hashes(split: Split) -> Iterator[int]:
    """Hash of the pixels of each image."""
    for batch in evaluation_batches(Split(image=split.arrays["image"]), min(_BATCH, len(split))):
        for image, real in zip(batch["image"], batch["real"]):
            if real:
                yield hash(image.tobytes())
