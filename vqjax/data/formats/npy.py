"""Codes on disk, for other models and for stage 2: NumPy files and a meta.json that says what they are.

<split>_codes.npy    (N, h, w), in the smallest unsigned integer that holds them
<split>_labels.npy   (N,) int32
meta.json            K, grid, order, data set, class names, the fingerprint of stage 1, checksums
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.data.splits import Split
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write, file_checksum, read_json, write_json

FORMAT = 1
_FILES = {"codes": "codes", "label": "labels"}  # the split's array -> what its file is called


def write_codes(
    directory: Path,
    description: Mapping[str, Any],
    name: str,
    codes: Iterable[np.ndarray],
    label: np.ndarray,
    data_hash: str | None = None,
) -> None:
    """Adds a split to the directory; codes of another stage 1 in it are forgotten.

    Args:
      directory: made if it is not there.
      description: of the codes, `num_codes`, `grid` and `fingerprint` among it.
      name: of the split.
      codes: parts (n, h, w), together of N; each is written before the next is asked for.
      label: (N,) int32.
      data_hash: of the images.
    """
    directory.mkdir(parents=True, exist_ok=True)
    meta = _meta(directory)
    if meta.get("fingerprint") != description["fingerprint"]:
        meta = {"format": FORMAT, **description, "splits": {}}
    dtype, shape = np.min_scalar_type(description["num_codes"] - 1), (len(label), *description["grid"])
    entry = {"count": len(label), "dtype": str(dtype), "data": data_hash}
    paths = {array: directory / f"{name}_{kind}.npy" for array, kind in _FILES.items()}
    with atomic_write(paths["codes"]) as temporary, atomic_write(paths["label"]) as labels:
        save_rows(temporary, dtype, shape, codes)
        np.save(labels, label, allow_pickle=False)
        for array, file in (("codes", temporary), ("label", labels)):
            entry[array] = {"file": paths[array].name, "sha256": file_checksum(file)}
    meta["splits"][name] = entry
    write_json(directory / "meta.json", meta)


def save_rows(file: Path, dtype: np.dtype, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    """Writes an .npy file part by part, each before the next is asked for. Raises ValueError unless they fill it.

    From front to back: on a full disk that is an OSError, where a file that is mapped would end the process.
    """
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
    count = 0
    with file.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        for part in parts:
            stream.write(np.ascontiguousarray(part, dtype).data)
            count += len(part)
    if count != shape[0]:
        raise ValueError(f"{count} rows, expected {shape[0]}")


def read_codes(directory: Path, made_by: str, name: str, data_hash: str | None = None) -> Split | None:
    """The split that the stage 1 with the fingerprint `made_by` wrote; None if it is not there, or of other images.

    The codes stay on disk and are mapped from there. Raises InputError if a file is missing or does not fit its
    checksum.
    """
    meta = _meta(directory)
    if meta.get("fingerprint") != made_by or name not in meta["splits"]:
        return None
    if data_hash and meta["splits"][name].get("data") != data_hash:
        return None
    arrays = {}
    for array in _FILES:
        entry = meta["splits"][name][array]
        path = directory / f"{name}_{_FILES[array]}.npy"
        if not path.is_file() or file_checksum(path) != entry["sha256"]:
            raise InputError(f"{path} does not fit the checksum in meta.json")
        arrays[array] = np.load(path, mmap_mode="r", allow_pickle=False)
    return Split(**arrays)


def read_fingerprint(directory: Path) -> str | None:
    """Of the stage 1 whose codes these are; None if there are none. Raises InputError if meta.json is damaged."""
    return _meta(directory).get("fingerprint")


def _meta(directory: Path) -> dict[str, Any]:
    path = directory / "meta.json"
    if not path.exists():
        return {}
    try:
        meta = read_json(path)
        if meta["format"] != FORMAT:
            raise ValueError(f"format {meta['format']}, but this version reads {FORMAT}")
        return meta if meta["fingerprint"] and meta["splits"] else {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} cannot be read: {error!r}") from error
