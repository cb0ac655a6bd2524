"""Photographs of any size through a trained autoencoder, tile by tile."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from vqjax.codes import require_single
from vqjax.data.images import open_image, to_array
from vqjax.runs import metrics
from vqjax.system.errors import InputError
from vqjax.system.files import atomic_write
from vqjax.system.paths import absolute_path
from vqjax.tasks.stage1 import Stage1

TILE = 64  # positions of the latent grid that are kept of a tile, either way
BORDER = 16  # positions around them, of which those that are kept see something
_STRIP = 512  # rows at a time whose SSIM is found
_GAP = 4  # white pixels between pictures


class Reconstruction(NamedTuple):
    """What came of a photograph.

    Attributes:
      original: (H, W, C) uint8.
      image: (H, W, C) uint8, the reconstruction.
      codes: (h, w), h and w the sides over the stride, rounded up.
      bits_per_pixel: of the codes, log2 K each.
      psnr: in dB, of `image`.
      ssim: of `image`.
    """

    original: np.ndarray
    image: np.ndarray
    codes: np.ndarray
    bits_per_pixel: float
    psnr: float
    ssim: float


class Reconstructor:
    """A trained autoencoder for images of any size.

    An image is cut into tiles of one size, so that each network is compiled once and memory does not depend on the
    image. A tile has a border of what is around it, reflected at the image's edges, so that it does not show.
    """

    def __init__(self, stage1: Stage1, tile: int = TILE):
        self._stage1, self._tile = stage1, tile
        self._num_codes = require_single(stage1.layout, "--workdir").num_codes
        self.channels = stage1.facts["image_shape"][-1]
        self.stride = stage1.task.stride
        self._encode, self._decode = jax.jit(stage1.encode), jax.jit(stage1.decode)

    def __call__(self, original: np.ndarray) -> Reconstruction:
        """The image (H, W, C) uint8, H and W at least the stride, encoded and decoded."""
        height, width, _ = original.shape
        stride, variables = self.stride, self._stage1.variables
        padded = np.pad(original, ((0, -height % stride), (0, -width % stride), (0, 0)), "reflect")
        codes = _tiled(padded, stride, 1, self._tile, lambda x: self._encode(variables, x))
        image = _tiled(codes, 1, stride, self._tile, lambda x: np.round(255 * self._decode(variables, x)))
        image = image[:height, :width].astype(np.uint8)
        return Reconstruction(
            original,
            image,
            codes,
            codes.size * float(np.log2(self._num_codes)) / (height * width),
            psnr(original, image),
            ssim(original, image),
        )


def _tiled(x: np.ndarray, scale: int, to: int, tile: int, function: Callable) -> np.ndarray:
    """`function`, (1, scale h, scale w, ...) -> (1, to h, to w, ...), of x (scale h, scale w, ...), tile by tile."""
    rows, columns = (side // scale for side in x.shape[:2])
    around = [(BORDER * scale, (BORDER + -count % tile) * scale) for count in (rows, columns)]
    x = np.pad(x, around + [(0, 0)] * (x.ndim - 2), "reflect")
    side, kept = (tile + 2 * BORDER) * scale, slice(BORDER * to, (BORDER + tile) * to)
    lines = []
    for top in range(0, rows * scale, tile * scale):
        lefts = range(0, columns * scale, tile * scale)
        parts = [np.asarray(function(x[None, top : top + side, left : left + side])) for left in lefts]
        lines.append(np.concatenate([part[0, kept, kept] for part in parts], axis=1))
    return np.concatenate(lines)[: rows * to, : columns * to]


def psnr(x: np.ndarray, y: np.ndarray) -> float:
    """In dB, of images (H, W, C) uint8."""
    difference = x.astype(np.float32) - y
    return metrics.psnr(float(np.mean(difference**2, dtype=np.float64)) / 255**2)


def ssim(x: np.ndarray, y: np.ndarray) -> float:
    """As of `metrics.ssim`, of images (H, W, C) uint8 of any size: in strips, which share the rows of a window."""
    window = min(7, *x.shape[:2])
    count = len(x) - window + 1  # of windows below each other
    total = 0.0
    for top in range(0, count, _STRIP):
        rows = slice(top, min(top + _STRIP, count) + window - 1)
        strip_x, strip_y = (jnp.float32(image[rows]) / 255 for image in (x, y))
        total += float(metrics.ssim(strip_x, strip_y)) * (rows.stop - rows.start - window + 1)
    return total / count


def reconstruct(workdir: str, files: Sequence[str], out: str | None = None) -> tuple[Path, list[Reconstruction]]:
    """Encodes and decodes image files, and writes a picture of the originals and, beside them, what came of them.

    Args:
      workdir: of a trained autoencoder with codes.
      files: images that Pillow can read, of any size.
      out: the picture; by default reconstructed.png in the workdir.

    Returns:
      The picture's path, and what came of each file.

    Raises:
      InputError: no such autoencoder, a file is no image or smaller than the stride, or `out` cannot be written.
    """
    stage1 = Stage1(workdir, "--workdir")
    picture = absolute_path(out, "--out") if out else stage1.path / "reconstructed.png"
    if not picture.parent.is_dir() or picture.suffix.lower() not in Image.registered_extensions():
        raise InputError(f"--out={picture}: expected a picture, as PNG, in a directory that is there")
    reconstructor = Reconstructor(stage1)
    originals = [_read(file, reconstructor) for file in files]
    found = [reconstructor(original) for original in originals]
    with atomic_write(picture) as temporary:
        side_by_side(found).save(temporary, quality=95)  # of a JPEG
    return picture, found


def _read(file: str, reconstructor: Reconstructor) -> np.ndarray:
    image, _ = open_image(file, reconstructor.channels)
    if min(image.size) < reconstructor.stride:
        raise InputError(
            f"{file}: {image.width} x {image.height} pixels, expected at least the stride of the run's networks, "
            f"{reconstructor.stride}, either way"
        )
    return to_array(image)


def side_by_side(found: Sequence[Reconstruction]) -> Image.Image:
    """Originals on the left, reconstructions on the right, a line each."""
    width = max(2 * each.image.shape[1] + _GAP for each in found)
    height = sum(len(each.image) + _GAP for each in found) - _GAP
    sheet, top = Image.new("L" if found[0].image.shape[-1] == 1 else "RGB", (width, height), "white"), 0
    for each in found:
        for left, image in ((0, each.original), (each.image.shape[1] + _GAP, each.image)):
            sheet.paste(Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image), (left, top))
        top += len(each.image) + _GAP
    return sheet
