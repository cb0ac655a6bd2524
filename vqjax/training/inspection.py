"""What there is to know of a config's data before a run: counts, classes, samples, speed, and what is odd."""

import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from ml_collections import ConfigDict

from vqjax import tasks
from vqjax.data import array_cache, datasets
from vqjax.data.batches import batches, evaluation_batches
from vqjax.data.splits import Split
from vqjax.runs import plots
from vqjax.system.errors import InputError

_SAMPLES = 64  # images in the picture
_CLASSES = 20  # that are listed
_SECONDS = 1.0  # that the speed is measured for
_BATCH = 1_024  # images that are hashed at a time


def inspect_data(config: ConfigDict, picture: Path) -> Iterator[str]:
    """Looks at the data of a config.

    Args:
      config: of a run.
      picture: a path for samples, as PNG.

    Yields:
      Lines for a person; of what is odd, each begins with "odd: ".

    Raises:
      InputError: the config is wrong, or the data cannot be read.
    """
    config, stage1 = tasks.resolve_config(config)
    opened = datasets.open_dataset(config)
    splits = datasets.load_splits(config)
    height, width, channels = opened.shape
    held = f"decoded while it is used, larger than config.data.memory={config.data.get('memory', 4.0)} GiB"
    kept = "in memory" + (f", kept in {array_cache.cache_directory()}" if opened.identity and opened.data.cache else "")
    yield f"{config.data.name}: " + ", ".join(f"{len(split):,} {name}" for name, split in splits.items()) + " images"
    yield f"{height} x {width} pixels, {channels} channel{'s' * (channels > 1)}, {held if opened.streamed else kept}"
    yield from _classes(opened.class_names, splits)
    yield from opened.notes
    yield f"variance of the pixels of train, in [0, 1]: {(variance := splits['train'].variance()):.5f}"
    _save_samples(picture, splits["train"], opened.class_names)
    yield f"{_speed(config, splits['train']):,.0f} images/s in batches of {config.batch_size}, on their own"
    odd = [*datasets.dataset_warnings(config), *_doubles(splits)]
    if not variance:
        odd.append("all pixels of train are alike")
    try:
        task = tasks.build_task(config, stage1)
        odd += task.notes
        task.check(len(splits["train"]))
    except InputError as error:
        odd.append(str(error))
    yield from (f"odd: {line}" for line in odd)


def _classes(names: tuple[str, ...], splits: Mapping[str, Split]) -> Iterator[str]:
    """How many images each class has in train, and those that have none."""
    if not names:
        yield "no labels"
        return
    counts = np.bincount(splits["train"].arrays["label"], minlength=len(names))
    shown = ", ".join(f"{name} {count:,}" for name, count in list(zip(names, counts))[:_CLASSES])
    yield f"{len(names):,} classes, in train: {shown}{', …' if len(names) > _CLASSES else ''}"
    if empty := [name for name, count in zip(names, counts) if not count]:
        yield f"odd: {len(empty):,} classes have no image in train, such as {empty[0]}"


def _save_samples(picture: Path, train: Split, names: tuple[str, ...]) -> None:
    """Images from all over the split, with their classes."""
    rows = np.unique(np.linspace(0, len(train) - 1, _SAMPLES).astype(int))
    found = train[rows].arrays
    captions = [names[label] for label in found["label"]] if names else None
    picture.parent.mkdir(parents=True, exist_ok=True)
    plots.save_grid(picture, found["image"] / 255, captions=captions)


def _speed(config: ConfigDict, train: Split) -> float:
    """Images a second of the training batches, when nothing is done with them."""
    stream = batches(train, config.batch_size, config.seed, config.data.shuffle)
    next(stream)  # the processes have started
    since, count = time.perf_counter(), 0
    while time.perf_counter() - since < _SECONDS:
        next(stream)
        count += config.batch_size
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
    """Of the pixels of each image."""
    for batch in evaluation_batches(Split(image=split.arrays["image"]), min(_BATCH, len(split))):
        for image, real in zip(batch["image"], batch["real"]):
            if real:
                yield hash(image.tobytes())
