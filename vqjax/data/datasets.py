"""Data sets by name, and their splits."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vqjax.config.check import check_name
from vqjax.config.schema import Data
from vqjax.data.sets import archives, arrays, layouts
from vqjax.data.sets.base import Dataset
from vqjax.data.sets.clips import ClipsDataset
from vqjax.data.sets.folder import folder
from vqjax.data.sets.photos import photos
from vqjax.data.sets.prepared import PreparedDataset
from vqjax.data.sets.tfds import TfdsDataset
from vqjax.data.splits import Split
from vqjax.system.arguments import SPLITS
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path

Open = Callable[[Data], Dataset]
TFDS = "tfds/"  # before the name of any set of TFDS


def _path_or_tfds(read: Open, test: str = "test") -> Open:
    """Read a set as it is distributed if there is a path, else from TFDS by the same name."""
    return lambda data: read(data) if data.path else TfdsDataset(data, data.name, test)


def _imagenet_resized(data: Data) -> Dataset:
    """Read ImageNet in one of the sizes that TFDS has."""
    if data.size not in ("8", "16", "32", "64"):
        raise InputError(f"config.data.size={data.size!r}: config.data.name={data.name!r} expects 8, 16, 32 or 64")
    return TfdsDataset(data, f"{data.name}/{data.size}x{data.size}")


# name -> what opens the set from the fields of `config.data`; InputError if it is not there.
DATASETS: dict[str, Open] = {
    "digits": arrays.digits,
    "photos": photos,
    "folder": folder,
    "arrays": arrays.NumpyDataset,
    "clips": ClipsDataset,
    "prepared": PreparedDataset,
    **{name: _path_or_tfds(read) for name, read in archives.ARCHIVES.items()},
    "food101": _path_or_tfds(layouts.food101),
    "tiny_imagenet": layouts.tiny_imagenet,
    "mini_imagenet": layouts.mini_imagenet,
    "imagenet2012": _path_or_tfds(folder, test="validation"),  # its test has no labels
    "imagenet_resized": _imagenet_resized,
}


def open_dataset(data: Data) -> Dataset:
    """Open the set of `config.data`; its images are not decoded unless they are few.

    Raises InputError for an unknown name, a field that is wrong, or a set that is not there.
    """
    if not data.name.startswith(TFDS):
        check_name((*DATASETS, f"{TFDS}<name>"), data.name, "config.data.name")
    reader = DATASETS.get(data.name)
    dataset = reader(data) if reader else TfdsDataset(data, data.name.removeprefix(TFDS))
    if data.resized_crop and not dataset.streamed:
        raise InputError(
            f"config.data.resized_crop={data.resized_crop}: only of a set that is streamed, larger than "
            f"config.data.memory={data.memory} GiB"
        )
    if data.oversize > 1 and (dataset.streamed or not data.size):
        raise InputError(
            f"config.data.oversize={data.oversize}: only of a set that is held in memory, with a config.data.size; "
            "one that is streamed has config.data.resized_crop"
        )
    return dataset


def dataset_facts(dataset: Dataset) -> dict[str, Any]:
    """Facts of a data set for run.json, less what only its images can tell."""
    return {
        "dataset": dataset.data.name,
        "image_shape": dataset.shape,
        "class_names": dataset.class_names,
        "sizes": split_sizes(dataset),
    }


def split_sizes(dataset: Dataset) -> dict[str, int]:
    """Number of images of each split that exists. Raises InputError if the validation share leaves one empty."""
    limit = dataset.data.limit or math.inf
    validation = num_validation(dataset)
    counts = {"train": dataset.sizes["train"] - validation, "validation": validation, "test": dataset.sizes["test"]}
    return {name: int(min(count, limit)) for name, count in counts.items() if count}


def dataset_hashes(dataset: Dataset) -> dict[str, str]:
    """Hashes that tell the images and labels of "train" and "test" from others."""
    return {name: dataset.hash(name) for name in ("train", "test")}


def check_same_dataset(dataset: Dataset, facts: Mapping[str, Any]) -> None:
    """Raise InputError if the set has changed since run.json was written, or is another one in another place."""
    for name, now in (("image_shape", dataset.shape), ("class_names", dataset.class_names)):
        if tuple(facts[name]) != tuple(now):
            shown = [_brief(tuple(value)) for value in (now, facts[name])]
            raise InputError(
                f"config.data.name={dataset.data.name!r} has {name} {shown[0]}, the run was trained on {shown[1]}"
                f"{_where(dataset.data)}"
            )


def check_same_images(dataset: Dataset, facts: Mapping[str, Any]) -> None:
    """Raise InputError unless the images are those that the run began with."""
    for name, before in facts.get("hash", {}).items():
        now = dataset.hash(name)
        if now.partition(" ")[0] == before.partition(" ")[0] and now != before:  # pixels and files do not compare
            raise InputError(
                f"config.data.name={dataset.data.name!r}: {name} is not what the run began with"
                f"{_where(dataset.data)}\nExpected the same images, or a new --workdir"
            )


def dataset_warnings(dataset: Dataset, batch_size: int) -> list[str]:
    """Warnings about a set, or about a run on it, a line each; nothing is decoded."""
    count = split_sizes(dataset)["train"]
    warnings = []
    if dataset.sizes["train"] - num_validation(dataset) >= batch_size > count:  # by config.data.limit; else an error
        warnings.append(f"config.batch_size={batch_size}: more than the {count:,} images of train, some come twice")
    if len(dataset.class_names) == 1:
        warnings.append(f"config.data.name={dataset.data.name!r} has one class only, {dataset.class_names[0]}")
    return warnings


def _brief(value: tuple) -> str:
    return " x ".join(map(str, value)) if value and isinstance(value[0], int) else f"{len(value)} classes {value[:3]}"


def _where(data: Data) -> str:
    places = {"path": data.path, "data_dir": data.data_dir}
    return "".join(f"; now config.data.{name}={place!r}" for name, place in places.items() if place)


def with_data_paths(data: Data, data_dir: str | None = None, data_path: str | None = None) -> Data:
    """`config.data` of a finished run with the places where its data lies now.

    Args:
      data: of the run.
      data_dir, data_path: values of --data_dir and --data_path. Without them the places are those of the config, and
        TFDS_DATA_DIR if config.data.data_dir is no longer there.
    """
    gone = data.data_dir and not absolute_path(data.data_dir, "config.data.data_dir").is_dir()
    if data_dir:
        data = dataclasses.replace(data, data_dir=str(absolute_path(data_dir, "--data_dir")))
    elif gone and (instead := os.environ.get("TFDS_DATA_DIR")):
        print(f"config.data.data_dir={data.data_dir} is no longer there: TFDS_DATA_DIR={instead} instead")
        data = dataclasses.replace(data, data_dir="")
    if data_path:
        data = dataclasses.replace(data, path=str(absolute_path(data_path, "--data_path")))
    return data


def reopen_dataset(
    data: Data, facts: Mapping[str, Any], data_dir: str | None = None, data_path: str | None = None
) -> Dataset:
    """Open the data set of a finished run where it lies now.

    Args:
      data: `config.data` of the run.
      facts: of the run.
      data_dir, data_path: see `with_data_paths`.

    Raises:
      InputError: there is none, or it is another one.
    """
    dataset = open_dataset(with_data_paths(data, data_dir, data_path))
    check_same_dataset(dataset, facts)
    return dataset


def num_validation(dataset: Dataset) -> int:
    """Number of images at the end of train that are for validation. Raises InputError if that leaves a split empty."""
    share, count = dataset.data.validation, dataset.sizes["train"]
    validation = dataset.num_validation(share)
    if (share and not validation) or validation >= count:
        raise InputError(f"config.data.validation={share} of {count} images leaves a split empty")
    return validation


def read_split(dataset: Dataset, name: str) -> Split:
    """Read "train" or "test", whole. Raises InputError if its images are not there or damaged.

    With a `config.data.limit` the first images, and behind those of train the first of its end, for validation.
    """
    split, limit = dataset.read(name), dataset.data.limit
    if not limit:
        return split
    rest = len(split) - (num_validation(dataset) if name == "train" else 0)
    return split[np.r_[0 : min(rest, limit), rest : min(len(split), rest + limit)]]


def load_splits(
    dataset: Dataset,
    names: Sequence[str] = ("train", "validation", "test"),
    read: Callable[[Dataset, str], Split] = read_split,
) -> dict[str, Split]:
    """Load the splits that exist among `names`: "train", "test", and "validation" if a share of train is held out.

    `read` gives "train" and "test", from which they are cut. Raises InputError if that cannot be read, or a split would
    be empty.
    """
    splits = {}
    if {"train", "validation"} & {*names}:
        train = read(dataset, "train")
        rest = split_sizes(dataset)["train"]
        splits["train"] = train[:rest]
        if rest < len(train):
            splits["validation"] = train[rest:]
    if "test" in names:
        splits["test"] = read(dataset, "test")
    return {name: split for name, split in splits.items() if name in names}


def load_split(dataset: Dataset, name: str, read: Callable[[Dataset, str], Split] = read_split) -> Split:
    """Load the split of a name, as `load_splits` does. Raises InputError if there is none."""
    check_name(SPLITS, name, "--split")
    if name not in (splits := load_splits(dataset, (name,), read)):
        raise InputError(f"--split={name}: the run was trained with config.data.validation={dataset.data.validation}")
    return splits[name]
