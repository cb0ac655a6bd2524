"""Codes on disk, for other models and for stage 2: NumPy files and a meta.json that describes them.

<split>_codes.npy            (N, h, w), or (N, h, w, D), in the smallest unsigned integer that holds them
<split>_codes_<level>.npy    the same for each level, where there are several
<split>_labels.npy           (N,) int32
<split>_files.txt            N lines, the path of each image, where the images are files; see `paths`
meta.json                    K and grid, or the levels; order, data set, class names, fingerprint of stage 1, checksums
"""

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.codes import CodeLayout
from vqjax.data.files.damage import refuse_damage
from vqjax.data.formats.description import LAYOUT, from_json, to_json
from vqjax.data.formats.parts import Parts, check_labels, checked_parts
from vqjax.data.formats.paths import read_paths, write_paths
from vqjax.data.splits import Split
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write, file_checksum, read_json, write_json
from vqjax.system.text import printable

FORMAT = 1


class RowWriter:
    """Writer of an .npy file, part by part, from front to back.

    On a full disk that is an OSError, where a file that is mapped would end the process.
    """

    def __init__(self, file: Path, dtype: np.dtype, shape: tuple[int, ...]):
        """Write the header of an array of that dtype and shape (N, ...)."""
        self.dtype, self.shape, self.count = dtype, shape, 0
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        self._stream = file.open("wb")
        np.lib.format.write_array_header_1_0(self._stream, header)

    def write(self, rows: np.ndarray) -> None:
        """Append rows (n, ...). Raises ValueError for another shape, too many, or values that the dtype has not."""
        if rows.shape[1:] != self.shape[1:]:
            raise ValueError(f"rows of shape {rows.shape[1:]}, expected {self.shape[1:]}")
        if self.count + len(rows) > self.shape[0]:
            raise ValueError(f"{self.count + len(rows)} rows or more, expected {self.shape[0]}")
        converted = np.ascontiguousarray(rows, self.dtype)
        if rows.dtype != self.dtype and not np.array_equal(converted, rows):
            raise ValueError(f"rows of {rows.dtype} that {self.dtype} cannot hold")
        self._stream.write(converted.data)
        self.count += len(rows)

    def close(self) -> None:
        """Close the file. Raises ValueError if rows are missing."""
        self._stream.close()
        if self.count != self.shape[0]:
            raise ValueError(f"{self.count} rows, expected {self.shape[0]}")

    def __enter__(self) -> "RowWriter":
        return self

    def __exit__(self, kind: Any, *_: Any) -> None:
        self._stream.close() if kind else self.close()


def save_rows(file: Path, dtype: np.dtype, shape: tuple[int, ...], parts: Iterable[np.ndarray]) -> None:
    """Write an .npy file part by part, each before the next is asked for. Raises ValueError unless they fill it."""
    with RowWriter(file, dtype, shape) as writer:
        for part in parts:
            writer.write(part)


def write_codes(
    directory: Path,
    description: Mapping[str, Any],
    name: str,
    parts: Parts,
    label: np.ndarray,
    data_hash: str | None = None,
    files: Sequence[str] | None = None,
) -> None:
    """Add a split to the directory; codes of another stage 1 that are listed in it are forgotten.

    Args:
      directory: made if it is not there.
      description: of the codes: `layout`, a CodeLayout, `class_names`, `fingerprint` and others.
      name: of the split.
      parts: dicts of arrays (n, ...) by the names of the layout, together of N rows; each is written before the next
        is asked for.
      label: (N,) int32; -1 where an image has none.
      data_hash: hash of the images.
      files: path of each image, N.

    Raises:
      ValueError: the parts are not what the layout says, or not as many as the labels.
    """
    check_labels(label, len(description["class_names"]))
    directory.mkdir(parents=True, exist_ok=True)
    layout: CodeLayout = description[LAYOUT]
    meta = _read_meta(directory)
    if meta.get("fingerprint") != description["fingerprint"]:
        meta = {"format": FORMAT, **to_json(description), "splits": {}}
    paths = _file_names(directory, name, layout, files is not None)
    with contextlib.ExitStack() as stack:
        temporary = {array: stack.enter_context(atomic_write(path)) for array, path in paths.items()}
        _write_arrays(temporary, layout, parts, label)
        if files is not None:
            write_paths(temporary["files"], files)
        written = {array: _entry(layout, array, path, temporary[array]) for array, path in paths.items()}
    dtype = {"dtype": str(layout.single.dtype)} if layout.single else {}
    meta["splits"][name] = {"count": len(label), **dtype, "data": data_hash, **written}
    write_json(directory / "meta.json", {key: value for key, value in meta.items() if key != LAYOUT})


def _write_arrays(files: Mapping[str, Path], layout: CodeLayout, parts: Parts, label: np.ndarray) -> None:
    """Write the codes of each level, part by part, and the labels."""
    with contextlib.ExitStack() as stack:
        writers = {
            name: stack.enter_context(RowWriter(files[name], level.dtype, (len(label), *level.shape)))
            for name, level in layout.names.items()
        }
        for part in checked_parts(parts, layout, len(label)):
            for name, writer in writers.items():
                writer.write(part[name])
    np.save(files["label"], label, allow_pickle=False)


def _entry(layout: CodeLayout, array: str, path: Path, temporary: Path) -> dict[str, str]:
    """Return what meta.json says of a file; of one of several levels with its dtype."""
    dtype = {"dtype": str(layout.names[array].dtype)} if not layout.single and array in layout.names else {}
    return {"file": path.name, "sha256": file_checksum(temporary), **dtype}


def _file_names(directory: Path, name: str, layout: CodeLayout, with_files: bool) -> dict[str, Path]:
    """Paths of a split's files by the arrays that are in them, "label" and "files" among those."""
    names = {**{array: f"{array}.npy" for array in layout.names}, "label": "labels.npy"}
    if with_files:
        names["files"] = "files.txt"
    return {array: directory / f"{name}_{file}" for array, file in names.items()}


def read_codes(
    directory: Path, fingerprint: str | None, name: str, data_hash: str | None = None
) -> tuple[Split, dict[str, Any]] | None:
    """Return the codes of a split, mapped from disk.

    Args:
      directory: of `write_codes`.
      fingerprint: of the stage 1 that they must be of; None: of any.
      name: of the split.
      data_hash: of the images that they must be of; None: of any.

    Returns:
      The codes by the names of the layout, with `label`, and their description, `layout` among it. None if there are no
      such codes.

    Raises:
      InputError: a file is missing, does not fit its checksum, or is not what meta.json says.
    """
    meta = _read_meta(directory)
    if fingerprint and meta.get("fingerprint") != fingerprint or name not in meta.get("splits", {}):
        return None
    with _refuse_damage(directory / "meta.json"):
        entry, layout = meta["splits"][name], meta[LAYOUT]
        if data_hash and entry.get("data") != data_hash:
            return None
        shapes = {array: (int(entry["count"]), *level.shape) for array, level in layout.names.items()}
        shapes["label"] = (int(entry["count"]),)
        arrays = {
            array: _read_array(path, entry[array]["sha256"], shapes[array])
            for array, path in _file_names(directory, name, layout, False).items()
        }
    for array, level in layout.names.items():
        if arrays[array].size and (high := int(arrays[array].max())) >= level.num_codes:
            raise InputError(
                f"{printable(str(directory))}: {name} has codes up to {high}, expected 0 to {level.num_codes - 1}"
            )
    return Split(**arrays), meta


def _read_array(path: Path, checksum: str, shape: tuple[int, ...]) -> np.ndarray:
    if not path.is_file() or file_checksum(path) != checksum:
        raise InputError(f"{printable(str(path))} does not fit the checksum in meta.json")
    with _refuse_damage(path):
        array = np.lib.format.open_memmap(path, mode="r") if shape[0] else np.load(path, allow_pickle=False)
        if array.shape != shape or array.dtype.kind not in ("iu" if path.name.endswith("_labels.npy") else "u"):
            raise ValueError(f"{array.dtype} {array.shape}, expected {shape}")
    return array


def _refuse_damage(path: Path) -> contextlib.AbstractContextManager[None]:
    return refuse_damage(f"{printable(str(path))} cannot be read")


def read_files(directory: Path, name: str) -> list[str] | None:
    """Return the paths of a split's images, in the order of its codes; None if there are none.

    Raises InputError if the file is damaged.
    """
    with _refuse_damage(directory / "meta.json"):
        entry = _read_meta(directory).get("splits", {}).get(name, {}).get("files")
    if entry is None:
        return None
    path = directory / f"{name}_files.txt"
    with _refuse_damage(path):
        if file_checksum(path) != entry["sha256"]:
            raise ValueError("it does not fit the checksum in meta.json")
        return read_paths(path)


def read_fingerprint(directory: Path) -> str | None:
    """Fingerprint of the stage 1 whose codes are there; None if there are none. InputError if meta.json is damaged."""
    return _read_meta(directory).get("fingerprint")


def _read_meta(directory: Path) -> dict[str, Any]:
    """Return meta.json with the `layout` of its codes; {} if there is none, or no codes."""
    path = directory / "meta.json"
    if not path.exists():
        return {}
    with _refuse_damage(path):
        meta = read_json(path)
        if meta["format"] != FORMAT:
            raise ValueError(f"format {meta['format']}, but this version reads {FORMAT}")
        if not meta["fingerprint"] or not meta["splits"]:
            return {}
        return from_json({**meta, "splits": dict(meta["splits"])})
