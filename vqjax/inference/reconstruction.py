"""Images of any size through a trained autoencoder, tile by tile."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vqjax.codes import Codes
from vqjax.data.images import open_image, to_array
from vqjax.inference import functions
from vqjax.inference.image_files import find_images, save_numbered
from vqjax.inference.tables import write_table
from vqjax.runs import metrics
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_directory, atomic_write, require_empty_directory
from vqjax.system.paths import absolute_path, output_path, require_writable
from vqjax.tasks.stage1 import Stage1

TILE = 64  # positions of the latent grid that are kept of a tile, either way
_LEAST_TILE = 4  # positions, for small images
BORDER = 16  # positions around them, of which those that are kept see something
_STRIP = 512  # rows at a time whose SSIM is computed
_GAP = 4  # white pixels between pictures
_IN_PICTURE = 64  # images of a picture of several


class Reconstruction(NamedTuple):
    """An image and its reconstruction.

    Attributes:
      original: (H, W, C) uint8.
      image: (H, W, C) uint8, the reconstruction.
      codes: (h, w), h and w the sides over the stride, rounded up; (h, w, D), or {level's name: codes}.
      bits_per_pixel: of the codes, log2 K each.
      psnr: in dB, of `image`.
      ssim: of `image`.
    """

    original: np.ndarray
    image: np.ndarray
    codes: Codes
    bits_per_pixel: float
    psnr: float
    ssim: float


class FileMetrics(NamedTuple):
    """Metrics of a reconstructed image file: its sides in pixels, bits per pixel, PSNR in dB, and SSIM."""

    file: str
    width: int
    height: int
    bits_per_pixel: float
    psnr: float
    ssim: float


class Reconstructor:
    """A trained autoencoder for images of any size.

    An image is cut into tiles of one of a few sizes, so that networks are compiled few times and memory does not depend
    on the image. A tile has a border of what is around it, reflected at the image's edges, so that it does not show.
    """

    def __init__(self, stage1: Stage1, tile: int = TILE):
        """Create the reconstructor of a stage 1, with tiles of so many positions of the finest grid."""
        task, layout, self._variables = stage1.task, stage1.layout, stage1.variables
        self.channels = stage1.facts["image_shape"][-1]
        self.stride = max(task.module.strides)
        self._layout, self._scales = layout, [self.stride // stride for stride in task.module.strides]
        self._tile = max(1, tile // max(self._scales))

        @jax.jit
        def encode(variables: Any, images: list[jax.Array]) -> list[jax.Array]:
            return [*layout.split(functions.encode(task, variables, images[0])).values()]

        @jax.jit
        def decode(variables: Any, codes: list[jax.Array]) -> list[jax.Array]:
            joined = layout.join(dict(zip(layout.names, codes)))
            return [functions.to_uint8(functions.decode(task, variables, joined))]

        self._encode, self._decode = encode, decode

    def __call__(self, original: np.ndarray) -> Reconstruction:
        """Encode and decode an image (H, W, C) uint8, H and W at least the stride."""
        height, width, _ = original.shape
        stride, variables = self.stride, self._variables
        padded = np.pad(original, ((0, -height % stride), (0, -width % stride), (0, 0)), "reflect")
        positions = max(padded.shape[:2]) // stride
        tile = min(self._tile, max(_LEAST_TILE, 1 << (positions - 1).bit_length()))  # few sizes, each compiled once
        tiles = functools.partial(_tiled, tile=tile)
        codes = tiles([padded], [stride], self._scales, function=lambda x: self._encode(variables, x))
        (image,) = tiles(codes, self._scales, [stride], function=lambda x: self._decode(variables, x))
        image = image[:height, :width]
        bits = sum(grid.size * np.log2(level.num_codes) for grid, level in zip(codes, self._layout.levels))
        joined = self._layout.join(dict(zip(self._layout.names, codes)))
        quality = psnr(original, image), ssim(original, image)
        return Reconstruction(original, image, joined, float(bits) / (height * width), *quality)


def _tiled(
    arrays: Sequence[np.ndarray], scales: Sequence[int], to: Sequence[int], tile: int, function: Callable
) -> list[np.ndarray]:
    """Apply a function of arrays to tiles of them, and put its results together.

    Args:
      arrays: (scale h, scale w, ...) each.
      scales: of the arrays.
      to: scales of the results.
      tile: positions of h and w that are kept of a tile.
      function: arrays (1, scale h, scale w, ...) -> results (1, to h, to w, ...).

    Returns:
      Results (to h, to w, ...).
    """
    rows, columns = (side // scales[0] for side in arrays[0].shape[:2])
    padded = [_padded(x, scale, (rows, columns), tile) for x, scale in zip(arrays, scales)]
    side, lines = tile + 2 * BORDER, []
    for top in range(0, rows, tile):
        parts = []
        for left in range(0, columns, tile):
            cuts = [x[None, top * s : (top + side) * s, left * s : (left + side) * s] for x, s in zip(padded, scales)]
            kept = [slice(BORDER * scale, (BORDER + tile) * scale) for scale in to]
            parts.append([np.asarray(y)[0, inside, inside] for y, inside in zip(function(cuts), kept)])
        lines.append([np.concatenate(row, axis=1) for row in zip(*parts)])
    return [np.concatenate(y)[: rows * scale, : columns * scale] for y, scale in zip(zip(*lines), to)]


def _padded(x: np.ndarray, scale: int, count: tuple[int, int], tile: int) -> np.ndarray:
    """Reflect (scale h, scale w, ...) at its edges, so that tiles with borders cover `count`, (h, w)."""
    around = [(BORDER * scale, (BORDER + -size % tile) * scale) for size in count]
    return np.pad(x, around + [(0, 0)] * (x.ndim - 2), "reflect")


def psnr(x: np.ndarray, y: np.ndarray) -> float:
    """Return the PSNR in dB of images (H, W, C) uint8."""
    difference = x.astype(np.float32) - y
    return metrics.psnr(float(np.mean(difference**2, dtype=np.float64)) / 255**2)


def ssim(x: np.ndarray, y: np.ndarray) -> float:
    """Return `metrics.ssim` of images (H, W, C) uint8 of any size: in strips, which share the rows of a window."""
    window = min(7, *x.shape[:2])
    count = len(x) - window + 1  # of windows below each other
    total = 0.0
    for top in range(0, count, _STRIP):
        rows = slice(top, min(top + _STRIP, count) + window - 1)
        strip_x, strip_y = (jnp.float32(image[rows]) / 255 for image in (x, y))
        total += float(metrics.ssim(strip_x, strip_y)) * (rows.stop - rows.start - window + 1)
    return total / count


def reconstruct_files(
    stage1: Stage1, files: Sequence[str | Path], out: str | Path | None = None, format: str = ""
) -> tuple[Path, list[FileMetrics]]:
    """Encode and decode image files; the arguments are those of `Tokenizer.reconstruct_files`.

    Returns:
      The path that was written, and the metrics of each file.

    Raises:
      InputError: a file is no image or smaller than the stride, or `out` cannot be written. Nothing is written then.
    """
    if format not in ("", "png"):
        raise InputError(f"--format={format}: expected png, or none")
    write, path = _destination(stage1, out, format)
    reconstructor, found = Reconstructor(stage1), find_images(files)
    _check_sizes(found, reconstructor)
    rows: list[FileMetrics] = []

    def reconstructions() -> Iterator[Reconstruction]:
        for file in found:
            made = reconstructor(to_array(open_image(file, reconstructor.channels)[0]))
            height, width, _ = made.image.shape
            rows.append(FileMetrics(file, width, height, made.bits_per_pixel, made.psnr, made.ssim))
            yield made

    write(path, reconstructions(), rows)
    return path, rows


Write = Callable[[Path, Iterator[Reconstruction], list[FileMetrics]], Any]


def _destination(stage1: Stage1, out: str | Path | None, format: str) -> tuple[Write, Path]:
    """Return the way to write, and the path. Raises InputError if it is in use or cannot be written."""
    if format == "png":
        return _write_directory, require_empty_directory(out or stage1.path / "reconstructed")
    path = absolute_path(out, "--out") if out else stage1.path / "reconstructed.png"
    if path.suffix == ".csv":
        return _write_table, output_path(path, ".csv")
    kind = Image.registered_extensions().get(path.suffix.lower())
    if not path.parent.is_dir() or kind not in Image.SAVE:
        expected = "a picture, as PNG, or a table, as CSV, in a directory that exists"
        raise InputError(f"--out={path}: expected {expected}")
    require_writable(path)
    return _write_picture, path


def _check_sizes(files: Sequence[str], reconstructor: Reconstructor) -> None:
    """Raise InputError for a file that is no image or smaller than the stride."""
    for file in files:
        image, _ = open_image(file, reconstructor.channels)
        if min(image.size) < reconstructor.stride:
            raise InputError(
                f"{file}: {image.width} x {image.height} pixels, expected at least the stride of the run's networks, "
                f"{reconstructor.stride}, either way"
            )


def _write_picture(path: Path, reconstructions: Iterator[Reconstruction], rows: list[FileMetrics]) -> None:
    """Write the first images beside their reconstructions, a line each."""
    shown = []
    for number, made in enumerate(reconstructions):
        if number < _IN_PICTURE:
            shown.append(made)
    with atomic_write(path) as temporary:
        side_by_side(shown).save(temporary, quality=95)  # of a JPEG


def _write_directory(directory: Path, reconstructions: Iterator[Reconstruction], rows: list[FileMetrics]) -> None:
    """Write a numbered file per reconstruction, and a table of the metrics."""
    with atomic_directory(directory) as temporary:
        names = [save_numbered(temporary, made.image[None], first=i)[0] for i, made in enumerate(reconstructions)]
        table = ([name, *row] for name, row in zip(names, rows))
        write_table(temporary / "reconstructed.csv", ["reconstruction", *FileMetrics._fields], table)


def _write_table(path: Path, reconstructions: Iterator[Reconstruction], rows: list[FileMetrics]) -> None:
    """Write a table of the metrics, a row as each image is done."""
    write_table(path, FileMetrics._fields, (rows[i] for i, _ in enumerate(reconstructions)))


def side_by_side(reconstructions: Sequence[Reconstruction]) -> Image.Image:
    """Return a picture of originals on the left and reconstructions on the right, a line each."""
    width = max(2 * made.image.shape[1] + _GAP for made in reconstructions)
    height = sum(len(made.image) + _GAP for made in reconstructions) - _GAP
    sheet = Image.new("L" if reconstructions[0].image.shape[-1] == 1 else "RGB", (width, height), "white")
    top = 0
    for made in reconstructions:
        for left, image in ((0, made.original), (made.image.shape[1] + _GAP, made.image)):
            sheet.paste(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image), (left, top))
        top += len(made.image) + _GAP
    return sheet
