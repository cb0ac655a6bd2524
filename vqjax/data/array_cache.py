"""Arrays that are kept between commands in the user's cache directory, so that a data set is decoded once.

<key>/meta.json     their shapes, dtypes and bytes, and the hash of the data
<key>/<name>.npy    each array, memory-mapped when it is read

It may be deleted at any time. The directory is VQJAX_CACHE, else XDG_CACHE_HOME/vqjax/data, else ~/.cache/vqjax/data.
"""

import contextlib
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vqjax.system.files import atomic_directory, read_json, write_json
from vqjax.system.paths import absolute_path, cache_root

FORMAT = 1


def cache_directory() -> Path:
    """Return the directory in which decoded data is kept."""
    if own := os.environ.get("VQJAX_CACHE"):
        return absolute_path(own, "VQJAX_CACHE")
    return cache_root() / "data"


def cached_arrays(key: str, make: Callable[[], Mapping[str, np.ndarray]]) -> tuple[dict[str, np.ndarray], str]:
    """Make arrays once, and read them from the cache from then on.

    Args:
      key: of the source and of all that the arrays depend on; "": they are made each time.
      make: gives them.

    Returns:
      The arrays, read only, and the hash of their content. If nothing can be written, they are those of `make`.
    """
    place = cache_directory() / hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()[:32]
    if key and (kept := _read(place)) is not None:
        return kept
    arrays = {name: np.ascontiguousarray(array) for name, array in make().items()}
    digest = hash_arrays(arrays)
    if key:
        with contextlib.suppress(OSError):  # a disk that is full or another's, or another process was faster
            _write(place, arrays, digest)
        return _read(place) or (arrays, digest)
    return arrays, digest


def hash_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 over arrays with their names, shapes and dtypes, hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _read(place: Path) -> tuple[dict[str, np.ndarray], str] | None:
    """Return the arrays of a directory and their hash; None if they are not whole.

    Only sizes are compared: the content was checked when it was written.
    """
    try:
        meta: dict[str, Any] = read_json(place / "meta.json")
        if meta["format"] != FORMAT:
            return None
        arrays = {}
        for name, entry in meta["arrays"].items():
            path = place / f"{name}.npy"
            array = np.load(path, mmap_mode="r" if np.prod(entry["shape"]) else None, allow_pickle=False)
            described = [path.stat().st_size, list(array.shape), array.dtype.str]
            if described != [entry["bytes"], entry["shape"], entry["dtype"]]:
                return None
            arrays[name] = array.view(np.ndarray)
        return arrays, str(meta["hash"])
    except Exception:  # damaged and hostile files fail in any way
        return None


def _write(place: Path, arrays: Mapping[str, np.ndarray], digest: str) -> None:
    """Write arrays, and check that they can be read again. Raises OSError."""
    shutil.rmtree(place, ignore_errors=True)  # of an earlier one that is not whole
    with atomic_directory(place) as temporary:
        entries = {}
        for name, array in arrays.items():
            path = temporary / f"{name}.npy"
            np.save(path, array, allow_pickle=False)
            entries[name] = {"bytes": path.stat().st_size, "shape": list(array.shape), "dtype": array.dtype.str}
        write_json(temporary / "meta.json", {"format": FORMAT, "hash": digest, "arrays": entries})
        written = _read(temporary)
        if written is None or hash_arrays(written[0]) != digest:
            raise OSError("what was written is not what is read")
