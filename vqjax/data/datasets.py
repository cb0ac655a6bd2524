"""Datasets as rows of one table, held in memory."""

import dataclasses
import importlib.util
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vqjax.core.config import InputError, check_name
from vqjax.data.splits import Split


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A row of DATASETS.

    Attributes:
      load: (dataset, split, data_dir) -> Split.
      shape: (H, W, C) of an image.
      class_names: in the order of the labels.
      sizes: images in "train" and "test".
      source: the dataset's name where `load` finds it.
      packaged: comes with a package, and is not looked for in a directory.
    """

    load: Callable[["Dataset", str, str], Split]
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    sizes: dict[str, int]
    source: str
    packaged: bool = False


def _load_digits(dataset: Dataset, split: str, data_dir: str) -> Split:
    """scikit-learn's 1,797 scans of digits, levels 0 to 16; the first 1,437 train, the rest test."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.round(255 * digits.images / 16).astype(np.uint8)[..., None]
    whole = Split(image=images, label=digits.target.astype(np.int32))
    train = dataset.sizes["train"]
    return whole[:train] if split == "train" else whole[train:]


def _prepared(dataset: Dataset, directory: str) -> Any:
    """TFDS's builder of a set that lies in the directory as ArrayRecord; prepared there first if TensorFlow is here."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(dataset.source, data_dir=os.path.expanduser(directory), file_format="array_record")
        prepared = builder.is_prepared()
    except ValueError as error:  # TFDS's word for a set that is there as TFRecord, its default
        raise InputError(
            f"config.data.name={dataset.source!r}: expected ArrayRecord in config.data.data_dir={directory}, "
            f"but: {error}\nPrepare it in another directory, and name that in config.data.data_dir or TFDS_DATA_DIR."
        ) from error
    if not prepared:
        if not importlib.util.find_spec("tensorflow"):
            raise InputError(
                f"config.data.name={dataset.source!r} is not prepared as ArrayRecord in "
                f"config.data.data_dir={directory}.\nTo prepare it there (TFDS needs TensorFlow for that, once):\n"
                f"  pip install tensorflow-cpu\n  tfds build {dataset.source} --file_format=array_record "
                f"--data_dir={directory}\nOr name a directory that holds it: --config.data.data_dir or TFDS_DATA_DIR."
            )
        try:
            builder.download_and_prepare()
        except Exception as error:
            reason = str(error).partition("\n")[0]
            raise InputError(
                f"config.data.name={dataset.source!r} could not be prepared in {directory}: {reason}"
            ) from error
    return builder


def _load_tfds(dataset: Dataset, split: str, data_dir: str) -> Split:
    """A set of TFDS, decoded."""
    directory = data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    builder = _prepared(dataset, directory)
    count = dataset.sizes[split]
    images, labels = np.empty((count, *dataset.shape), np.uint8), np.empty(count, np.int32)
    try:
        source = builder.as_data_source(split)
        for i in range(count):
            example = source[i]
            images[i], labels[i] = example["image"], example["label"]
    except (RuntimeError, ValueError, IndexError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise InputError(f"config.data.name={dataset.source!r} in {directory} is damaged: {reason}") from error
    return Split(image=images, label=labels)


_DIGITS = tuple("0123456789")
_FASHION = ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_CIFAR100 = tuple(
    """
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can
    castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin
    elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard
    lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear
    pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark
    shrew skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank telephone
    television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf woman worm
    """.split()
)

_SIXTY = {"train": 60_000, "test": 10_000}
_FIFTY = {"train": 50_000, "test": 10_000}
_SVHN = {"train": 73_257, "test": 26_032}

DATASETS = {
    "digits": Dataset(_load_digits, (8, 8, 1), _DIGITS, {"train": 1437, "test": 360}, "digits", True),
    "mnist": Dataset(_load_tfds, (28, 28, 1), _DIGITS, _SIXTY, "mnist"),
    "fashion_mnist": Dataset(_load_tfds, (28, 28, 1), _FASHION, _SIXTY, "fashion_mnist"),
    "svhn_cropped": Dataset(_load_tfds, (32, 32, 3), _DIGITS, _SVHN, "svhn_cropped"),
    "cifar10": Dataset(_load_tfds, (32, 32, 3), _CIFAR10, _FIFTY, "cifar10"),
    "cifar100": Dataset(_load_tfds, (32, 32, 3), _CIFAR100, _FIFTY, "cifar100"),
}


def describe(config: ConfigDict) -> Dataset:
    """The row of `config.data.name`; nothing is read. InputError for an unknown name."""
    check_name(DATASETS, config.data.name, "config.data.name")
    return DATASETS[config.data.name]


def facts(config: ConfigDict) -> dict[str, Any]:
    """What run.json says of the data set of `config.data.name`."""
    dataset = describe(config)
    return {"dataset": config.data.name, "image_shape": dataset.shape, "class_names": dataset.class_names}


def check(config: ConfigDict) -> None:
    """Raises InputError for what can be seen to be wrong with `config.data` without reading it."""
    dataset, directory = describe(config), config.data.data_dir
    if dataset.packaged and directory:
        raise InputError(
            f"config.data.data_dir={directory!r}: expected none, config.data.name={config.data.name!r} comes with vqjax"
        )
    held_out(config, dataset.sizes["train"])


def held_out(config: ConfigDict, count: int) -> int:
    """How many of `count` training images are for validation. Raises InputError if that leaves a split empty."""
    held_out = round(count * config.data.validation)
    if config.data.validation and not 0 < held_out < count:
        raise InputError(f"config.data.validation={config.data.validation} of {count} images leaves a split empty")
    return held_out


def read(config: ConfigDict, name: str) -> Split:
    """The images and labels of "train" or "test", whole. Raises InputError if they are not there or damaged."""
    dataset = describe(config)
    return dataset.load(dataset, name, config.data.data_dir)


def load(
    config: ConfigDict,
    names: Sequence[str] = ("train", "validation", "test"),
    read: Callable[[ConfigDict, str], Split] = read,
) -> dict[str, Split]:
    """The splits that exist among `names`: {"train", "test"}, and "validation" if a share of train is held out.

    `read` gives what they are cut from, "train" and "test". Raises InputError if that cannot be read, or if a split
    would be empty.
    """
    splits = {}
    if {"train", "validation"} & {*names}:
        whole = read(config, "train")
        rest = len(whole) - held_out(config, len(whole))
        splits["train"] = whole[:rest]
        if rest < len(whole):
            splits["validation"] = whole[rest:]
    if "test" in names:
        splits["test"] = read(config, "test")
    return {name: split for name, split in splits.items() if name in names}
