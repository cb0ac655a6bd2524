"""The sets of images by name, and their splits."""

import functools
import math
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from vqjax.config.check import check_fields, check_name
from vqjax.config.schema import Data
from vqjax.data.sets import archives, arrays, layouts
from vqjax.data.sets.base import Dataset
from vqjax.data.sets.clips import ClipsDataset
from vqjax.data.sets.folder import folder
from vqjax.data.sets.photos import photos
from vqjax.data.sets.tfds import TfdsDataset
from vqjax.data.splits import Split
from vqjax.system.errors import InputError
from vqjax.system.paths import absolute_path

Open = Callable[[Data], Dataset]
TFDS = "tfds/"  # before the name of any set of TFDS


def _either(read: Open, test: str = "test") -> Open:
    """As it is distributed if there is a path, else of TFDS by the same name."""
    return lambda data: read(data) if data.path else TfdsDataset(data, data.name, test)


def _imagenet_resized(data: Data) -> Dataset:
    """TFDS has it in sizes of 8, 16, 32 and 64 pixels."""
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
    **{name: _either(read) for name, read in archives.ARCHIVES.items()},
    "food101": _either(layouts.food101),
    "tiny_imagenet": layouts.tiny_imagenet,
    "mini_imagenet": layouts.mini_imagenet,
    "imagenet2012": _either(folder, test="validation"),  # its test has no labels
    "imagenet_resized": _imagenet_resized,
}


def open_dataset(config: ConfigDict) -> Dataset:
    """The set of `config.data`, opened; its images are not decoded unless they are few.

    Raises InputError for an unknown name, a field that is wrong, or a set that is not there.
    """
    data = Data(**check_fields(Data, config.data.to_dict(), "config.data"))
    if not data.name.startswith(TFDS):
        check_name({**DATASETS, f"{TFDS}<name>": None}, data.name, "config.data.name")
    opened = _opened(data, DATASETS.get(data.name), os.environ.get("TFDS_DATA_DIR"))
    if opened.changed:
        _opened.cache_clear()
        opened = _opened(data, DATASETS.get(data.name), os.environ.get("TFDS_DATA_DIR"))
    return opened


@functools.lru_cache(maxsize=2)  # a run asks for its set several times
def _opened(data: Data, row: Open | None, directory: str | None) -> Dataset:
    opened = row(data) if row else TfdsDataset(data, data.name.removeprefix(TFDS))
    if data.resized_crop and not opened.streamed:
        raise InputError(
            f"config.data.resized_crop={data.resized_crop}: only of a set that is streamed, larger than "
            f"config.data.memory={data.memory} GiB"
        )
    if data.oversize > 1 and (opened.streamed or not data.size):
        raise InputError(
            f"config.data.oversize={data.oversize}: only of a set that is held in memory, with a config.data.size; "
            "one that is streamed has config.data.resized_crop"
        )
    return opened


def dataset_facts(config: ConfigDict) -> dict[str, Any]:
    """What run.json says of the data set of `config.data.name`, less what only its images can say."""
    opened = open_dataset(config)
    return {
        "dataset": config.data.name,
        "image_shape": opened.shape,
        "class_names": opened.class_names,
        "sizes": dict(opened.sizes),
    }


def dataset_hashes(config: ConfigDict) -> dict[str, str]:
    """What tells the images and labels of "train" and "test" from others."""
    return {name: open_dataset(config).hash(name) for name in ("train", "test")}


def check_splits(config: ConfigDict) -> None:
    """Raises InputError for what can be seen to be wrong with `config.data` without decoding it."""
    num_validation(config)


def check_same_dataset(config: ConfigDict, facts: Mapping[str, Any]) -> None:
    """Raises InputError if the set is by now, or in another place, another one than run.json says."""
    opened = open_dataset(config)
    for name, found in (("image_shape", opened.shape), ("class_names", opened.class_names)):
        if tuple(facts[name]) != tuple(found):
            shown = [_brief(tuple(value)) for value in (found, facts[name])]
            raise InputError(
                f"config.data.name={config.data.name!r} has {name} {shown[0]}, the run was trained on {shown[1]}"
                f"{_where(config)}"
            )


def check_same_images(config: ConfigDict, facts: Mapping[str, Any]) -> None:
    """Raises InputError unless the images are those that the run began with; of an older run that is not known."""
    for name, before in facts.get("hash", {}).items():
        now = open_dataset(config).hash(name)
        if now.partition(" ")[0] == before.partition(" ")[0] and now != before:  # pixels and files do not compare
            raise InputError(
                f"config.data.name={config.data.name!r}: {name} is not what the run began with{_where(config)}\n"
                "Expected the same images, or a new --workdir"
            )


def dataset_warnings(config: ConfigDict) -> list[str]:
    """What is strange about a set, or about a run on it, a line each; nothing is decoded."""
    opened, found = open_dataset(config), []
    count = min(opened.sizes["train"] - num_validation(config), opened.data.limit or math.inf)
    if config.batch_size > count:
        found.append(f"config.batch_size={config.batch_size}: more than the {count:,} images of train, some come twice")
    if len(opened.class_names) == 1:
        found.append(f"config.data.name={config.data.name!r} has one class only, {opened.class_names[0]}")
    return found


def _brief(value: tuple) -> str:
    return " x ".join(map(str, value)) if value and isinstance(value[0], int) else f"{len(value)} classes {value[:3]}"


def _where(config: ConfigDict) -> str:
    places = [f"config.data.{name}={config.data[name]!r}" for name in ("path", "data_dir") if config.data.get(name)]
    return "".join(f"; now {place}" for place in places)


def with_data_paths(config: ConfigDict, data_dir: str | None = None, data_path: str | None = None) -> ConfigDict:
    """The config of a run that is there, with its data where it lies now.

    Args:
      config: of the run.
      data_dir, data_path: where that is, as --data_dir and --data_path have it. Without them it is where the config
        says, and where TFDS_DATA_DIR says if config.data.data_dir is no longer there.
    """
    config = ConfigDict(config.to_dict())
    gone = config.data.data_dir and not absolute_path(config.data.data_dir, "config.data.data_dir").is_dir()
    if data_dir:
        config.data.data_dir = str(absolute_path(data_dir, "--data_dir"))
    elif gone and (instead := os.environ.get("TFDS_DATA_DIR")):
        print(f"config.data.data_dir={config.data.data_dir} is no longer there: TFDS_DATA_DIR={instead} instead")
        config.data.data_dir = ""
    if data_path:
        config.data.path = str(absolute_path(data_path, "--data_path"))
    return config


def num_validation(config: ConfigDict) -> int:
    """How many images at the end of train are for validation. Raises InputError if that leaves a split empty."""
    opened, share = open_dataset(config), config.data.validation
    count = opened.sizes["train"]
    held_out = opened.num_validation(share)
    if (share and not held_out) or held_out >= count:
        raise InputError(f"config.data.validation={share} of {count} images leaves a split empty")
    return min(held_out, opened.data.limit or count)


def read_split(config: ConfigDict, name: str) -> Split:
    """The images and labels of "train" or "test", whole. Raises InputError if they are not there or damaged.

    With a `config.data.limit` the first ones, and behind those of train the first ones of its end that is held out.
    """
    opened = open_dataset(config)
    split, limit = opened.read(name), opened.data.limit
    if not limit:
        return split
    rest = len(split) - (opened.num_validation(config.data.validation) if name == "train" else 0)
    return split[np.r_[0 : min(rest, limit), rest : min(len(split), rest + limit)]]


def load_splits(
    config: ConfigDict,
    names: Sequence[str] = ("train", "validation", "test"),
    read: Callable[[ConfigDict, str], Split] = read_split,
) -> dict[str, Split]:
    """The splits that exist among `names`: {"train", "test"}, and "validation" if a share of train is held out.

    `read` gives what they are cut from, "train" and "test". Raises InputError if that cannot be read, or if a split
    would be empty.
    """
    splits = {}
    if {"train", "validation"} & {*names}:
        whole = read(config, "train")
        rest = len(whole) - num_validation(config)
        splits["train"] = whole[:rest]
        if rest < len(whole):
            splits["validation"] = whole[rest:]
    if "test" in names:
        splits["test"] = read(config, "test")
    return {name: split for name, split in splits.items() if name in names}
