"""What a trained model has made, for other programs."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vqjax.data import datasets
from vqjax.data.formats import nanogpt, npy, parquet
from vqjax.data.sets.base import Dataset
from vqjax.data.splits import Split
from vqjax.system.errors import InputError
from vqjax.system.files import wrap_write_errors
from vqjax.system.paths import absolute_path
from vqjax.tasks.stage1 import Stage1


@dataclasses.dataclass(frozen=True)
class Format:
    """A row of FORMATS.

    Attributes:
      write: adds a split to a directory, see `npy.write_codes`.
      fingerprint: directory -> that of the stage 1 whose codes are there in this format; None if there are none.
      check: of a description, raises InputError if the format has no room for such codes.
      pair: the format holds "train" and "validation", or else "test", not one split.
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
    workdir: str,
    split: str | None,
    out: str,
    form: str = "numpy",
    data_dir: str | None = None,
    data_path: str | None = None,
) -> Path:
    """Writes codes and labels as described in `vqjax.data.formats.npy`, `.nanogpt` and `.parquet`.

    Args:
      workdir: of a trained autoencoder.
      split: train, test, or validation, the share that the run held out of train; None: train, or what the format has.
      out: a directory; other splits of the same stage 1 may be there already, in the same format.
      form: an entry of FORMATS.
      data_dir, data_path: as of `datasets.located`.

    Returns:
      The directory.

    Raises:
      InputError: no trained autoencoder, no such split, the directory holds something else, or the format has no room.
    """
    kind = FORMATS[form]
    if kind.pair and split:
        raise InputError(f"--split={split}: --format={form} writes train, and validation or else test; leave it out")
    stage1, directory = Stage1(workdir, "--workdir"), absolute_path(out, "--out")
    if directory.resolve() == stage1.kept.resolve():
        raise InputError(f"--out={out} is where stage 1 keeps its own codes: expected another directory")
    if directory.exists() and not _usable(directory, kind, stage1.fingerprint):
        raise InputError(f"--out={out}: expected codes of the same stage 1, in this format, an empty directory or none")
    kind.check(stage1.description)
    dataset = datasets.open_dataset(datasets.with_data_paths(stage1.settings.data, data_dir, data_path))
    datasets.check_same_dataset(dataset, stage1.facts)
    splits = _pair(stage1, dataset) if kind.pair else _single(stage1, dataset, split or "train")
    with wrap_write_errors(directory):
        for name, part in splits.items():
            codes = {array: part.arrays[array] for array in stage1.description["layout"].names}
            kind.write(directory, stage1.description, name, [codes], part.arrays["label"])
    return directory


def _single(stage1: Stage1, dataset: Dataset, name: str) -> dict[str, Split]:
    splits = datasets.load_splits(dataset, (name,), stage1.read)
    if not splits:
        raise InputError(f"--split={name}: {stage1.path} was trained with config.data.validation=0.0")
    return splits


def _pair(stage1: Stage1, dataset: Dataset) -> dict[str, Split]:
    """What a model of the codes is trained on, and what it is watched on."""
    splits = datasets.load_splits(dataset, ("train", "validation"), stage1.read)
    return splits if len(splits) == 2 else {**splits, **_single(stage1, dataset, "test")}


def _usable(directory: Path, kind: Format, fingerprint: str) -> bool:
    """Whether a directory is empty or has codes of the stage 1 with that fingerprint, in that format."""
    if not directory.is_dir():
        return False
    try:
        return not any(directory.iterdir()) or kind.fingerprint(directory) == fingerprint
    except InputError:  # a meta.json of something else
        return False
