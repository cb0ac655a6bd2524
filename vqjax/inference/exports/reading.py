"""Codes in files of any program."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.codes import CodeLayout
from vqjax.data.formats import nanogpt, npy, parquet
from vqjax.data.formats.description import LAYOUT, from_json
from vqjax.data.splits import Split
from vqjax.system.arguments import SPLITS
from vqjax.system.errors import InputError
from vqjax.system.files import read_json
from vqjax.system.paths import absolute_path

Read = tuple[Split, Mapping[str, Any]]


def read_exported(path: str | Path, layout: CodeLayout, split: str | None = None) -> Read:
    """Read the codes of a file of `export_codes`, or of another program.

    Args:
      path: .npy, .npz, .bin with its meta.json beside it, .parquet, or a directory of an export.
      layout: of the codes where the file does not say it.
      split: of the codes in a directory; None: the only one there, or those of a file.

    Returns:
      A split of codes by the names of their layout, and `label` if the file has it; and their description, {} if there
      is none. Values and grids are not checked.

    Raises:
      InputError: no such file, one of another kind, or a damaged one.
    """
    path = absolute_path(path, "--codes")
    if path.is_dir():
        return _read_directory(path, layout, split)
    if path.suffix not in READERS:
        raise InputError(f"{path}: expected a file that ends in {', '.join(READERS)}, or a directory of an export")
    if not path.is_file():
        raise InputError(f"{path}: expected a file, found none")
    if split:
        raise InputError(f"{path}: expected a directory of an export with --split={split}, found a file")
    try:
        return READERS[path.suffix](path, layout)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def _read_directory(directory: Path, layout: CodeLayout, split: str | None) -> Read:
    """Read a split of an export of NumPy files or Parquet."""
    splits = [name for name in SPLITS if (directory / f"{name}.parquet").is_file()]
    if not splits:
        splits = [name for name in SPLITS if (directory / f"{name}_labels.npy").is_file()]
    if split not in splits and (split or len(splits) != 1):
        found = f"{split!r} of {', '.join(splits)}" if split else ", ".join(splits)
        expected = "--split to name one of its splits" if splits else "a directory of `vqjax export codes`"
        raise InputError(f"{directory}: expected {expected}, found {found or 'none'}")
    name = split or splits[0]
    if (file := directory / f"{name}.parquet").is_file():
        return parquet.read_codes(file, layout)
    if (codes := npy.read_codes(directory, None, name)) is None:
        raise InputError(f"{directory}: expected {name} in its meta.json")
    return codes


def _read_npy(file: Path, layout: CodeLayout) -> Read:
    """Read the array of a .npy, mapped from disk, and the meta.json beside it if that is of an export."""
    if layout.by_name:
        names = ", ".join(layout.names)
        raise InputError(f"{file}: expected arrays {names}, in a directory of an export, or as .npz, .bin or .parquet")
    try:
        array = np.lib.format.open_memmap(file, mode="r")  # unlike np.load it opens nothing else: no archive, no pickle
    except ValueError as error:
        raise InputError(f"{file}: expected an array of integers as np.save writes it: {error}") from error
    try:
        meta = from_json(read_json(file.with_name("meta.json")))
    except Exception:  # there is none, or that of another program
        meta = {}
    return Split(codes=array), meta


def _read_npz(file: Path, layout: CodeLayout) -> Read:
    """Read arrays by the names of the layout, "codes" or "codes_top", …, as in the .npz of samples."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in layout.names if name in archive.files}
            found = archive.files
    except Exception as error:  # damaged and hostile archives fail in any way
        raise InputError(f"{file}: expected arrays as np.savez writes them: {error}") from error
    if len(arrays) < len(layout.names):
        raise InputError(f"{file}: expected arrays {', '.join(layout.names)}, found {', '.join(found) or 'none'}")
    return Split(**arrays), {}


READERS: dict[str, Callable[[Path, CodeLayout], Read]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".bin": lambda file, layout: nanogpt.read_codes(file),
    ".parquet": parquet.read_codes,
}


def check_layout(description: Mapping[str, Any], layout: CodeLayout) -> None:
    """Raise InputError if codes are described with other levels or depths than those of a layout."""
    described = description.get(LAYOUT, layout)
    if [(level.name, level.depth) for level in described.levels] != [
        (level.name, level.depth) for level in layout.levels
    ]:
        raise InputError(f"codes of {described}: expected those of {layout}")
