"""Datasets as rows of one table, held in memory; batches as a function of (seed, step)."""

import dataclasses
import functools
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from vqjax.config import InputError, check_name


class Split:
    """Examples as arrays of one length N, by name.

    Images (N, H, W, C) are uint8 `image`, labels (N,) int32 `label`, and codes (N, h, w), of any integer type, `codes`.
    """

    def __init__(self, **arrays: np.ndarray):
        self.arrays = arrays

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def __getitem__(self, rows: slice | np.ndarray) -> "Split":
        return Split(**{name: array[rows] for name, array in self.arrays.items()})

    def variance(self) -> float:
        """Of the pixels in [0, 1], over all images, positions and channels."""
        images = self.arrays["image"]
        counts = np.bincount(images.reshape(-1), minlength=256) / images.size
        pixels = np.arange(256) / 255
        return float(counts @ pixels**2 - (counts @ pixels) ** 2)


class Pictures(NamedTuple):
    """Images to look at.

    Attributes:
      images: (B, H, W, C) in [0, 1].
      captions: a text for each, or None.
    """

    images: Any
    captions: Sequence[str] | None = None


@dataclasses.dataclass(frozen=True)
class Dataset:
    """A row of DATASETS.

    Attributes:
      load: (dataset, split, data_dir) -> Split.
      shape: (H, W, C) of an image.
      class_names: in the order of the labels.
      sizes: images in "train" and "test".
      source: the dataset's name where `load` finds it.
    """

    load: Callable[["Dataset", str, str], Split]
    shape: tuple[int, int, int]
    class_names: tuple[str, ...]
    sizes: dict[str, int]
    source: str


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
    "digits": Dataset(_load_digits, (8, 8, 1), _DIGITS, {"train": 1437, "test": 360}, "digits"),
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
    names: tuple[str, ...] = ("train", "validation", "test"),
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


@functools.lru_cache(maxsize=2)
def _order(size: int, epoch: int, seed: int, shuffle: bool) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(size) if shuffle else np.arange(size)


def batch_rows(size: int, batch_size: int, step: int, seed: int, shuffle: bool) -> np.ndarray:
    """Rows (batch_size,) of the global batch of a step, counted from 0.

    The epochs follow each other without a gap: a batch may end one and begin the next, and each row comes
    once an epoch.
    """
    positions = np.arange(step * batch_size, (step + 1) * batch_size)
    epochs = positions // size
    rows = [_order(size, int(e), seed, shuffle)[positions[epochs == e] % size] for e in np.unique(epochs)]
    return np.concatenate(rows)


def batches(split: Split, batch_size: int, seed: int, shuffle: bool, start: int = 0) -> Iterator[dict]:
    """Endless global batches from step `start` on.

    Yields dicts of the split's arrays (B, ...) and `example` (B,) int32, the position in the global batch, by which
    noise and augmentation are keyed.
    """
    step = start
    while True:
        rows = batch_rows(len(split), batch_size, step, seed, shuffle)
        yield {**split[rows].arrays, "example": np.arange(batch_size, dtype=np.int32)}
        step += 1


def evaluation_batches(split: Split, batch_size: int) -> Iterator[dict]:
    """The whole split once, in order: batches as above, the last one padded, with `real` (B,) bool for the mask."""
    for start in range(0, len(split), batch_size):
        positions = np.arange(start, start + batch_size)
        rows = split[np.minimum(positions, len(split) - 1)]
        yield {**rows.arrays, "example": positions.astype(np.int32), "real": positions < len(split)}


def augmentation(config: ConfigDict) -> dict[str, Any]:
    """The arguments of `augment` in `config.data`. Raises InputError if the image is too small for them."""
    crop, size = config.data.crop, min(describe(config).shape[:2])
    if not crop < size:
        raise InputError(f"config.data.crop={crop}: expected less than the image's {size}")
    return {"flip": config.data.flip, "crop": crop}


def augment(images: jax.Array, example: jax.Array, key: jax.Array, flip: bool, crop: int) -> jax.Array:
    """Random flips and crops of images (B, H, W, C), each keyed by (key, its position in the global batch).

    Args:
      images: any dtype.
      example: (B,) positions in the global batch.
      key: of the step.
      flip: mirror left and right with probability 1/2.
      crop: pad by this many pixels on every side by reflection, then cut the old size out at random.
    """

    def one(image: jax.Array, position: jax.Array) -> jax.Array:
        flip_key, crop_key = jax.random.split(jax.random.fold_in(key, position))
        if flip:
            image = jnp.where(jax.random.bernoulli(flip_key), image[:, ::-1], image)
        if crop:
            padded = jnp.pad(image, ((crop, crop), (crop, crop), (0, 0)), mode="reflect")
            row, column = jax.random.randint(crop_key, (2,), 0, 2 * crop + 1)
            image = jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)
        return image

    return jax.vmap(one)(images, example) if flip or crop else images
