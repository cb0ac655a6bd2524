"""Codes in a file, from anywhere, to images."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from vqjax.codes import require_single, single_level
from vqjax.data.formats import nanogpt, parquet
from vqjax.data.formats.npy import save_rows
from vqjax.data.splits import Split
from vqjax.inference.inputs import as_codes
from vqjax.runs import devices, plots
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write, read_json, require_empty_directory, wrap_write_errors
from vqjax.system.paths import absolute_path
from vqjax.tasks.stage1 import Stage1

_SHOWN = 64  # images in the picture
_BATCH, _PIXELS = 256, 1 << 18  # images at a time, and their pixels, unless one image has more
_BATCHES = 16  # that are held before they are written
_ANY = 2**31 - 1  # numbers of a code, where a file does not say them; `as_codes` checks them


def _read_npy(file: Path, grid: tuple[int, int]) -> tuple[Split, dict[str, Any]]:
    """The array of a .npy, mapped from disk, and the meta.json beside it if that is of `vqjax.data.formats.npy`."""
    try:
        array = np.lib.format.open_memmap(file, mode="r")  # unlike np.load it opens nothing else: no archive, no pickle
    except ValueError as error:
        raise InputError(f"{file}: expected an array of integers as np.save writes it: {error}") from error
    try:
        meta = dict(read_json(file.with_name("meta.json")))
    except (OSError, ValueError, TypeError):
        meta = {}
    return Split(codes=array), meta


READERS: dict[str, Callable[[Path, Any], tuple[Split, dict[str, Any]]]] = {
    ".npy": _read_npy,
    ".bin": lambda file, grid: nanogpt.read_codes(file),
    ".parquet": lambda file, grid: parquet.read_codes(file, single_level(grid, _ANY)),
}


def read_exported(path: str | Path, grid: tuple[int, ...] = (0, 0)) -> tuple[Split, Mapping[str, Any]]:
    """The codes that a file of `export_codes`, or another like it, has.

    Args:
      path: .npy, .bin with its meta.json beside it, or .parquet.
      grid: (h, w) of codes in a .parquet that does not say it.

    Returns:
      A split of `codes`, (N, h, w) in a file of ours, and `label` if the file has it; and what is said of them.

    Raises:
      InputError: no such file, one of another kind, or a damaged one.
    """
    path = absolute_path(path, "codes")
    if path.suffix not in READERS:
        raise InputError(f"{path}: expected a file that ends in {', '.join(READERS)}")
    if not path.is_file():
        raise InputError(f"{path}: expected a file, found {'a directory' if path.is_dir() else 'none'}")
    try:
        return READERS[path.suffix](path, grid)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from error


def decode(workdir: str, codes: str, out: str) -> tuple[Path, int]:
    """Writes the images of the codes in a file: images.npy, (N, H, W, C) uint8, and images.png, the first 64.

    Args:
      workdir: of a trained autoencoder.
      codes: the file, see `read_exported`; integers in [0, K), (N, h, w), of any grid.
      out: a directory, empty or not there.

    Returns:
      The directory, and N.

    Raises:
      InputError: no trained autoencoder, other codes than those, or the directory is in use.
    """
    stage1, directory = Stage1(workdir, "--workdir"), require_empty_directory(out)
    try:
        level = require_single(stage1.layout, "--workdir")
        split, meta = read_exported(codes, level.grid)
        found = split.arrays["codes"]
        for rows in _chunks(found, _BATCH * _BATCHES):
            as_codes(rows, level.num_codes)
    except (InputError, TypeError) as error:
        raise InputError(f"--codes: {error}" if codes in str(error) else f"--codes={codes}: {error}") from error
    if meta.get("fingerprint", stage1.fingerprint) != stage1.fingerprint:
        print(f"warning: {codes} says that its codes are of another autoencoder, or of another checkpoint of this one")
    with wrap_write_errors(directory):
        directory.mkdir(parents=True, exist_ok=True)
    _write(directory, stage1, found)
    return directory, len(found)


def _chunks(array: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """An array in parts, one also of an array without rows; that of another kind than (N, h, w) whole."""
    if array.ndim != 3:
        yield array
        return
    for start in range(0, max(1, len(array)), size):
        yield array[start : start + size]


def _write(directory: Path, stage1: Stage1, codes: np.ndarray) -> None:
    """Decodes and writes part by part."""
    height, width, channels = stage1.task.image_shape
    level = stage1.layout.levels[0]
    strides = height // level.grid[0], width // level.grid[1]
    shape = len(codes), codes.shape[1] * strides[0], codes.shape[2] * strides[1], channels
    batch_size = max(1, min(_BATCH, _PIXELS // (shape[1] * shape[2])))
    mapper, shown = devices.Mapper(stage1.variables, stage1.settings.parallel), np.empty((0, *shape[1:]), np.uint8)

    def to_pixels(variables: Mapping, batch: Mapping) -> jax.Array:
        with jax.default_matmul_precision("highest"):  # the same images on every device
            images = stage1.decode(variables, batch["codes"])
        return jnp.round(255 * images).astype(jnp.uint8)

    def parts() -> Iterator[np.ndarray]:
        nonlocal shown
        for rows in _chunks(codes, batch_size * _BATCHES):
            images = mapper(to_pixels, Split(codes=as_codes(rows, level.num_codes)), batch_size, "images")
            shown = np.concatenate([shown, images[: _SHOWN - len(shown)]])
            yield images

    with atomic_write(directory / "images.npy") as temporary:
        save_rows(temporary, np.dtype(np.uint8), shape, parts())
    plots.save_grid(directory / "images.png", shown / 255)
