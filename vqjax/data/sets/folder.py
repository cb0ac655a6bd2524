"""One's own images: DIR/<split>/<class>/<file>, DIR/<class>/<file>, or flat, without labels; or a file of them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from vqjax.config.schema import Data
from vqjax.data.files.films import FILMS
from vqjax.data.files.names import number_of, some
from vqjax.data.files.pictures import is_image_name
from vqjax.data.files.probes import probe_files
from vqjax.data.sets.array_files import ARRAYS
from vqjax.data.sets.arrays import NumpyDataset
from vqjax.data.sets.base import NO_LABEL, Dataset, require_path
from vqjax.data.sets.clips import ClipsDataset, FramesDataset, is_recording
from vqjax.data.sets.directories import Listing, find_splits, ignored_note, list_files
from vqjax.data.sets.image_files import ImageFiles
from vqjax.system.errors import InputError
from vqjax.system.text import printable

_BESIDE = "beside the directories of classes, expected in one of them"


def folder(data: Data) -> Dataset:
    """Open what lies at `config.data.path`.

    A directory of images; or what its ending says: arrays of NumPy, or a film, whose frames are images unless
    `config.data.frames` cuts it into clips. Raises InputError if it has no images, or splits that are not alike.
    """
    expected = f"a directory of images, or a file that ends in {', '.join((*ARRAYS, *FILMS))}"
    root = require_path(data, None, expected)
    if root.is_dir() and not is_recording(root):
        return _image_files(data, root)
    if root.is_file() and root.suffix.lower() not in (*ARRAYS, *FILMS):
        raise InputError(f"config.data.path={data.path!r}: expected {expected}")
    if data.frames or root.is_dir():
        return ClipsDataset(data)
    return NumpyDataset(data) if root.suffix.lower() in ARRAYS else FramesDataset(data)


def _image_files(data: Data, root: Path) -> ImageFiles:
    where = f"config.data.path={data.path!r}"
    listing = list_files(root)
    starts, notes = find_splits(listing, where)
    listed = {name: [path for path in listing.files if _is_below(path, start)] for name, start in starts.items()}
    probed = probe_files(root, [path for paths in listed.values() for path in paths])
    splits = {
        name: [path for path in paths if is_image_name(path) or not probed[path].probe.reason]
        for name, paths in listed.items()
    }
    used = {path for paths in splits.values() for path in paths}
    ignored = ignored_note((path for path in probed if path not in used), listing.hidden)
    if not used:
        raise InputError(f"{where}: expected images, found none{''.join(f'; {line}' for line in ignored)}")
    classes = {path: _class_of(path, starts[name]) for name, paths in splits.items() for path in paths}
    names, labels, left_out = _label(splits, classes)
    said = [*listing.notes, *notes, *ignored, *_class_notes(listing, starts, splits, classes)]
    return ImageFiles(data, root, labels, names, left_out, probed, said)


def _label(
    splits: Mapping[str, Sequence[str]], classes: Mapping[str, str]
) -> tuple[list[str], dict[str, list[tuple[str, int]]], dict[str, str]]:
    """Return the names of the classes, the files of the splits with their labels, and those that are left out."""
    has_classes = {name: any(classes[path] for path in paths) for name, paths in splits.items()}
    names = sorted({*classes.values()} - {""}) if has_classes["train"] else []
    number = {name: label for label, name in enumerate(names)}
    labels: dict[str, list[tuple[str, int]]] = {}
    left_out = {}
    for split, paths in splits.items():
        if not names or not has_classes[split]:
            labels[split] = [(path, NO_LABEL if names else 0) for path in paths]
            continue
        labels[split] = [(path, number[classes[path]]) for path in paths if classes[path]]
        left_out.update({path: _BESIDE for path in paths if not classes[path]})
    return names, labels, left_out


def _class_notes(
    listing: Listing, starts: Mapping[str, str], splits: Mapping[str, Sequence[str]], classes: Mapping[str, str]
) -> Iterator[str]:
    """Yield lines on classes that are not used, merged or empty."""
    inside, empty = set(), []
    for name, start in starts.items():
        full = {classes[path] for path in splits[name]}
        if any(full) and not any(classes[path] for path in splits["train"]):
            yield f"{printable(start)} has directories of classes, and {printable(starts['train'])} has none: no labels"
        parents = {path.rpartition("/")[0] for path in splits[name]}
        inside |= {parent for parent in parents if "/" in parent.removeprefix(f"{start}/")}
        below = [directory for directory in listing.directories if directory.rpartition("/")[0] == start]
        empty += [directory for directory in below if directory.rpartition("/")[2] not in full]
    if inside:
        count = number_of(len(inside), "directory", "directories")
        yield f"{count} inside the directories of classes, of the same class: {some(sorted(inside))}"
    if empty:
        yield f"{number_of(len(empty), 'directory', 'directories')} without images: {some(empty)}"


def _is_below(path: str, start: str) -> bool:
    return not start or path.startswith(f"{start}/")


def _class_of(path: str, start: str) -> str:
    """Return the first directory of a path below that of its split; "" if there is none."""
    directory, slash, _ = path.removeprefix(f"{start}/").partition("/")
    return directory if slash else ""
