"""One's own images: DIR/<split>/<class>/<file>, DIR/<class>/<file>, or flat, without labels."""

import os
from collections.abc import Iterator
from pathlib import Path

from vqjax.config.schema import Data
from vqjax.data.sets.base import require_path
from vqjax.data.sets.image_files import ImageFiles
from vqjax.system.errors import InputError

# What the directory of a split may be called.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "val", "valid"),
    "test": ("test", "testing"),
}
_BESIDE = "beside the directories of classes, expected in one of them"
_SPLIT_OF = {directory: name for name, directories in SPLITS.items() for directory in directories}


def folder(data: Data) -> ImageFiles:
    """The set in `config.data.path`. Raises InputError if that has no images, or splits that are not alike."""
    root = require_path(data, True, "a directory of images")
    places: list[Path] = []
    splits, left_out = {}, {}
    starts = _splits(data, root)
    listed = {name: [*_walk(root, start, places)] for name, start in starts.items()}
    names = sorted({_class_of(path, starts[name]) for name, paths in listed.items() for path in paths} - {""})
    number = {name: i for i, name in enumerate(names)}
    for name, paths in listed.items():
        classes = [(path, _class_of(path, starts[name])) for path in paths]
        splits[name] = [(path, number[own] if own else 0) for path, own in classes if own or not names]
        left_out.update({path: _BESIDE for path, own in classes if names and not own})
    return ImageFiles(data, root, splits, names, places, left_out)


def _splits(data: Data, root: Path) -> dict[str, str]:
    """{name of a split: its directory, relative}; {"train": ""} if there are none."""
    directories = sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and not entry.name.startswith("."))
    found: dict[str, str] = {}
    for directory in directories:
        name = _SPLIT_OF.get(directory.lower())
        if name in found:
            raise InputError(f"config.data.path={data.path!r}: {found[name]} and {directory}, expected one of them")
        if name:
            found[name] = directory
    if len(found) < 2 and {*found.values()} != {*directories} or not found:  # a class may be called train
        return {"train": ""}
    if "train" not in found:
        raise InputError(f"config.data.path={data.path!r}: {', '.join(found.values())}, but no directory train")
    return found


def _walk(root: Path, start: str, places: list[Path]) -> Iterator[str]:
    """The files below a directory, relative to the root, in a fixed order; hidden ones are not looked at."""
    seen = set()  # a link may lead back
    for directory, below, files in os.walk(root / start, followlinks=True):
        if (real := os.path.realpath(directory)) in seen:
            below.clear()
            continue
        seen.add(real)
        places.append(Path(directory))
        below[:] = sorted(name for name in below if not name.startswith((".", "__MACOSX")))
        for name in sorted(files):
            if not name.startswith("."):
                yield Path(directory, name).relative_to(root).as_posix()


def _class_of(path: str, start: str) -> str:
    """The first directory of a path below that of its split; "" if there is none."""
    directory, slash, _ = path.removeprefix(f"{start}/").partition("/")
    return directory if slash else ""
