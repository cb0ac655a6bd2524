"""Files of NumPy: which of their arrays are images and labels, of which split, and what their pixels are."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vqjax.data.files.damage import refuse_damage
from vqjax.data.files.names import some
from vqjax.data.sets.division import split_of
from vqjax.system.errors import InputError
from vqjax.system.text import printable

ARRAYS = (".npz", ".npy")  # endings
_IMAGES, _LABELS = {"image", "images", "x", "data"}, {"label", "labels", "y", "target", "targets"}
_CLASSES = 2**16  # labels from there on are taken for something else
_CHUNK = 1_024  # images that are converted at a time


class ArrayFile(NamedTuple):
    """Arrays of a file.

    Attributes:
      images: {split: images}; the split is "" where the file has none.
      labels: {split: labels}.
      names: {split: name of the images in the file}.
      unused: names of arrays that are neither.
    """

    images: Mapping[str, np.ndarray]
    labels: Mapping[str, np.ndarray]
    names: Mapping[str, str]
    unused: tuple[str, ...]


def read_array_file(path: Path, where: str) -> ArrayFile:
    """Read an .npz or .npy file, not its pickles.

    An array is called `image`, `images`, `x` or `data`, labels `label`, `labels`, `y`, `target` or `targets`, with or
    without a split, as x_train or test_labels; `arr_0`, as np.savez calls it, or the only array of a file are images.

    Raises:
      InputError: naming `where`, if it is damaged or has no images, or splits but none for training.
    """
    with refuse_damage(f"{where} cannot be read", "Expected an .npz or .npy file, without pickles"):
        content: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        if isinstance(content, np.ndarray):
            return ArrayFile({"": content}, {}, {"": ""}, ())
        with content:
            roles = _roles(content.files)
            arrays = {name: content[name] for name in roles}
            unused = tuple(name for name in content.files if name not in roles)
    kinds: dict[str, dict[str, str]] = {"image": {}, "label": {}}
    for name, (kind, split) in roles.items():
        kinds[kind][split] = name
    names = kinds["image"]
    if not names:
        raise InputError(f"{where}: expected an array `image` or `images`, found {some(unused) or 'nothing'}")
    if "" not in names and "train" not in names:
        raise InputError(f"{where}: found {some([*names.values()])}, but no images for training, such as x_train")
    images, labels = ({split: arrays[name] for split, name in kinds[kind].items()} for kind in kinds)
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise InputError(f"{where}: {printable(name)} is no array")
    return ArrayFile(images, labels, names, unused)


def _roles(names: list[str]) -> dict[str, tuple[str, str]]:
    """Return {name of an array: ("image" or "label", split)}: the first name of each role, splits before the whole."""
    roles: dict[tuple[str, str], str] = {}
    for name in names:
        if (role := _role(name)) is not None:
            roles.setdefault(role, name)
    if not any(kind == "image" for kind, _ in roles):
        if len(names) == 1 or "arr_0" in names:
            roles["image", ""] = names[0] if len(names) == 1 else "arr_0"
    if ("image", "train") in roles:
        roles = {(kind, split): name for (kind, split), name in roles.items() if split}
    elif ("image", "") in roles:
        roles = {(kind, split): name for (kind, split), name in roles.items() if not split}
    return {name: (kind, split) for (kind, split), name in roles.items() if ("image", split) in roles}


def _role(name: str) -> tuple[str, str] | None:
    words = name.lower().split("_")
    for kind, known in (("image", _IMAGES), ("label", _LABELS)):
        if len(words) == 1 and words[0] in known:
            return kind, ""
        if len(words) == 2 and (words[0] in known or words[1] in known):
            split = split_of(words[1] if words[0] in known else words[0])
            return None if split is None else (kind, split)
    return None


def check_images(images: np.ndarray, where: str) -> np.ndarray:
    """Return images as (N, H, W, C), of any type of numbers; gray ones may lack C. InputError for other arrays."""
    shape, hint = images.shape, ""
    if images.ndim == 3 and not _is_one_image(shape):
        images = images[..., None]
    elif images.ndim == 2 or images.ndim == 3:
        hint = "; one image? images[None]"
    elif images.ndim == 4 and shape[-1] not in (1, 3) and shape[1] in (1, 3):
        hint = "; looks like (N, C, H, W): transpose, images.transpose(0, 2, 3, 1)"
    elif images.ndim == 5:
        hint = "; clips? --config.data.name=clips --config.data.frames=T"
    if hint or images.ndim != 4 or images.shape[-1] not in (1, 3) or not images.size or images.dtype.kind not in "buif":
        raise InputError(
            f"{where}: expected images (N, H, W, C) or (N, H, W), C 1 or 3, uint8 or floats in [0, 1], found "
            f"{images.dtype} {shape}{hint}"
        )
    return images


def _is_one_image(shape: tuple[int, ...]) -> bool:
    """Return whether a shape of 3 axes is (H, W, C) rather than (N, H, W)."""
    return shape[-1] in (1, 3) or shape[-1] == 4 < shape[1]


def to_uint8(images: np.ndarray, where: str, rows: np.ndarray | None = None) -> np.ndarray:
    """Return images (N, ...) as uint8: floats in [0, 1] are rounded to 256 levels, booleans are black and white.

    Args:
      images: of a type that `check_images` lets pass.
      where: config key and value, for messages.
      rows: numbers of the images, for messages.

    Raises:
      InputError: a value is out of range, or not a number.
    """
    if images.dtype == np.uint8:
        return images
    converted = np.empty(images.shape, np.uint8)
    for start in range(0, len(images), _CHUNK):
        part = images[start : start + _CHUNK]
        if images.dtype.kind == "b":
            converted[start : start + _CHUNK] = part * np.uint8(255)
            continue
        highest = 1 if images.dtype.kind == "f" else 255
        low, high = part.min(axis=tuple(range(1, part.ndim))), part.max(axis=tuple(range(1, part.ndim)))
        if len(wrong := np.flatnonzero(~((low >= 0) & (high <= highest)))):  # a NaN fails both
            first = wrong[0]
            row = start + first if rows is None else rows[start + first]
            value = "NaN" if np.isnan(low[first]) else f"values from {low[first]:g} to {high[first]:g}"
            raise InputError(f"{where}: {value} in image {row}, expected uint8, or floats in [0, 1]")
        converted[start : start + _CHUNK] = np.round(part * 255) if images.dtype.kind == "f" else part
    return converted


def check_labels(label: np.ndarray, count: int, where: str) -> np.ndarray:
    """Return labels as (N,): whole numbers int32, or names of classes. Raises InputError for others than `count`."""
    hint = "; one-hot? labels.argmax(1)" if label.ndim == 2 and label.shape[1] > 1 else ""
    flat = label.reshape(-1) if label.shape == (count, 1) else label
    if flat.dtype.kind == "f" and np.array_equal(flat, np.round(flat)):
        flat = flat.astype(np.int64)
    if flat.dtype.kind not in "biuSU" or flat.shape != (count,):
        raise InputError(
            f"{where}: expected {count} labels that are integers or names, found {label.dtype} {label.shape}{hint}"
        )
    if flat.dtype.kind in "SU":
        return np.char.decode(flat, "utf-8", "backslashreplace") if flat.dtype.kind == "S" else flat
    low, high = int(flat.min()), int(flat.max())
    if low < 0 or high >= _CLASSES:
        raise InputError(f"{where}: labels from {low} to {high}, expected at least 0 and less than {_CLASSES}")
    return flat.astype(np.int32)
