"""Codes of a run's own images, in formats of other programs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from vqjax.config.check import check_name
from vqjax.data import datasets
from vqjax.data.formats import nanogpt, npy, parquet
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.system.arguments import SPLITS
from vqjax.system.errors import InputError
from vqjax.system.files import wrap_write_errors
from vqjax.system.paths import absolute_path
from vqjax.tasks.stage1 import Stage1


class Format(NamedTuple):
    """A row of FORMATS.

    Attributes:
      write: adds a split to a directory, see `npy.write_codes`.
      fingerprint: directory -> that of the stage 1 whose codes are there in this format; None if there are none.
      check: of a description, raises InputError if the format has no room for such codes.
      pair: whether the format holds "train" and "validation", or else "test", not one split.
    """

    write: Callable[..., None]
    fingerprint: Callable[[Path], str | None]
    check: Callable[[Mapping[str, Any]], None] = lambda description: None
    pair: bool = False


FORMATS = {
    "numpy": Format(npy.write_codes, npy.read_fingerprint),
    "nanogpt": Format(nanogpt.write_codes, nanogpt.read_fingerprint, nanogpt.check, pair=True),
    "parquet": Format(parquet.write_codes, parquet.read_fingerprint),
}


def export_codes(
    stage1: Stage1,
    out: str | Path,
    split: str | None = None,
    format: str = "numpy",
    data_dir: str | None = None,
    data_path: str | None = None,
) -> Path:
    """Write codes, labels and paths of images; the arguments are those of `Tokenizer.export_codes`.

    Returns:
      The directory.

    Raises:
      InputError: no such split, the directory holds something else, or the format has no room.
    """
    check_name(FORMATS, format, "--format")
    kind, directory = FORMATS[format], absolute_path(out, "--out")
    if split is not None:
        check_name((*SPLITS, "all"), split, "--split")
        if kind.pair:
            raise InputError(f"--split={split}: --format={format} writes train, and validation or else test; leave it")
    if directory.resolve() == stage1.kept.resolve():
        raise InputError(f"--out={out} is where stage 1 keeps its own codes: expected another directory")
    if directory.exists() and not _usable(directory, kind, stage1.fingerprint):
        raise InputError(f"--out={out}: expected codes of the same stage 1, in this format, an empty directory or none")
    kind.check(stage1.description)
    dataset = datasets.reopen_dataset(stage1.settings.data, stage1.facts, data_dir, data_path)
    splits = _pair(stage1, dataset) if kind.pair else _splits(stage1, dataset, split or "train")
    with wrap_write_errors(directory):
        for name, rows in splits.items():
            codes = {array: rows.arrays[array] for array in stage1.layout.names}
            files = _files(dataset, name, len(rows))
            kind.write(directory, stage1.description, name, [codes], rows.arrays["label"], files=files)
    return directory


def _files(dataset: Dataset, name: str, count: int) -> list[str] | None:
    """Return the paths of the `count` images of a split, in its order; None where they have none."""
    files = dataset.files("test" if name == "test" else "train")
    if files is None:
        return None
    start = dataset.sizes["train"] - datasets.num_validation(dataset) if name == "validation" else 0
    return files[start : start + count]


def _splits(stage1: Stage1, dataset: Dataset, name: str) -> dict[str, Split]:
    """Return the split of a name, or all that there are."""
    if name == "all":
        return datasets.load_splits(dataset, read=stage1.read)
    return {name: datasets.load_split(dataset, name, stage1.read)}


def _pair(stage1: Stage1, dataset: Dataset) -> dict[str, Split]:
    """Return the split that a model of the codes is trained on, and the one that it is watched on."""
    splits = datasets.load_splits(dataset, ("train", "validation"), stage1.read)
    return splits if len(splits) == 2 else {**splits, **_splits(stage1, dataset, "test")}


def _usable(directory: Path, kind: Format, fingerprint: str) -> bool:
    """Return whether a directory is empty or has codes of the stage 1 with that fingerprint, in that format."""
    if not directory.is_dir():
        return False
    try:
        return not any(directory.iterdir()) or kind.fingerprint(directory) == fingerprint
    except InputError:  # a meta.json of something else
        return False
