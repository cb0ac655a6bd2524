"""Sets of image files in the layouts in which their authors distribute them, in `config.data.path`."""

import csv
from collections import Counter
from pathlib import Path

from vqjax.config.schema import Data
from vqjax.data.sets.base import require_path
from vqjax.data.sets.image_files import ImageFiles
from vqjax.system.errors import InputError


def tiny_imagenet(data: Data) -> ImageFiles:
    """Open tiny-imagenet-200: train/<wnid>/images, val/val_annotations.txt, wnids.txt, words.txt.

    The labels are the wnids in their order; test has none, so that val serves as that.
    """
    root = require_path(data, True, "the directory tiny-imagenet-200")
    wnids = sorted(_lines(data, root / "wnids.txt"))
    number = {wnid: i for i, wnid in enumerate(wnids)}
    words = dict(line.split("\t", 1) for line in _lines(data, root / "words.txt") if "\t" in line)
    train = []
    for wnid in wnids:
        images = root / "train" / wnid / "images"
        if not images.is_dir():
            raise InputError(f"config.data.path={data.path!r}: expected train/{wnid}/images in it")
        train += [(f"train/{wnid}/images/{file.name}", number[wnid]) for file in sorted(images.glob("*.JPEG"))]
    rows = [[*line.split("\t"), ""] for line in _lines(data, root / "val" / "val_annotations.txt")]
    validation = [(f"val/images/{row[0]}", _class(data, number, row[1])) for row in rows]
    names = [words.get(wnid, wnid).partition(",")[0].strip() for wnid in wnids]
    twice = {name for name, count in Counter(names).items() if count > 1}
    names = [f"{name} ({wnid})" if name in twice else name for name, wnid in zip(names, wnids)]
    return ImageFiles(data, root, {"train": train, "test": validation}, names)


def mini_imagenet(data: Data) -> ImageFiles:
    """Open images/ and train.csv, val.csv, test.csv of `filename,label`, whose classes are 64, 16 and 20 others.

    A classifier, or a prior given the class, needs the same classes in all: so the three are put together, and a share
    of each class, config.data.test, is for test. With a share of 0 the splits are those of the files.
    """
    root = require_path(data, True, "the directory of images, train.csv, val.csv and test.csv")
    rows = {name: _table(data, root / f"{file}.csv") for name, file in _CSV.items()}
    classes = sorted({label for part in rows.values() for _, label in part})
    number = {label: i for i, label in enumerate(classes)}
    splits = {name: [(f"images/{file}", number[label]) for file, label in part] for name, part in rows.items()}
    if data.test:
        splits = {"train": [file for part in splits.values() for file in part]}
    return ImageFiles(data, root, splits, classes)


_CSV = {"train": "train", "validation": "val", "test": "test"}


def _table(data: Data, file: Path) -> list[tuple[str, str]]:
    """Return the rows of a CSV file with the columns filename and label."""
    rows = [*csv.DictReader(_lines(data, file))]
    if not rows or not all(row.get("filename") and row.get("label") for row in rows):
        raise InputError(f"config.data.path={data.path!r}: {file.name}: expected the columns filename and label")
    return [(row["filename"], row["label"]) for row in rows]


def food101(data: Data) -> ImageFiles:
    """Open food-101: images/<class>/<number>.jpg, meta/classes.txt, meta/train.txt, meta/test.txt."""
    root = require_path(data, True, "the directory food-101")
    classes = _lines(data, root / "meta" / "classes.txt")
    number = {name: i for i, name in enumerate(classes)}
    splits = {
        name: [
            (f"images/{line}.jpg", _class(data, number, line.partition("/")[0]))
            for line in _lines(data, root / "meta" / f"{name}.txt")
        ]
        for name in ("train", "test")
    }
    return ImageFiles(data, root, splits, classes)


def _lines(data: Data, file: Path) -> list[str]:
    """Return the lines of a text file that are not empty. Raises InputError if it is not there."""
    try:
        return [line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeError) as error:
        raise InputError(
            f"config.data.path={data.path!r}: expected {file.name} there, for config.data.name={data.name!r}"
        ) from error


def _class(data: Data, number: dict[str, int], name: str) -> int:
    """Return the label of a class. Raises InputError for one that the set does not have."""
    if name not in number:
        raise InputError(f"config.data.path={data.path!r}: {name!r} is none of the {len(number)} classes")
    return number[name]
