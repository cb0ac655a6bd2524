"""Codes in files, decoded to files of images."""

import itertools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from vqjax.codes import CodeLayout, Codes
from vqjax.config.check import check_name
from vqjax.data.formats.npy import save_rows
from vqjax.data.splits import Split
from vqjax.inference.exports.reading import check_layout, read_exported
from vqjax.inference.functions import to_uint8
from vqjax.inference.image_files import save_numbered
from vqjax.inference.inputs import as_codes
from vqjax.runs import plots
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_directory, require_empty_directory
from vqjax.tasks.stage1 import Stage1

_ROWS, _PIXELS = 4_096, 1 << 22  # images that are decoded before they are written, and pixels of them together
_IN_PICTURE = 64  # images of the picture

Decode = Callable[[Codes], np.ndarray]  # codes -> images (N, H, W, C) in [0, 1]


class Part(NamedTuple):
    """Codes that are decoded, of all that are known of an image.

    Attributes:
      levels: names of the first levels; None: all.
      depth: number of codes of each position, the first ones; None: all.
    """

    levels: tuple[str, ...] | None = None
    depth: int | None = None

    def check(self, layout: CodeLayout) -> None:
        """Raise InputError unless there are such codes."""
        names = tuple(level.name for level in layout.levels)
        if self.levels is not None and (
            not self.levels or not layout.by_name or self.levels != names[: len(self.levels)]
        ):
            known = (
                " or ".join(",".join(names[:count]) for count in range(1, len(names) + 1)) if layout.by_name else "none"
            )
            raise InputError(f"--levels={','.join(self.levels)}: expected {known}, of {layout}")
        deepest = max(level.depth for level in layout.levels)
        if self.depth is not None and not 1 <= self.depth <= deepest:
            raise InputError(f"--depth={self.depth}: expected from 1 to {deepest}, of {layout}")

    def of(self, codes: Codes, layout: CodeLayout) -> Codes:
        """Return this part of codes."""
        if self.levels is not None:
            codes = {name: codes[name] for name in self.levels}
        if self.depth is None:
            return codes
        if not layout.by_name:
            return codes[..., : self.depth] if layout.levels[0].depth > 1 else codes
        deep = {level.name for level in layout.levels if level.depth > 1}
        return {name: grid[..., : self.depth] if name in deep else grid for name, grid in codes.items()}


ALL_CODES = Part()


def decode_file(
    stage1: Stage1,
    decode: Decode,
    codes: str | Path,
    out: str | Path,
    split: str | None = None,
    format: str = "npy",
    part: Part = ALL_CODES,
) -> int:
    """Decode the codes in a file; the arguments are those of `Tokenizer.decode_file`.

    Args:
      stage1: whose codes they are.
      decode: its decoder.
      codes, out, split, format: see there.
      part: of the codes that are decoded.

    Returns:
      N, the number of images.

    Raises:
      InputError: other codes than those, or a directory in use. Nothing is written then.
    """
    check_name(WRITERS, format, "--format")
    part.check(stage1.layout)
    directory = require_empty_directory(out)
    try:
        rows, description = read_exported(codes, stage1.layout, split)
        check_layout(description, stage1.layout)
        for _ in _chunks(rows, stage1):
            pass
    except (InputError, TypeError) as error:
        raise InputError(f"--codes: {error}" if str(codes) in str(error) else f"--codes={codes}: {error}") from error
    if description.get("fingerprint", stage1.fingerprint) != stage1.fingerprint:
        print(f"warning: {codes} says that its codes are of another autoencoder, or of another checkpoint of this one")
    images = (to_uint8(decode(part.of(chunk, stage1.layout))) for chunk in _chunks(rows, stage1))
    with atomic_directory(directory) as temporary:
        WRITERS[format](temporary, images, len(rows))
    return len(rows)


def _chunks(rows: Split, stage1: Stage1) -> Iterator[Codes]:
    """Yield the codes of a split in parts, each checked; one also of a split without rows."""
    layout = stage1.layout
    arrays = [rows.arrays[name] for name in layout.names]
    if any(not np.ndim(array) for array in arrays) or len({len(array) for array in arrays}) > 1:
        as_codes(layout.join(rows.arrays), layout)  # refuses them
    positions = math.prod(arrays[-1].shape[1:]) // layout.levels[-1].depth
    size = min(_ROWS, max(1, _PIXELS // max(1, positions * stage1.task.stride**2)))
    for start in range(0, max(1, len(arrays[0])), size):
        part = {name: array[start : start + size] for name, array in zip(layout.names, arrays)}
        yield as_codes(layout.join(part), layout)


def _write_array(directory: Path, images: Iterator[np.ndarray], count: int) -> None:
    """Write images.npy, and images.png of the first of them."""
    shown: list[np.ndarray] = []

    def parts() -> Iterator[np.ndarray]:
        for part in itertools.chain([first], images):
            shown.append(part[: _IN_PICTURE - sum(map(len, shown))])
            yield part

    first = next(images)
    save_rows(directory / "images.npy", np.dtype(np.uint8), (count, *first.shape[1:]), parts())
    plots.save_grid(directory / "images.png", np.concatenate(shown) / 255)


def _write_pictures(directory: Path, images: Iterator[np.ndarray], count: int) -> None:
    """Write a numbered file per image."""
    first, digits = 0, max(5, len(str(count - 1)))
    for part in images:
        save_numbered(directory, part, first=first, digits=digits)
        first += len(part)


WRITERS: dict[str, Callable[[Path, Iterator[np.ndarray], int], Any]] = {"npy": _write_array, "png": _write_pictures}
